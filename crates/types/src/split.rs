use std::fmt;

use serde::{Deserialize, Serialize};

/// A named part of the data (recipe 1.1). The `snake_case` name is used in plans, file names and artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// MAESTRO Real training recordings, 10 s windows with soft labels.
    MaestroTrain,
    /// Real AudioSet clips of DESED with strong labels.
    StrongTrain,
    /// Further AudioSet clips with strong labels, training part.
    ExternalStrongTrain,
    /// DESED synthetic soundscapes.
    SynthTrain,
    /// DESED clips with weak labels (training and validation part together; recipe 1.6 splits them).
    WeakTrain,
    /// DESED clips without labels.
    UnlabeledTrain,
    /// DESED synthetic soundscapes for validation.
    SynthValidation,
    /// External strong clips, validation part.
    ExternalStrongValidation,
    /// DESED real validation set ("devtest").
    DesedValidation,
    /// MAESTRO Real validation recordings.
    MaestroValidation,
    /// DESED public evaluation set.
    PublicEval,
}

impl Split {
    /// Every split, in recipe order.
    pub const ALL: [Self; 11] = [
        Self::MaestroTrain,
        Self::StrongTrain,
        Self::ExternalStrongTrain,
        Self::SynthTrain,
        Self::WeakTrain,
        Self::UnlabeledTrain,
        Self::SynthValidation,
        Self::ExternalStrongValidation,
        Self::DesedValidation,
        Self::MaestroValidation,
        Self::PublicEval,
    ];

    /// The name in plans and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaestroTrain => "maestro_train",
            Self::StrongTrain => "strong_train",
            Self::ExternalStrongTrain => "external_strong_train",
            Self::SynthTrain => "synth_train",
            Self::WeakTrain => "weak_train",
            Self::UnlabeledTrain => "unlabeled_train",
            Self::SynthValidation => "synth_validation",
            Self::ExternalStrongValidation => "external_strong_validation",
            Self::DesedValidation => "desed_validation",
            Self::MaestroValidation => "maestro_validation",
            Self::PublicEval => "public_eval",
        }
    }

    /// Whether training reads it, so that it gets pseudo-labels.
    #[must_use]
    pub const fn is_train(self) -> bool {
        matches!(
            self,
            Self::MaestroTrain
                | Self::StrongTrain
                | Self::ExternalStrongTrain
                | Self::SynthTrain
                | Self::WeakTrain
                | Self::UnlabeledTrain
        )
    }

    /// Whether its clips are MAESTRO's (other classes, soft labels).
    #[must_use]
    pub const fn is_maestro(self) -> bool {
        matches!(self, Self::MaestroTrain | Self::MaestroValidation)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serde_name_is_the_shown_name() {
        for split in Split::ALL {
            assert_eq!(
                serde_json::to_string(&split).unwrap(),
                format!("\"{split}\"")
            );
        }
    }
}
