//! Words, times and numbers for people.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};
use types::{ScoreReport, Subject, Timestamp};

/// Text from outside may hold anything: control characters mean nothing in a document, and XML forbids them.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    if text.contains(forbidden) {
        Cow::Owned(text.replace(forbidden, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A class as people read it: `Alarm_bell_ringing` in words.
pub(crate) fn class_name(class: &str) -> String {
    clean(class).replace('_', " ")
}

pub(crate) fn subject(subject: &Subject) -> &str {
    match subject {
        Subject::Member(name) => name.as_str(),
        Subject::Ensemble => "ensemble",
    }
}

/// `untrained`, or iteration and stage in words.
pub(crate) fn place(iteration: u32, stage: u32) -> String {
    if iteration == 0 {
        "Untrained".to_owned()
    } else {
        format!("Iteration {iteration}, stage {stage}")
    }
}

/// The same where there is little room.
pub(crate) fn short_place(report: &ScoreReport) -> String {
    if report.iteration == 0 {
        "0".to_owned()
    } else {
        format!("{}.{}", report.iteration, report.stage)
    }
}

/// A point in time, of which only UTC is known.
pub(crate) fn time(at: Timestamp) -> Markup {
    let text = utc(at);
    let shown = text.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(text) { (shown) } }
}

/// The same in a tooltip.
pub(crate) fn utc(at: Timestamp) -> String {
    // the last second that a calendar of four digits has
    let seconds = Duration::from_millis(at.0).as_secs().min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Durations in charts and tables: seconds count where there are few.
pub(crate) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        types::human(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_invisible_is_left() {
        assert_eq!(clean("a\u{0}b\u{1b}[1m\tc\n"), "a\u{fffd}b\u{fffd}[1m\tc\n");
        assert_eq!(class_name("door_opens/closes"), "door opens/closes");
    }

    #[test]
    fn times_are_utc_and_never_overflow() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(utc(Timestamp(u64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(took(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(took(Duration::from_secs(90)), "90 s");
    }
}
