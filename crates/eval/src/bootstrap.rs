//! How far a metric would move with other clips: the bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979).

use rayon::prelude::*;

use crate::Error;

/// Draws as many units (clips, or recordings where clips of one overlap) as there are, with replacement, again and again.
///
/// A replicate is a pure function of the seed and its number, so that neither threads nor machines change it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How often.
    pub replicates: usize,
    /// Share of replicates that an interval holds: its ends leave out as many below as above.
    pub confidence: f64,
    /// Another seed draws other units.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            replicates: 1000,
            confidence: 0.95,
            seed: 0,
        }
    }
}

/// Where a metric lies in the middle of the replicates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Intervals of a metric that is made from classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    /// Of the metric.
    pub value: Interval,
    /// Of each class's own, in column order.
    pub by_class: Vec<Interval>,
}

impl Intervals {
    /// From a list that begins with the metric's own.
    pub(crate) fn of(mut intervals: Vec<Interval>) -> Self {
        let value = intervals.remove(0);
        Self {
            value,
            by_class: intervals,
        }
    }
}

/// Draws of one replicate before it is given up.
const TRIES: u64 = 1000;

impl Bootstrap {
    /// Percentile intervals of every number that `statistic` makes of a replicate, given how often each unit was drawn.
    ///
    /// A replicate for which it returns `None` (one without any event of a class, say, has no score) is drawn anew, so that
    /// intervals are about those that can be scored.
    ///
    /// # Errors
    /// Settings out of range, nothing to draw from, a thousand draws in a row that cannot be scored.
    pub fn intervals(
        &self,
        units: usize,
        statistic: impl Fn(&[u32]) -> Option<Vec<f64>> + Sync,
    ) -> Result<Vec<Interval>, Error> {
        let replicates = self.replicates(units, statistic)?;
        let numbers = replicates.first().map_or(0, Vec::len);
        Ok((0..numbers)
            .map(|number| {
                let mut values: Vec<f64> = replicates.iter().map(|values| values[number]).collect();
                values.sort_by(f64::total_cmp);
                let tail = (1.0 - self.confidence) / 2.0;
                Interval {
                    low: quantile(&values, tail),
                    high: quantile(&values, 1.0 - tail),
                }
            })
            .collect())
    }

    /// What `statistic` makes of each replicate.
    fn replicates(
        &self,
        units: usize,
        statistic: impl Fn(&[u32]) -> Option<Vec<f64>> + Sync,
    ) -> Result<Vec<Vec<f64>>, Error> {
        if self.replicates == 0 || units == 0 {
            return Err(Error::Settings(format!(
                "{} bootstrap replicates of {units} clips, expected one of one at least",
                self.replicates
            )));
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(Error::Settings(format!(
                "the bootstrap's confidence is {}, expected a number between 0 and 1",
                self.confidence
            )));
        }
        (0..self.replicates as u64)
            .into_par_iter()
            .map_init(
                || vec![0; units],
                |times, replicate| {
                    (0..TRIES)
                        .find_map(|attempt| {
                            self.draw(replicate, attempt, times);
                            statistic(times)
                        })
                        .ok_or_else(|| {
                            Error::Settings(format!(
                                "bootstrap replicate {replicate}: {TRIES} draws of {units} clips in a row cannot be scored (is there a class in very few clips?)"
                            ))
                        })
                },
            )
            .collect()
    }

    /// How often each unit is in a replicate.
    fn draw(&self, replicate: u64, attempt: u64, times: &mut [u32]) {
        times.fill(0);
        let key = mix(mix(mix(self.seed) ^ replicate) ^ attempt);
        for draw in 0..times.len() as u64 {
            let random = mix(key ^ mix(draw));
            // The upper half of the product is uniform over the units (Lemire 2019, less the rejection: a part in 2^40).
            let unit = (u128::from(random) * times.len() as u128) >> 64;
            times[unit as usize] += 1;
        }
    }
}

