//! The published cuts of the weak and MAESTRO training sets into a part to learn from and one to validate on (recipe 1.6).

use std::collections::BTreeSet;

use crate::numpy::RandomState;

/// Both cuts use this seed.
const SEED: u32 = 42;

/// Scenes of MAESTRO Real in the order in which their recordings are shuffled.
pub(crate) const SCENES: [&str; 5] = [
    "cafe_restaurant",
    "city_center",
    "grocery_store",
    "metro_station",
    "residential_area",
];

/// Row numbers of a table of `n` weak rows: 90 % for training in drawn order, the others in table order.
///
/// As pandas' `sample(frac=0.9, random_state=42)` and what it leaves.
#[must_use]
pub fn weak_rows(n: usize) -> (Vec<usize>, Vec<usize>) {
    let order = RandomState::new(SEED).permutation(n);
    // pandas rounds half to even.
    let size = (n as f64 * 0.9).round_ties_even() as usize;
    let (train, rest) = order.split_at(size.min(n));
    let mut rest = rest.to_vec();
    rest.sort_unstable();
    (train.to_vec(), rest)
}

/// Cuts MAESTRO recordings, given in order of first appearance, into training (90 % of each scene, in shuffled order) and
/// validation. Recordings of other scenes, which the published data does not have, follow in order of first appearance of
/// the scene.
#[must_use]
pub fn maestro_recordings<'a>(recordings: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut scenes: Vec<&str> = SCENES.to_vec();
    let mut known: BTreeSet<&str> = SCENES.into();
    for recording in recordings {
        let scene = scene(recording);
        if known.insert(scene) {
            scenes.push(scene);
        }
    }
    let mut random = RandomState::new(SEED);
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for wanted in scenes {
        let mut of_scene: Vec<&str> = recordings
            .iter()
            .copied()
            .filter(|recording| scene(recording) == wanted)
            .collect();
        random.shuffle(&mut of_scene);
        let size = (of_scene.len() as f64 * 0.9) as usize;
        train.extend(&of_scene[..size]);
        validation.extend(&of_scene[size..]);
    }
    (train, validation)
}

/// The part of a recording's name before its last underscore.
pub(crate) fn scene(recording: &str) -> &str {
    recording
        .rsplit_once('_')
        .map_or(recording, |(scene, _)| scene)
}

/// The recording that a MAESTRO window is cut from: its name up to the first dash.
#[must_use]
pub fn recording_of(stem: &str) -> &str {
    stem.split_once('-')
        .map_or(stem, |(recording, _)| recording)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_maestro_cut() {
        let numbers: [(&str, &[u32]); 5] = [
            ("cafe_restaurant", &[0, 6, 7, 8, 11, 12, 14]),
            ("city_center", &[2, 4, 6, 7, 11, 12, 14]),
            ("grocery_store", &[0, 2, 3, 8, 9, 11]),
            ("metro_station", &[0, 2, 5, 7, 10, 12]),
            ("residential_area", &[0, 1, 4, 7, 8, 9, 14]),
        ];
        let names: Vec<String> = numbers
            .iter()
            .flat_map(|(scene, list)| list.iter().map(move |n| format!("{scene}_{n:02}")))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (train, validation) = maestro_recordings(&names);
        assert_eq!(train.len(), 28);
        assert_eq!(
            validation,
            [
                "cafe_restaurant_14",
                "city_center_11",
                "grocery_store_03",
                "metro_station_10",
                "residential_area_01"
            ]
        );
    }

    #[test]
    fn the_published_weak_cut_has_its_size() {
        let (train, validation) = weak_rows(1578);
        assert_eq!((train.len(), validation.len()), (1420, 158));
        assert_eq!((train[0], validation[0]), (1239, 13));
    }
}
