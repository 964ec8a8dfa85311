use super::changes::Changes;
use super::num_counts;
use super::reference::{Reference, Totals};
use super::sweep::Sweep;
use crate::psds::{OperatingPoint, PsdsSettings, Rates, area};

/// Scores one class whose detections are boxes: stretches of time with one confidence each, and nothing between them. It finds what
/// [`crate::Psds::by_class`] says of the same boxes turned into frames, but makes neither frames nor [`crate::Scores`] of them: tuning
/// asks a million times. Memory is kept from clip to clip and from round to round.
///
/// A round is [`BoxScorer::clip`] for each clip in any order, no clip twice (one left out has no box), then [`BoxScorer::finish`].
pub(crate) struct BoxScorer<'a> {
    class: usize,
    settings: PsdsSettings,
    totals: &'a Totals,
    sweep: Sweep<'a>,
    /// Boxes and the gaps between them, as frames.
    boundaries: Vec<f64>,
    scores: Vec<f64>,
    changes: Changes,
    points: Vec<OperatingPoint>,
}

impl<'a> BoxScorer<'a> {
    /// For the class in this column. `totals` are those of `reference` with every clip taken once; the class must have an event,
    /// and with a cross-trigger tolerance every class must.
    pub(crate) fn new(
        reference: &'a Reference,
        totals: &'a Totals,
        class: usize,
        settings: &PsdsSettings,
    ) -> Self {
        Self {
            class,
            settings: *settings,
            totals,
            sweep: Sweep::new(reference, settings.intersection),
            boundaries: Vec::new(),
            scores: Vec::new(),
            changes: Changes::new(num_counts(reference.num_classes(), settings.intersection)),
            points: Vec::new(),
        }
    }

    /// Adds the boxes of a clip, given by its place among the clips of the reference: onset, offset and confidence, by onset and
    /// apart. Boxes that touch are one detection while the threshold is below both.
    pub(crate) fn clip(&mut self, clip: usize, boxes: impl Iterator<Item = (f64, f64, f64)>) {
        self.boundaries.clear();
        self.scores.clear();
        for (onset, offset, confidence) in boxes {
            match self.boundaries.last() {
                None => self.boundaries.push(onset),
                Some(end) if *end < onset => {
                    self.boundaries.push(onset);
                    self.scores.push(f64::NEG_INFINITY);
                }
                Some(_) => {}
            }
            self.boundaries.push(offset);
            self.scores.push(confidence);
        }
        if self.scores.is_empty() {
            return;
        }
        let boundaries = self.boundaries.iter().copied();
        self.sweep.begin(clip, boundaries, Some(self.class));
        let scores = self.scores.iter().copied();
        self.sweep
            .class(self.class, scores, self.changes.unsorted());
    }

    /// The area under the class's curve, and a fresh start.
    pub(crate) fn finish(&mut self) -> f64 {
        self.changes.sort();
        let rates = Rates::new(self.class, self.totals, &self.settings);
        rates.curve(&self.changes, |_| 1, &mut self.points);
        self.changes.clear();
        area(&self.points, self.settings.max_efpr)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ClipScores, GroundTruth, Scores, SoundEvent, psds};

    /// Frames of 0.1 s with the boxes' confidence, minus infinity elsewhere.
    fn frames(boxes: &[(f64, f64, f64)]) -> Vec<f64> {
        (0..100)
            .map(|frame| {
                let time = (f64::from(frame) + 0.5) * 0.1;
                boxes
                    .iter()
                    .find(|(onset, offset, _)| (*onset..*offset).contains(&time))
                    .map_or(f64::NEG_INFINITY, |found| found.2)
            })
            .collect()
    }

    #[test]
    fn as_if_the_boxes_were_frames() {
        let event = |onset: f64, offset: f64, class: &str| SoundEvent {
            onset,
            offset,
            class: class.to_owned(),
        };
        let of_clips = [
            vec![
                event(1.0, 2.0, "one"),
                event(3.0, 4.5, "one"),
                event(5.0, 9.0, "two"),
            ],
            vec![],
            vec![event(0.0, 0.8, "two"), event(2.0, 3.0, "one")],
        ];
        // In the first clip two boxes touch: below 0.4 they are one detection that covers two events.
        let boxes = [
            vec![
                (1.0, 2.2, 0.9),
                (2.2, 4.5, 0.4),
                (6.0, 7.0, 0.8),
                (7.5, 8.0, 0.4),
            ],
            vec![(4.0, 5.0, 0.3)],
            vec![(0.1, 0.6, 0.7), (2.1, 2.9, 0.2), (2.9, 3.2, 0.2)],
        ];
        let classes = ["one", "two"].map(str::to_owned).to_vec();
        let names = ["a", "b", "c"];
        let truth = GroundTruth {
            events: names.map(str::to_owned).into_iter().zip(of_clips).collect(),
            durations: names
                .iter()
                .map(|clip| ((*clip).to_owned(), 100.0))
                .collect::<BTreeMap<_, _>>(),
        };
        let clips = names
            .iter()
            .zip(&boxes)
            .map(|(clip, boxes)| ClipScores {
                clip: (*clip).to_owned(),
                boundaries: (0..=100).map(|frame| f64::from(frame) / 10.0).collect(),
                values: frames(boxes)
                    .into_iter()
                    .flat_map(|score| [score, score])
                    .collect(),
            })
            .collect();
        let scores = Scores::new(classes.clone(), clips).unwrap();
        let reference = Reference::new(&truth, &classes, names.into_iter());
        let totals = reference.totals(|_| 1);
        for settings in [PsdsSettings::PSDS1, PsdsSettings::PSDS2] {
            let wanted = psds(&scores, &truth, &settings).unwrap().by_class;
            assert!(
                wanted.iter().any(|area| (0.01..0.99).contains(area)),
                "{wanted:?}"
            );
            for (class, wanted) in wanted.into_iter().enumerate() {
                let mut scorer = BoxScorer::new(&reference, &totals, class, &settings);
                for _round in 0..2 {
                    for (clip, boxes) in boxes.iter().enumerate().rev() {
                        scorer.clip(clip, boxes.iter().copied());
                    }
                    assert_eq!(scorer.finish(), wanted);
                }
                assert_eq!(scorer.finish(), 0.0, "nothing is left of the last round");
            }
        }
    }
}