/// A number that looks random for every other number (the finisher of `SplitMix64`, Steele et al. 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Between the two nearest values in proportion, as numpy's `quantile` does by default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor();
    let (low, high) = (sorted[below as usize], sorted[place.ceil() as usize]);
    low + (high - low) * (place - below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Area, ClipScores, GroundTruth, PsdsSettings, Scores, SoundEvent, psds, psds_intervals,
        segment_auroc, segment_auroc_intervals,
    };

    fn name(clip: usize) -> String {
        format!("clip{clip:03}")
    }

    /// Clips of ten frames, two classes, events now and then, scores that know of them.
    fn evaluation(clips: usize) -> (Scores, GroundTruth) {
        let classes = ["one", "two"].map(str::to_owned).to_vec();
        let mut truth = GroundTruth::default();
        let mut scored = Vec::new();
        for clip in 0..clips {
            let random = |what: u64| mix(mix(clip as u64) ^ what);
            let mut events = Vec::new();
            let mut values = vec![0.0; 20];
            for (class, label) in classes.iter().enumerate() {
                let onset = random(class as u64) % 12;
                for frame in 0..10 {
                    let sounds = (onset..onset + 3).contains(&frame) && onset < 7;
                    let noise = (random(100 + frame * 2 + class as u64) % 1000) as f64 / 1000.0;
                    values[frame as usize * 2 + class] = f64::from(u8::from(sounds)) + 1.5 * noise;
                }
                if onset < 7 {
                    events.push(SoundEvent {
                        onset: onset as f64,
                        offset: onset as f64 + 3.0,
                        class: label.clone(),
                    });
                }
            }
            truth.events.insert(name(clip), events);
            truth.durations.insert(name(clip), 10.0 + clip as f64 / 8.0);
            scored.push(ClipScores {
                clip: name(clip),
                boundaries: (0..=10).map(f64::from).collect(),
                values,
            });
        }
        (Scores::new(classes, scored).unwrap(), truth)
    }

    /// Each clip as often as it was drawn, under names of their own.
    fn copies(scores: &Scores, truth: &GroundTruth, times: &[u32]) -> (Scores, GroundTruth) {
        let mut drawn = GroundTruth::default();
        let mut clips = Vec::new();
        for (clip, times) in scores.clips().iter().zip(times) {
            for copy in 0..*times {
                let name = format!("{}_{copy}", clip.clip);
                drawn
                    .events
                    .insert(name.clone(), truth.events[&clip.clip].clone());
                drawn
                    .durations
                    .insert(name.clone(), truth.durations[&clip.clip]);
                clips.push(ClipScores {
                    clip: name,
                    ..clip.clone()
                });
            }
        }
        (
            Scores::new(scores.classes().to_vec(), clips).unwrap(),
            drawn,
        )
    }

    fn settings(replicates: usize) -> Bootstrap {
        Bootstrap {
            replicates,
            ..Bootstrap::default()
        }
    }

    #[test]
    fn replicates_are_what_copied_clips_score() {
        let (scores, truth) = evaluation(12);
        let wide = PsdsSettings {
            max_efpr: 2000.0,
            ..PsdsSettings::PSDS2
        };
        for params in [
            PsdsSettings::PSDS1,
            PsdsSettings {
                max_efpr: 2000.0,
                ..PsdsSettings::PSDS1
            },
            wide,
        ] {
            let statistic = crate::psds::replicate(&scores, &truth, &params).unwrap();
            let mut times = vec![1; 12];
            let all = psds(&scores, &truth, &params).unwrap();
            assert_eq!(
                statistic(&times).unwrap(),
                [&[all.value], all.by_class.as_slice()].concat()
            );
            for replicate in 0..200 {
                settings(1).draw(replicate, 0, &mut times);
                let (copied, events) = copies(&scores, &truth, &times);
                let wanted = psds(&copied, &events, &params).ok();
                let wanted =
                    wanted.map(|score| [&[score.value], score.by_class.as_slice()].concat());
                assert_eq!(statistic(&times), wanted, "replicate {replicate}");
            }
        }
    }

    #[test]
    fn auroc_replicates_are_what_copied_clips_score() {
        let (scores, truth) = evaluation(12);
        for (max_fpr, area) in [(1.0, Area::Linear), (0.1, Area::Staircase)] {
            let statistic = crate::auroc::replicate(&scores, &truth, 1.0, max_fpr, area).unwrap();
            for replicate in 0..200 {
                let mut times = vec![1; 12];
                if replicate > 0 {
                    settings(1).draw(replicate, 0, &mut times);
                }
                let (copied, events) = copies(&scores, &truth, &times);
                let wanted = segment_auroc(&copied, &events, 1.0, max_fpr, area)
                    .ok()
                    .map(|score| {
                        let by_class = score.by_class.iter().map(|class| class.value);
                        std::iter::once(score.mean)
                            .chain(by_class)
                            .collect::<Vec<_>>()
                    });
                assert_eq!(statistic(&times), wanted, "replicate {replicate}");
            }
        }
    }

    #[test]
    fn intervals_hold_the_value_whatever_the_threads() {
        let (scores, truth) = evaluation(100);
        let params = PsdsSettings {
            max_efpr: 500.0,
            ..PsdsSettings::PSDS1
        };
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                (
                    psds_intervals(&scores, &truth, &params, &settings(300)).unwrap(),
                    segment_auroc_intervals(
                        &scores,
                        &truth,
                        1.0,
                        1.0,
                        Area::Linear,
                        &settings(300),
                    )
                    .unwrap(),
                )
            })
        };
        let (score, auroc) = on(1);
        assert_eq!((score.clone(), auroc.clone()), on(3));
        let value = psds(&scores, &truth, &params).unwrap();
        let mean = segment_auroc(&scores, &truth, 1.0, 1.0, Area::Linear)
            .unwrap()
            .mean;
        for (interval, value) in [
            (score.value, value.value),
            (score.by_class[0], value.by_class[0]),
            (auroc.value, mean),
        ] {
            assert!(
                interval.low < value && value < interval.high,
                "{interval:?} {value}"
            );
            assert!(interval.high - interval.low < 0.4, "{interval:?}");
        }
    }

    #[test]
    fn draws_are_even_and_differ() {
        let mut sums = vec![0; 7];
        let mut times = vec![0; 7];
        let mut seen = std::collections::BTreeSet::new();
        for replicate in 0..2000 {
            settings(1).draw(replicate, 0, &mut times);
            assert_eq!(times.iter().sum::<u32>(), 7);
            sums.iter_mut()
                .zip(&times)
                .for_each(|(sum, times)| *sum += times);
            seen.insert(times.clone());
        }
        // 2000 expected, standard deviation about 41.
        assert!(
            sums.iter().all(|sum| (1800..2200).contains(sum)),
            "{sums:?}"
        );
        assert!(seen.len() > 500, "{}", seen.len());
    }

    #[test]
    fn the_mean_of_a_coin_has_its_known_interval() {
        // 400 units, half of them 1: the mean's standard deviation is 0.025.
        let mean = |times: &[u32]| {
            let heads: u32 = times[..200].iter().sum();
            Some(vec![f64::from(heads) / 400.0])
        };
        let interval = settings(4000).intervals(400, mean).unwrap()[0];
        assert!((interval.low - 0.451).abs() < 0.005, "{interval:?}");
        assert!((interval.high - 0.549).abs() < 0.005, "{interval:?}");
    }

    #[test]
    fn what_cannot_be_scored_is_drawn_anew_and_at_last_refused() {
        let without_first = |times: &[u32]| (times[0] > 0).then(|| vec![f64::from(times[0])]);
        let interval = settings(200).intervals(3, without_first).unwrap()[0];
        assert_eq!(interval.low, 1.0);
        let error = settings(1).intervals(3, |_| None).unwrap_err();
        assert!(
            error.to_string().contains("1000 draws of 3 clips"),
            "{error}"
        );
        assert!(settings(0).intervals(3, without_first).is_err());
        assert!(settings(1).intervals(0, without_first).is_err());
        let sure = Bootstrap {
            confidence: 1.0,
            ..settings(1)
        };
        assert!(sure.intervals(3, without_first).is_err());
    }
}
