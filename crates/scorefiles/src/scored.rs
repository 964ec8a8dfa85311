//! Scores and ground truth that belong together.

use std::path::Path;

use eval::{GroundTruth, Scores};

use crate::{Error, Problem, read_durations, read_ground_truth, read_scores};

/// Reads frame scores (as [`read_scores`]), ground truth and durations, and checks that they are about the same clips, that every
/// event can be scored and that no clip has frames after its end (as [`check_durations`]).
///
/// # Errors
/// What the readers refuse; clip sets that differ; an event of a class without scores; events of a class that touch or overlap;
/// frames after the audio.
pub fn read_scored(
    scores: &Path,
    ground_truth: &Path,
    durations: &Path,
) -> Result<(Scores, GroundTruth), Error> {
    let found = read_scores(scores)?;
    let truth = GroundTruth {
        events: read_ground_truth(ground_truth)?,
        durations: read_durations(durations)?,
    };
    truth
        .check(&found)
        .map_err(Error::scores(&[scores, ground_truth, durations]))?;
    check_durations(scores, &found, durations, &truth)?;
    Ok((found, truth))
}

/// That each clip's last frame begins before its audio ends. Frames may end before the audio, because the last ones were cut off,
/// and the last frame may end after it, because the audio was padded; a frame that lies behind the end altogether belongs to
/// another clip. Metrics count frames where they are and use durations for hours and numbers of segments alone.
///
/// # Errors
/// A clip with a frame after its end. The paths are for the message.
pub fn check_durations(
    path: &Path,
    scores: &Scores,
    durations: &Path,
    truth: &GroundTruth,
) -> Result<(), Error> {
    for clip in scores.clips() {
        let (Some(&duration), [.., onset, offset]) =
            (truth.durations.get(&clip.clip), &clip.boundaries[..])
        else {
            continue;
        };
        if *onset >= duration {
            let problem = Problem::BeyondAudio {
                clip: clip.clip.clone(),
                onset: *onset,
                offset: *offset,
                duration,
                durations: durations.to_owned(),
            };
            return Err(Error::file(path, problem));
        }
    }
    Ok(())
}
