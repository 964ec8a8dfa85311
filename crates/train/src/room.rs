//! Files that wait for room on a disk that has none.

use std::path::Path;
use std::time::Duration;

use types::Section;

use crate::Error;
use crate::context::{Depot, Host};

/// How soon a disk without room is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Writes a file of about so many bytes, and waits for room where there is none, for as long as it takes: none if the host wants the task
/// to stop before there is any.
///
/// # Errors
/// Whatever else the disk has against it.
pub(crate) fn write_with_room<T>(
    host: &mut dyn Host,
    path: &Path,
    needed: u64,
    write: impl FnMut() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let depot = host.depot();
    let mut stopped = false;
    let wait = |_| {
        std::thread::sleep(RETRY);
        // it waits, and does not hang
        host.section(Section::Checkpoint);
        stopped = host.stop_requested();
        !stopped
    };
    match with_room(&*depot, (path, needed), wait, write) {
        Err(error) if stopped && error.is_full_disk() => Ok(None),
        written => written.map(Some),
    }
}

/// Tries until there is room; `wait` is told whether it is the first time, and says whether to try again.
pub(crate) fn with_room<T>(
    depot: &dyn Depot,
    (path, needed): (&Path, u64),
    mut wait: impl FnMut(bool) -> bool,
    mut write: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut first = true;
    loop {
        let written = write();
        let full = matches!(&written, Err(error) if error.is_full_disk());
        if full {
            depot.waits_for_room(path.parent().unwrap_or(path), needed);
            if wait(std::mem::replace(&mut first, false)) {
                continue;
            }
        }
        if !first {
            depot.goes_on();
        }
        return written;
    }
}
