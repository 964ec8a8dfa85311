use std::time::Duration;

use nix::sys::signal::Signal;

use crate::house::{Curve, Endless, SOON, assert_log_whole, ranks_below};

/// Trains while the coordinator is killed and away for each of these times; nothing but time may pass.
///
/// # Panics
/// When another rank process trains afterwards, the attempt is another one, or a point of its curve or a line of its log is missing.
pub fn away(times: &[Duration], tell: impl Fn(&str)) {
    let mut scene = Endless::start();
    let link = scene.house.link();
    let mut worker = scene.house.worker("w0", &link);
    let (rank, task) = scene.rank_of("w0", &worker);
    for time in times {
        let before = scene.known(&task).curve.last_step();
        scene.be_away(*time);
        scene.until_beyond(&task, before);
        // one that came after the restart, too
        let told = scene.known(&task).curve.last_step();
        scene.until_beyond(&task, told);
        let ids: Vec<u32> = ranks_below(worker.id())
            .iter()
            .map(|rank| rank.id)
            .collect();
        assert_eq!(ids, [rank.id], "the same rank process after {time:?}");
        tell(&format!(
            "away for {time:.0?}: rank process {} went from step {before} to step {}",
            rank.id,
            scene.known(&task).curve.last_step()
        ));
    }
    assert!(worker.is_running());
    let house = scene.stop();
    worker.signal(Signal::SIGTERM);
    let left = worker.wait(SOON);
    assert!(left.status.success(), "{}", left.all());

    let history = house.history();
    let view = history.task(&task);
    assert_eq!(view.attempts.len(), 1, "{view:#?}");
    let curve = Curve::read(&house.run_dir(), &task);
    curve.assert_whole();
    let last = curve.last_step();
    assert_eq!(
        view.checkpoint.map(|checkpoint| checkpoint.step.0),
        Some(last)
    );
    assert_log_whole(&house.run_dir(), &task, view.attempts[0].fence.0);
}
