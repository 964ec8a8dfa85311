use std::thread;
use std::time::Duration;

use nix::unistd::{Pid, getppid};

use crate::exit;

/// Ends this process soon after the one that started it has ended, however that ended. Its ranks go with it.
pub(crate) fn end_with_it() -> std::io::Result<()> {
    const EVERY: Duration = Duration::from_millis(200);
    let parent = getppid();
    thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(move || watch(parent, EVERY))?;
    Ok(())
}

fn watch(parent: Pid, every: Duration) {
    while getppid() == parent {
        thread::sleep(every);
    }
    tracing::warn!("process {parent}, which started this worker, has ended; so does the worker");
    std::process::exit(i32::from(exit::FAILED));
}
