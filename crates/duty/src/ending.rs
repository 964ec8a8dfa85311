use types::{Failure, FailureClass};

use crate::exit::Exit;

const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGILL: i32 = 4;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
pub(crate) const SIGTERM: i32 = 15;

/// The account of a rank process that ended without giving one. The caller adds rank, last step and log tail.
pub(crate) fn account_for(exit: Exit) -> Failure {
    let (class, message) = match (exit.signal, exit.code) {
        (Some(SIGKILL), _) if exit.out_of_memory => (
            FailureClass::OutOfMemory,
            "the kernel killed the rank process because memory ran out".to_owned(),
        ),
        (Some(SIGKILL), _) => (
            FailureClass::Killed,
            "the rank process was killed from outside (SIGKILL)".to_owned(),
        ),
        (Some(SIGTERM), _) => (
            FailureClass::Killed,
            "the rank process was ended from outside (SIGTERM)".to_owned(),
        ),
        (Some(signal), _) => match crash_name(signal) {
            Some(name) => (
                FailureClass::Crash,
                format!("the rank process crashed ({name}); its last log lines may say where"),
            ),
            None => (
                FailureClass::Killed,
                format!("the rank process was ended from outside (signal {signal})"),
            ),
        },
        (None, Some(0)) => (
            FailureClass::Crash,
            "the rank process ended with exit code 0 but did not say that it had finished"
                .to_owned(),
        ),
        (None, code) => (
            FailureClass::Crash,
            format!(
                "the rank process ended with exit code {} and without a reason",
                code.map_or_else(|| "unknown".to_owned(), |code| code.to_string())
            ),
        ),
    };
    Failure {
        signal: exit.signal,
        exit_code: exit.code,
        peak_memory: exit.peak_memory,
        ..Failure::new(class, message)
    }
}

/// Signals that a process brings upon itself.
fn crash_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        SIGABRT => "SIGABRT",
        SIGBUS => "SIGBUS",
        SIGFPE => "SIGFPE",
        SIGILL => "SIGILL",
        SIGSEGV => "SIGSEGV",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(signal: Option<i32>, code: Option<i32>, out_of_memory: bool) -> FailureClass {
        let failure = account_for(Exit {
            signal,
            code,
            out_of_memory,
            peak_memory: Some(1 << 30),
            ..Exit::default()
        });
        assert_eq!((failure.signal, failure.exit_code), (signal, code));
        assert_eq!(failure.peak_memory, Some(1 << 30));
        failure.class
    }

    #[test]
    fn an_exit_is_classified_by_its_evidence() {
        assert_eq!(class(Some(9), None, false), FailureClass::Killed);
        assert_eq!(class(Some(9), None, true), FailureClass::OutOfMemory);
        assert_eq!(class(Some(15), None, false), FailureClass::Killed);
        assert_eq!(class(Some(11), None, true), FailureClass::Crash);
        assert_eq!(class(Some(6), None, false), FailureClass::Crash);
        assert_eq!(class(Some(10), None, false), FailureClass::Killed);
        assert_eq!(class(None, Some(101), false), FailureClass::Crash);
        assert_eq!(class(None, Some(0), false), FailureClass::Crash);
    }
}
