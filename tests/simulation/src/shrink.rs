//! From a failing seed to a short story.

use crate::fault::Seconds;
use crate::scenario::Scenario;
use crate::sim::{play, tell};

/// A scenario with as few faults as it takes to break the same promise: delta debugging over the list of faults. One that breaks
/// none comes back as it is.
#[must_use]
pub fn shrink(scenario: &Scenario) -> Scenario {
    let Some(violation) = play(scenario).violation else {
        return scenario.clone();
    };
    let fails = |candidate: &Scenario| {
        let found = play(candidate).violation;
        found.is_some_and(|found| found.check == violation.check)
    };
    let mut best = scenario.clone();
    // what strikes after the end has no part in it
    best.strikes.retain(|strike| strike.at <= violation.at);
    if !fails(&best) {
        best = scenario.clone();
    }
    let mut size = best.strikes.len().div_ceil(2);
    while size > 0 {
        let mut shorter = false;
        let mut from = 0;
        while from < best.strikes.len() {
            let mut candidate = best.clone();
            let to = (from + size).min(candidate.strikes.len());
            candidate.strikes.drain(from..to);
            if fails(&candidate) {
                best = candidate;
                shorter = true;
            } else {
                from = to;
            }
        }
        if !shorter {
            size /= 2;
        }
    }
    best
}

/// What goes wrong in a scenario, in words, and which promise it breaks; its last events if it does.
#[must_use]
pub fn story(scenario: &Scenario) -> String {
    let (outcome, told) = tell(scenario);
    let mut text = format!("seed {}:", scenario.seed);
    if scenario.strikes.is_empty() {
        text.push_str(" no faults;");
    }
    for strike in &scenario.strikes {
        text.push_str(&format!(" {strike};"));
    }
    match outcome.violation {
        None => text.push_str(" every promise is kept"),
        Some(violation) => {
            text.push_str(&format!(
                " and at {} a promise is broken: {}: {}\nwhat happened last:\n",
                Seconds(violation.at),
                violation.check,
                violation.detail
            ));
            let last = told.len().saturating_sub(40);
            text.push_str(&told[last..].join("\n"));
        }
    }
    text
}
