//! What really sounded, checked before anything is computed from it.

use std::collections::BTreeMap;

use types::SoundEvent;

use crate::error::Error;
use crate::scores::Scores;

/// Reference events and durations by clip (or recording).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reference {
    /// Events; a clip without events has an empty list.
    pub events: BTreeMap<String, Vec<SoundEvent>>,
    /// Seconds.
    pub durations: BTreeMap<String, f64>,
}

/// Start and end in seconds.
pub(crate) type Span = (f64, f64);

/// Reference events by clip and, in the scores' class order, by class; sorted by time.
pub(crate) type SpansByClass<'a> = BTreeMap<&'a str, Vec<Vec<Span>>>;

impl Reference {
    /// Sorts events by class, and checks all that the metrics rely on: one set of clips, known classes, times in order,
    /// events of a class apart, and at least one event of each class.
    pub(crate) fn checked(&self, scores: &Scores) -> Result<SpansByClass<'_>, Error> {
        self.check_clips(scores)?;
        let mut all = SpansByClass::new();
        let mut present = vec![false; scores.classes().len()];
        for (clip, events) in &self.events {
            let mut spans: Vec<Vec<Span>> = vec![Vec::new(); scores.classes().len()];
            for event in events {
                let class = check_event(clip, event, scores.classes())?;
                present[class] = true;
                spans[class].push((event.onset, event.offset));
            }
            for (class, spans) in spans.iter_mut().enumerate() {
                spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
                if let Some(pair) = spans.windows(2).find(|pair| pair[1].0 <= pair[0].1) {
                    return Err(Error::ConnectedEvents {
                        clip: clip.clone(),
                        class: scores.classes()[class].clone(),
                        end: pair[0].1,
                        begin: pair[1].0,
                    });
                }
            }
            all.insert(clip, spans);
        }
        if let Some(class) = present.iter().position(|present| !present) {
            return Err(Error::NoReference {
                class: scores.classes()[class].clone(),
            });
        }
        Ok(all)
    }

    fn check_clips(&self, scores: &Scores) -> Result<(), Error> {
        if scores.clips().is_empty() {
            return Err(Error::Nothing { what: "clips" });
        }
        same_keys(scores.clips(), "scores", &self.events, "reference")?;
        same_keys(scores.clips(), "scores", &self.durations, "duration")?;
        let bad = self
            .durations
            .iter()
            .find(|(_, duration)| !(duration.is_finite() && **duration > 0.0));
        match bad {
            Some((clip, &found)) => Err(Error::Duration {
                clip: clip.clone(),
                found,
            }),
            None => Ok(()),
        }
    }
}

fn check_event(clip: &str, event: &SoundEvent, classes: &[String]) -> Result<usize, Error> {
    let in_order = event.onset.is_finite() && event.offset.is_finite() && event.onset < event.offset;
    if !in_order {
        return Err(Error::EventTimes {
            clip: clip.to_owned(),
            onset: event.onset,
            offset: event.offset,
            class: event.class.clone(),
        });
    }
    classes
        .iter()
        .position(|class| *class == event.class)
        .ok_or_else(|| Error::UnknownLabel {
            clip: clip.to_owned(),
            onset: event.onset,
            offset: event.offset,
            class: event.class.clone(),
            known: classes.join(", "),
        })
}

fn same_keys<A, B>(
    one: &BTreeMap<String, A>,
    has_one: &'static str,
    other: &BTreeMap<String, B>,
    has_other: &'static str,
) -> Result<(), Error> {
    let lacking = |clip: &String, has, lacks| Error::ClipSets {
        clip: clip.clone(),
        has,
        lacks,
    };
    if let Some(clip) = one.keys().find(|clip| !other.contains_key(*clip)) {
        return Err(lacking(clip, has_one, has_other));
    }
    match other.keys().find(|clip| !one.contains_key(*clip)) {
        Some(clip) => Err(lacking(clip, has_other, has_one)),
        None => Ok(()),
    }
}
