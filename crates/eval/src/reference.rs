use std::collections::{BTreeMap, BTreeSet};

use types::SoundEvent;

use crate::{Error, Scores};

/// Annotated sound events and lengths of clips. A clip without events has an empty list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroundTruth {
    /// Events by clip.
    pub events: BTreeMap<String, Vec<SoundEvent>>,
    /// Length in seconds by clip.
    pub durations: BTreeMap<String, f64>,
}

impl GroundTruth {
    /// That it is about the clips of `scores`, and that every event can be scored.
    ///
    /// # Errors
    /// Clip sets that differ, a bad duration, an unknown class, times that are none, events of one class that touch or overlap.
    pub fn check(&self, scores: &Scores) -> Result<(), Error> {
        let scored: BTreeSet<&str> = scores
            .clips()
            .iter()
            .map(|clip| clip.clip.as_str())
            .collect();
        let annotated: BTreeSet<&str> = self.events.keys().map(String::as_str).collect();
        let timed: BTreeSet<&str> = self.durations.keys().map(String::as_str).collect();
        same_clips(&scored, "scores", &annotated, "ground truth")?;
        same_clips(&scored, "scores", &timed, "duration")?;
        for (clip, duration) in &self.durations {
            if !(*duration > 0.0 && duration.is_finite()) {
                return Err(Error::Duration {
                    clip: clip.clone(),
                    duration: *duration,
                });
            }
        }
        for (clip, events) in &self.events {
            check_events(clip, events, scores.classes())?;
        }
        Ok(())
    }

    /// The same clips with the events of one class alone.
    pub(crate) fn of_class(&self, class: &str) -> Self {
        let own = |events: &Vec<SoundEvent>| {
            let own = events.iter().filter(|event| event.class == class);
            own.cloned().collect()
        };
        Self {
            events: (self.events.iter())
                .map(|(clip, events)| (clip.clone(), own(events)))
                .collect(),
            durations: self.durations.clone(),
        }
    }

    /// The events of one class in one clip, by onset.
    pub(crate) fn of(&self, clip: &str, class: &str) -> Vec<(f64, f64)> {
        let mut stretches: Vec<(f64, f64)> = self
            .events
            .get(clip)
            .into_iter()
            .flatten()
            .filter(|event| event.class == class)
            .map(|event| (event.onset, event.offset))
            .collect();
        stretches.sort_by(|one, two| one.0.total_cmp(&two.0));
        stretches
    }
}

pub(crate) fn same_clips(
    one: &BTreeSet<&str>,
    one_is: &'static str,
    two: &BTreeSet<&str>,
    two_is: &'static str,
) -> Result<(), Error> {
    if let Some(clip) = one.difference(two).next() {
        return Err(Error::ClipSets {
            clip: (*clip).to_owned(),
            there: one_is,
            missing: two_is,
        });
    }
    if let Some(clip) = two.difference(one).next() {
        return Err(Error::ClipSets {
            clip: (*clip).to_owned(),
            there: two_is,
            missing: one_is,
        });
    }
    Ok(())
}

fn check_events(clip: &str, events: &[SoundEvent], classes: &[String]) -> Result<(), Error> {
    let mut last: BTreeMap<&str, &SoundEvent> = BTreeMap::new();
    let mut sorted: Vec<&SoundEvent> = events.iter().collect();
    sorted.sort_by(|one, two| one.onset.total_cmp(&two.onset));
    for event in sorted {
        if !(event.onset < event.offset && event.onset >= 0.0 && event.offset.is_finite()) {
            return Err(Error::Times {
                clip: clip.to_owned(),
                event: event.clone(),
            });
        }
        if !classes.contains(&event.class) {
            return Err(Error::UnknownClass {
                clip: clip.to_owned(),
                event: event.clone(),
            });
        }
        if let Some(first) = last.insert(&event.class, event)
            && event.onset <= first.offset
        {
            return Err(Error::Overlap {
                clip: clip.to_owned(),
                first: first.clone(),
                second: event.clone(),
            });
        }
    }
    Ok(())
}
