//! The disks of a run, the coordinator's and the workers', are full again and again: everything waits, says so, and goes on to the
//! very same results.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use system_tests::house::{History, House, Process, RUN_LIMIT, Remains, SOON};
use testkit::SmallDisk;

/// MiB: some times what the run leaves.
const ROOM: u32 = 96;
/// Full disks that have to be noticed, each.
const TIMES: u32 = 3;

fn house() -> House {
    let house = House::new();
    let plan = house.plan_text().replace("epochs = 2", "epochs = 6");
    let (first, _) = plan
        .split_once("\n[[iteration]]\npseudo_labels")
        .expect("a second iteration");
    house.write_plan(first);
    house
}

/// What waits for room, by the words of `status`.
fn pauses(house: &House) -> Vec<String> {
    let status = house.ask_running(&["status", "--json"]);
    let Ok(status) = serde_json::from_str::<serde_json::Value>(&status.stdout) else {
        return Vec::new();
    };
    let tasks = status["tasks"].as_array().into_iter().flatten();
    let reasons = tasks.chain([&status]).map(|one| one["paused"].as_str());
    reasons.flatten().map(str::to_owned).collect()
}

/// Has a disk be full until the run says that it waits for room there; whether it did, before the run was over.
fn fill_until_noticed(house: &House, disk: &SmallDisk, run: &mut Process) -> bool {
    let ballast = disk.fill();
    let folder = ballast.parent().expect("it is on the disk");
    let folder = folder.to_str().expect("a plain path").to_owned();
    let began = Instant::now();
    let noticed = loop {
        if !run.is_running() {
            break false;
        }
        let told = pauses(house);
        if told
            .iter()
            .any(|why| why.contains(&folder) && why.contains("free"))
        {
            break true;
        }
        assert!(began.elapsed() < SOON, "{told:?}: {}", run.output());
        std::thread::sleep(Duration::from_millis(50));
    };
    fs::remove_file(&ballast).expect("the ballast is there");
    noticed
}

#[test]
fn full_disks_pause_a_run_and_change_nothing() {
    let calm = house();
    let end = calm.run(2).wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());

    let house = house();
    let Some(records) = SmallDisk::mount(&house.run_dir(), ROOM) else {
        return;
    };
    let Some(work) = SmallDisk::mount(&house.path().join("workers"), ROOM) else {
        return;
    };
    let link = house.link();
    let mut run = house.run_with(&[]);
    let workers = ["w0", "w1"].map(|name| house.worker(name, &link));
    let run_dir = house.run_dir();
    run.until("a checkpoint", RUN_LIMIT, || {
        let history = History::so_far(&run_dir)?;
        let tasks = history.cluster.tasks(history.cluster.runs().pop()?.run);
        tasks.iter().find_map(|task| task.checkpoint)
    });
    let mut noticed = [0, 0];
    while run.is_running() {
        for (disk, count) in [&records, &work].into_iter().zip(&mut noticed) {
            *count += u32::from(fill_until_noticed(&house, disk, &mut run));
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let end = run.wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    for worker in workers {
        worker.signal(Signal::SIGTERM);
        let left = worker.wait(SOON);
        assert!(left.status.success(), "{}", left.all());
    }
    eprintln!("full disks noticed: the coordinator's and the workers' {noticed:?}");
    assert!(noticed.iter().all(|times| *times >= TIMES), "{noticed:?}");
    house.history().assert_nothing_ran_twice();
    Remains::of(&calm).assert_same(&Remains::of(&house));
}
