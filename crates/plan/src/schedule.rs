use std::collections::BTreeMap;
use std::time::Duration;

use types::TaskName;

use crate::preview::{TaskPreview, TaskState};

/// How long the tasks that would run take on so many devices, when each free device goes to the task with the longest
/// remaining path, as `control` does it. None if one of them needs more devices than there are.
pub(crate) fn time_on(devices: u32, tasks: &[TaskPreview]) -> Option<Duration> {
    let open: Vec<&TaskPreview> = tasks
        .iter()
        .filter(|task| matches!(task.state, TaskState::WouldRun { .. }))
        .collect();
    let index: BTreeMap<&TaskName, usize> = open
        .iter()
        .enumerate()
        .map(|(at, task)| (&task.name, at))
        .collect();
    let mut waits = vec![0usize; open.len()];
    let mut then: Vec<Vec<usize>> = vec![Vec::new(); open.len()];
    for (at, task) in open.iter().enumerate() {
        for before in task.after.iter().filter_map(|name| index.get(name)) {
            waits[at] += 1;
            then[*before].push(at);
        }
    }
    // Tasks stand after those they depend on, so one walk backwards finds every longest remaining path.
    let mut path = vec![0.0f64; open.len()];
    for at in (0..open.len()).rev() {
        path[at] =
            open[at].estimate_seconds + then[at].iter().map(|next| path[*next]).fold(0.0, f64::max);
    }
    let mut ready: Vec<usize> = (0..open.len()).filter(|at| waits[*at] == 0).collect();
    let mut running: Vec<(f64, u32, usize)> = Vec::new();
    let (mut now, mut free) = (0.0, devices);
    loop {
        ready.sort_by(|a, b| path[*b].total_cmp(&path[*a]).then(a.cmp(b)));
        let mut waiting = Vec::new();
        for at in ready.drain(..) {
            let sizes = &open[at].devices;
            let gang = sizes.iter().copied().filter(|size| *size <= free).max();
            match gang {
                Some(gang) => {
                    free -= gang;
                    running.push((now + open[at].estimate_seconds / f64::from(gang), gang, at));
                }
                None if sizes.is_empty() => running.push((now + open[at].estimate_seconds, 0, at)),
                None if sizes.iter().all(|size| *size > devices) => return None,
                None => waiting.push(at),
            }
        }
        ready = waiting;
        let next = running
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))
            .map(|(at, _)| at);
        let Some(next) = next else { break };
        let (end, gang, at) = running.swap_remove(next);
        now = end;
        free += gang;
        for next in &then[at] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    Duration::try_from_secs_f64(now).ok()
}
