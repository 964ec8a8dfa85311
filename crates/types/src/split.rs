use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::SplitFiles;

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

    /// Where the split's files lie below the data root in the published layout (recipe 1.1).
    #[must_use]
    pub fn standard_files(self) -> SplitFiles {
        let (audio, metadata, durations) = match self {
            Self::MaestroTrain => (
                "audio/maestro_real_train_16k",
                Some("metadata/maestro_real_train.tsv"),
                None,
            ),
            Self::StrongTrain => (
                "audio/train/strong_label_real_16k",
                Some("metadata/train/audioset_strong.tsv"),
                None,
            ),
            Self::ExternalStrongTrain => (
                "audio/external_strong_16k",
                Some("resources/external_strong_split/external_audioset_strong_train.tsv"),
                None,
            ),
            Self::SynthTrain => (
                "dcase_synth/audio/train/synthetic21_train/soundscapes_16k",
                Some("dcase_synth/metadata/train/synthetic21_train/soundscapes.tsv"),
                None,
            ),
            Self::WeakTrain => (
                "audio/train/weak_16k",
                Some("metadata/train/weak.tsv"),
                None,
            ),
            Self::UnlabeledTrain => ("audio/train/unlabel_in_domain_16k", None, None),
            // The audio of this split, and only the audio, lies outside `dcase_synth`.
            Self::SynthValidation => (
                "audio/validation/synthetic21_validation/soundscapes_16k",
                Some("dcase_synth/metadata/validation/synthetic21_validation/soundscapes.tsv"),
                Some("dcase_synth/metadata/validation/synthetic21_validation/durations.tsv"),
            ),
            Self::ExternalStrongValidation => (
                "audio/external_strong_16k",
                Some("resources/external_strong_split/external_audioset_strong_eval.tsv"),
                Some("resources/external_strong_split/external_audioset_strong_dur.tsv"),
            ),
            Self::DesedValidation => (
                "audio/validation/validation_16k",
                Some("metadata/validation/validation.tsv"),
                Some("metadata/validation/validation_durations.tsv"),
            ),
            Self::MaestroValidation => (
                "audio/maestro_real_validation_16k",
                Some("metadata/maestro_real_validation.tsv"),
                Some("metadata/maestro_real_durations.tsv"),
            ),
            Self::PublicEval => (
                "eval/desed_public_eval/audio/eval/public_16k",
                Some("eval/desed_public_eval/metadata/eval/public.tsv"),
                Some("eval/desed_public_eval/metadata/eval/public_durations.tsv"),
            ),
        };
        SplitFiles {
            audio: PathBuf::from(audio),
            metadata: metadata.map(PathBuf::from),
            durations: durations.map(PathBuf::from),
        }
    }

    /// The published exclude list of this split, relative to the data root (recipe 1.1); most splits have none.
    #[must_use]
    pub fn standard_exclude(self) -> Option<PathBuf> {
        let name = match self {
            Self::StrongTrain => "audioset_strong",
            Self::WeakTrain => "weak",
            Self::UnlabeledTrain => "unlabeled",
            _ => return None,
        };
        Some(PathBuf::from(format!(
            "resources/exclude/{name}_exclude.tsv"
        )))
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
