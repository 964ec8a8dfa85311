//! The aliases and masks of the output vector's classes (recipe 2.2, 2.5).

use types::Split;

pub use types::{
    CLASSES, MAESTRO_EVALUATED, NUM_CLASSES, NUM_DESED_CLASSES, class_index, desed_classes,
    maestro_classes,
};

/// Whether clips are read to be learned from or to be scored: aliases and masks differ (recipe 2.2, 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Labels with aliases; DESED clips also count for the two aliased MAESTRO classes.
    Training,
    /// Labels as annotated; DESED clips count for the ten DESED classes.
    Evaluation,
}

/// DESED class → MAESTRO class, in map order, as indices into [`CLASSES`].
const DESED_TO_MAESTRO: [(usize, usize); 2] = [(3, 10), (8, 12)];

/// MAESTRO class → DESED class, in map order: later ones overwrite earlier ones on the label grid.
const MAESTRO_TO_DESED: [(usize, usize); 4] = [(12, 8), (13, 8), (20, 8), (10, 3)];

/// The alias pairs (annotated class, class that it also counts as) for training clips of `split`, in the order in which
/// their rows are appended (recipe 2.2).
#[must_use]
pub fn aliases(split: Split) -> &'static [(usize, usize)] {
    if split.is_maestro() {
        &MAESTRO_TO_DESED
    } else {
        &DESED_TO_MAESTRO
    }
}

/// 1 for each class that clips of `split` are annotated for, 0 elsewhere (recipe 2.5). Shape (27).
#[must_use]
pub fn class_mask(split: Split, purpose: Purpose) -> [f32; NUM_CLASSES] {
    let mut mask = [0.0; NUM_CLASSES];
    if split.is_maestro() {
        mask[NUM_DESED_CLASSES..].fill(1.0);
        for &(_, desed) in &MAESTRO_TO_DESED {
            mask[desed] = 1.0;
        }
    } else {
        mask[..NUM_DESED_CLASSES].fill(1.0);
        if purpose == Purpose::Training {
            for &(_, maestro) in &DESED_TO_MAESTRO {
                mask[maestro] = 1.0;
            }
        }
    }
    mask
}

/// The class of [`CLASSES`] that is nearest to an unknown name, for messages: equal but for letter case, spaces and
/// underscores.
pub(crate) fn similar_class(name: &str) -> Option<&'static str> {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wanted = plain(name);
    CLASSES.into_iter().find(|class| plain(class) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_name_the_classes_they_mean() {
        let named = |split| {
            aliases(split)
                .iter()
                .map(|&(from, to)| (CLASSES[from], CLASSES[to]))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            named(Split::SynthTrain),
            [
                ("Dishes", "cutlery and dishes"),
                ("Speech", "people talking")
            ]
        );
        assert_eq!(
            named(Split::MaestroTrain),
            [
                ("people talking", "Speech"),
                ("children voices", "Speech"),
                ("announcement", "Speech"),
                ("cutlery and dishes", "Dishes")
            ]
        );
    }

    #[test]
    fn masks_have_the_published_sizes() {
        let count = |split, purpose| class_mask(split, purpose).iter().sum::<f32>();
        assert_eq!(count(Split::WeakTrain, Purpose::Training), 12.0);
        assert_eq!(count(Split::MaestroTrain, Purpose::Training), 19.0);
        assert_eq!(count(Split::DesedValidation, Purpose::Evaluation), 10.0);
        assert_eq!(count(Split::MaestroValidation, Purpose::Evaluation), 19.0);
    }
}
