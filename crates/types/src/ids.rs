use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id! {
    /// One execution of a plan. Grows within a journal.
    RunId
}
number_id! {
    /// The number of one attempt. It only grows; a message with an old fence changes nothing.
    Fence
}
number_id! {
    /// One life of a worker process: the same worker back after a restart has another incarnation.
    Incarnation
}
number_id! {
    /// Optimizer updates completed.
    Step
}

impl Fence {
    /// The fence of the next attempt.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Dense index 0..N−1 of a rank process in its gang.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Rank(pub u32);

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a {what}: expected 1 to 200 characters out of a-z, A-Z, 0-9, '.', '_' and '-', not beginning with '.'"
)]
pub struct IdError {
    what: &'static str,
    found: String,
}

/// Names become parts of file names and of keys, so their alphabet is small.
fn valid_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the alphabet.
            ///
            /// # Errors
            /// When the text is empty, too long, or has a character that a file name should not have.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                if valid_name(&text) { Ok(Self(text)) } else { Err(IdError { what: $what, found: text }) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

text_id! {
    /// One call of a user: the same again, however late it arrives, changes nothing.
    CallId, "call's number"
}
text_id! {
    /// The process that owns one device, for as long as it keeps this name (over restarts).
    WorkerId, "worker name"
}
text_id! {
    /// One ensemble member.
    MemberName, "member name"
}
text_id! {
    /// A task's place in its run, for example `i2.s1.atst.train` or `i1.s2.atst.predict.weak_train.0`.
    TaskName, "task name"
}

/// One task of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The run.
    pub run: RunId,
    /// The task in it.
    pub name: TaskName,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.name)
    }
}

/// Milliseconds since the Unix epoch, as the shell's clock gave them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for bad in ["", "../x", "a/b", ".hidden", "a b", "ä"] {
            assert!(TaskName::new(bad).is_err(), "{bad:?}");
        }
        assert!(TaskName::new("i1.s2.atst.predict.weak_train.0").is_ok());
    }
}
