use types::{Detection, SoundEvent};

/// Longest runs of frames whose score is above the class's threshold, as sed_scores_eval decodes them (recipe 9.3). `boundaries`
/// has one entry more than there are frames, `values` is (frame, class) row by row, `classes` and `thresholds` have an entry per
/// class. Sorted by onset, then offset, then in the order of `classes`.
#[must_use]
pub fn detections(
    boundaries: &[f64],
    values: &[f64],
    classes: &[&str],
    thresholds: &[f64],
) -> Vec<Detection> {
    let columns = classes.len();
    let frames = boundaries.len().saturating_sub(1);
    let mut found = Vec::new();
    for (column, (class, threshold)) in classes.iter().zip(thresholds).enumerate() {
        let score = |frame: usize| values[frame * columns + column];
        let mut frame = 0;
        while frame < frames {
            let start = frame;
            while frame < frames && score(frame) > *threshold {
                frame += 1;
            }
            if frame == start {
                frame += 1;
                continue;
            }
            let sum: f64 = (start..frame).map(score).sum();
            found.push(Detection {
                event: SoundEvent {
                    onset: boundaries[start],
                    offset: boundaries[frame],
                    class: (*class).to_owned(),
                },
                confidence: sum / (frame - start) as f64,
            });
        }
    }
    found.sort_by(|one, two| {
        (one.event.onset.total_cmp(&two.event.onset))
            .then(one.event.offset.total_cmp(&two.event.offset))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_above_the_threshold_are_events() {
        let boundaries = [0.0, 1.0, 2.0, 3.0, 4.0];
        // two classes; a score at the threshold is not above it
        let values = [0.9, 0.5, 0.7, 0.6, 0.1, 0.5, 0.8, 0.8];
        let found = detections(&boundaries, &values, &["Cat", "Dog"], &[0.6, 0.5]);
        let found: Vec<_> = found
            .iter()
            .map(|found| {
                let event = &found.event;
                let confidence = (found.confidence * 1e6).round() / 1e6;
                (event.class.as_str(), event.onset, event.offset, confidence)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("Cat", 0.0, 2.0, 0.8),
                ("Dog", 1.0, 2.0, 0.6),
                ("Cat", 3.0, 4.0, 0.8),
                ("Dog", 3.0, 4.0, 0.8),
            ]
        );
    }

    #[test]
    fn nothing_above_the_threshold_is_nothing() {
        assert!(detections(&[0.0, 1.0], &[1.0], &["Cat"], &[1.0]).is_empty());
        assert!(detections(&[0.0], &[], &["Cat"], &[0.5]).is_empty());
    }
}
