use serde::{Deserialize, Serialize};
use types::Timestamp;

use crate::Input;

/// The form of [`Record`]s that this build writes, and the newest that it reads.
///
/// Fields may be added with a serde default without raising it; anything else raises it and teaches [`Record::from_json`]
/// the old form.
const VERSION: u32 = 1;

/// A durable input as the journal keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The time that it was applied at.
    pub at: Timestamp,
    /// What was applied.
    pub input: Input,
}

#[derive(Serialize, Deserialize)]
struct Envelope<I> {
    v: u32,
    at: Timestamp,
    input: I,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// A text that is no record of a form known here.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer build.
    #[error(
        "the record has version {found}, this build reads up to version {VERSION} (use the build that wrote it, or a newer one)"
    )]
    TooNew {
        /// Its version.
        found: u32,
    },
    /// Not a record at all.
    #[error("not a journal record: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Record {
    /// The text that the journal stores.
    ///
    /// # Errors
    /// When serde_json refuses, which no [`Input`] makes it do.
    pub fn to_json(&self) -> Result<String, RecordError> {
        Ok(serde_json::to_string(&Envelope {
            v: VERSION,
            at: self.at,
            input: &self.input,
        })?)
    }

    /// Reads [`Record::to_json`]'s text back.
    ///
    /// # Errors
    /// [`RecordError::TooNew`] for a record of a later version, [`RecordError::Malformed`] for any other text.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        let VersionOnly { v } = serde_json::from_str(text)?;
        if v > VERSION {
            return Err(RecordError::TooNew { found: v });
        }
        let envelope: Envelope<Input> = serde_json::from_str(text)?;
        Ok(Self {
            at: envelope.at,
            input: envelope.input,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_build_is_named_as_such() {
        let error =
            Record::from_json(r#"{"v":2,"at":5,"input":{"input":"from the future"}}"#).unwrap_err();
        assert!(matches!(error, RecordError::TooNew { found: 2 }), "{error}");
        assert!(matches!(
            Record::from_json("{"),
            Err(RecordError::Malformed(_))
        ));
    }

    #[test]
    fn a_record_round_trips() {
        let record = Record {
            at: Timestamp(7),
            input: Input::Shutdown,
        };
        let text = record.to_json().unwrap();
        assert_eq!(text, r#"{"v":1,"at":7,"input":{"input":"shutdown"}}"#);
        assert_eq!(Record::from_json(&text).unwrap(), record);
    }
}
