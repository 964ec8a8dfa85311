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

/// Joins events of one class that touch or overlap: an event that starts at or before the current end extends it. The result is
/// sorted by class, then onset.
#[must_use]
pub fn merge_touching(events: &[SoundEvent]) -> Vec<SoundEvent> {
    let mut sorted = events.to_vec();
    sorted.sort_by(|one, two| {
        one.class
            .cmp(&two.class)
            .then(one.onset.total_cmp(&two.onset))
    });
    let mut merged: Vec<SoundEvent> = Vec::new();
    for event in sorted {
        match merged.last_mut() {
            Some(last) if last.class == event.class && event.onset <= last.offset => {
                last.offset = last.offset.max(event.offset);
            }
            _ => merged.push(event),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(onset: f64, offset: f64, class: &str) -> SoundEvent {
        SoundEvent {
            onset,
            offset,
            class: class.to_owned(),
        }
    }

    #[test]
    fn touching_events_of_a_class_become_one() {
        let events = [
            event(3.0, 4.0, "car"),
            event(1.0, 2.0, "car"),
            event(2.0, 3.0, "car"),
            event(2.0, 3.0, "footsteps"),
            event(5.0, 6.0, "car"),
        ];
        assert_eq!(
            merge_touching(&events),
            [
                event(1.0, 4.0, "car"),
                event(5.0, 6.0, "car"),
                event(2.0, 3.0, "footsteps"),
            ]
        );
    }
}
