use serde::{Deserialize, Serialize};

/// One sound: when it begins and ends, and of which class it is. Times are seconds from the start of a clip or recording.
#[derive(Debug, Clone, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct SoundEvent {
    /// Start in seconds.
    pub onset: f64,
    /// End in seconds, after the onset.
    pub offset: f64,
    /// Class name.
    pub class: String,
}
