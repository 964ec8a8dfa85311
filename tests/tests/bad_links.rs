//! A link that breaks between ends that are well changes nothing but a line in the log.

use std::time::Duration;

use nix::sys::signal::Signal;
use system_tests::house::{Curve, Endless, SOON, Weather, assert_log_whole, ranks_below};

#[test]
fn a_link_that_breaks_and_mends_changes_nothing_but_a_line_in_the_log() {
    let mut scene = Endless::start();
    let link = scene.house.link();
    let worker = scene.house.worker("w0", &link);
    let (rank, task) = scene.rank_of("w0", &worker);
    let outages = |output: &str| output.matches("the coordinator is out of reach").count();
    assert_eq!(outages(&worker.output()), 0);
    for (weather, seconds, noticed) in [
        (Weather::Cut, 1, 1),
        (Weather::Slow(Duration::from_millis(20)), 1, 1),
        // shorter than the five seconds of silence that either end takes for a dead one
        (Weather::Stalled, 2, 1),
        (Weather::OneWay, 12, 2),
        (Weather::HalfOpen, 12, 3),
    ] {
        let before = scene.known(&task).curve.last_step();
        link.set(weather);
        std::thread::sleep(Duration::from_secs(seconds));
        link.set(Weather::Fair);
        scene.until_beyond(&task, before);
        let told = scene.known(&task).curve.last_step();
        scene.until_beyond(&task, told);
        assert_eq!(
            outages(&worker.output()),
            noticed,
            "after {weather:?}: {}",
            worker.output()
        );
        let ids: Vec<u32> = ranks_below(worker.id())
            .iter()
            .map(|rank| rank.id)
            .collect();
        assert_eq!(ids, [rank.id], "after {weather:?}");
    }
    let house = scene.stop();
    worker.signal(Signal::SIGTERM);
    let left = worker.wait(SOON);
    assert!(left.status.success(), "{}", left.all());

    let view = house.history().task(&task);
    assert_eq!(view.attempts.len(), 1, "{view:#?}");
    Curve::read(&house.run_dir(), &task).assert_whole();
    assert_log_whole(&house.run_dir(), &task, view.attempts[0].fence.0);
}
