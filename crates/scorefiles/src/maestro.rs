//! MAESTRO's soft labels: clips are windows of recordings, and recordings are what is scored (recipe 9.4).

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{ACTIVE_ABOVE, EVENT_COLUMNS, TableProblem, stem};
use eval::{SoundEvent, place_in_recording};
use types::merge_touching;

use crate::Error;
use crate::tables::{event, read_table};

/// Events of MAESTRO's soft labels: those above 0.5 of the classes that count, touching or overlapping ones of a class joined.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Maestro {
    /// By recording, in its own time. Every recording that the table names is there, with or without events.
    pub recordings: BTreeMap<String, Vec<SoundEvent>>,
    /// By clip, in the clip's time. Clips without an event that counts have none; the reference's test loop leaves them out.
    pub clips: BTreeMap<String, Vec<SoundEvent>>,
}

/// Reads `filename, onset, offset, event_label, confidence` of clips named `<recording>-<100·onset>-<100·offset>`. A clip's events
/// move by its onset in whole seconds, rounded down.
///
/// # Errors
/// No table or no rows, a missing column, a row of another length, a file name of another form, times or a confidence that are
/// none. Rows of classes that do not count are checked as well.
pub fn read_maestro<S: AsRef<str>>(path: &Path, classes: &[S]) -> Result<Maestro, Error> {
    let table = read_table(path, &EVENT_COLUMNS)?;
    let mut maestro = Maestro::default();
    for row in table.rows() {
        let filename = table.file_name(row, 0)?;
        let clip = stem(filename);
        let Ok((recording, start, _)) = place_in_recording(clip) else {
            let found = filename.to_owned();
            return Err(table
                .error(row, 0, TableProblem::NotAWindow { found })
                .into());
        };
        let recording = (maestro.recordings)
            .entry(recording.to_owned())
            .or_default();
        let events = maestro.clips.entry(clip.to_owned()).or_default();
        if (1..5).all(|column| row.is_missing(column)) {
            continue;
        }
        let event = event(&table, row)?;
        let counts = classes.iter().any(|class| class.as_ref() == event.class);
        if table.confidence(row)? > ACTIVE_ABOVE && counts {
            let start = (start / 100) as f64;
            recording.push(SoundEvent {
                onset: event.onset + start,
                offset: event.offset + start,
                class: event.class.clone(),
            });
            events.push(event);
        }
    }
    if maestro.clips.is_empty() {
        return Err(table.error_in_table(TableProblem::NoRows).into());
    }
    for events in (maestro.recordings.values_mut()).chain(maestro.clips.values_mut()) {
        *events = merge_touching(events);
    }
    Ok(maestro)
}
