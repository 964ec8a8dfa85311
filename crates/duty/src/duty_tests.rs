use super::*;
use crate::exit::Exit;
use crate::protocol::Message;
use crate::samples::{assignment, point, training};

const LEASE: Duration = Duration::from_secs(120);

struct Scene {
    duty: Duty,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let now = Timestamp(0);
        Self {
            duty: Duty::new(now, LEASE, Limits::default()),
            now,
        }
    }

    fn attached() -> Self {
        let mut scene = Self::new();
        scene.then(Input::Attached { lost_after: LEASE });
        scene
    }

    fn then(&mut self, input: Input) -> Vec<Action> {
        self.duty.apply(self.now, input)
    }

    fn rank(&mut self, fence: u64, happening: Happening) -> Vec<Action> {
        let fence = Fence(fence);
        self.then(Input::Rank { fence, happening })
    }

    /// A rank that has met its gang, and whose report of that is number 1 if it is the first.
    fn start(&mut self, fence: u64) {
        self.then(Input::Start(assignment(fence, 1)));
        self.rank(fence, Happening::Fetched(Ok(())));
        self.rank(fence, Happening::Launched(Ok(())));
        self.rank(fence, Happening::Said(Message::Met));
    }

    fn later(&mut self, seconds: u64) -> Vec<Action> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.then(Input::Tick)
    }
}

fn sent(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(numbered) => Some(numbered.sequence),
            _ => None,
        })
        .collect()
}

fn deed(fence: u64, deed: Deed) -> Action {
    let fence = Fence(fence);
    Action::Rank { fence, deed }
}

fn held(fence: u64) -> Held {
    Held {
        fence: Fence(fence),
        rank: Rank(1),
        slot: SlotKind::Host,
    }
}

fn exited() -> Happening {
    Happening::Exited {
        exit: Exit {
            signal: Some(9),
            by_order: true,
            ..Exit::default()
        },
        log_tail: Vec::new(),
    }
}

#[test]
fn while_the_coordinator_is_away_work_goes_on_and_reports_wait() {
    let mut scene = Scene::attached();
    scene.start(1);
    scene.then(Input::Acknowledged { up_to: 1 });
    scene.then(Input::Detached);
    for step in 1..=3 {
        let metrics = Happening::Said(Message::Metrics(point(step)));
        assert_eq!(scene.rank(1, metrics), []);
    }
    assert_eq!(scene.later(100), []);
    assert_eq!(scene.duty.held(), [held(1)]);
    let actions = scene.then(Input::Attached { lost_after: LEASE });
    assert_eq!(sent(&actions), [2, 3, 4]);
    scene.then(Input::Acknowledged { up_to: 3 });
    scene.then(Input::Detached);
    let actions = scene.then(Input::Attached { lost_after: LEASE });
    assert_eq!(sent(&actions), [4]);
}

#[test]
fn an_end_that_nobody_acknowledged_is_still_held() {
    let mut scene = Scene::attached();
    scene.start(1);
    scene.then(Input::Detached);
    scene.rank(1, exited());
    assert_eq!(scene.duty.held(), [held(1)]);
    let actions = scene.then(Input::Attached { lost_after: LEASE });
    assert_eq!(sent(&actions), [1, 2]);
    scene.then(Input::Acknowledged { up_to: 2 });
    assert_eq!(scene.duty.held(), []);
}

#[test]
fn the_same_order_twice_is_obeyed_once() {
    let mut scene = Scene::attached();
    let order = Input::Start(assignment(5, 1));
    assert_eq!(scene.then(order.clone()), [deed(5, Deed::Fetch)]);
    assert_eq!(scene.then(order.clone()), []);
    scene.rank(5, Happening::Stop(StopMode::Now));
    assert_eq!(scene.then(order), []);
    assert_eq!(scene.then(Input::Start(assignment(4, 1))), []);
}

#[test]
fn a_newer_attempt_drives_out_the_older_one() {
    let mut scene = Scene::attached();
    scene.start(1);
    let actions = scene.then(Input::Start(assignment(2, 1)));
    assert_eq!(actions[0], deed(1, Deed::Kill));
    let Action::Send(numbered) = &actions[1] else {
        panic!("{actions:?}");
    };
    assert_eq!(numbered.fence, Fence(2));
    assert!(matches!(
        &numbered.report,
        Report::Failed(failure) if failure.class == FailureClass::TransientIo
    ));
}

#[test]
fn device_and_host_slot_are_independent() {
    let mut scene = Scene::attached();
    scene.start(1);
    assert_eq!(
        scene.then(Input::Start(training(2, 0))),
        [deed(2, Deed::Fetch)]
    );
}

#[test]
fn the_lease_counts_from_what_the_coordinator_has_heard() {
    let mut scene = Scene::attached();
    scene.start(1);
    scene.now = Timestamp(50_000);
    let sent_at = Timestamp(40_000);
    scene.then(Input::Heard { sent_at });
    scene.then(Input::Detached);
    scene.now = Timestamp(157_999);
    assert_eq!(scene.then(Input::Tick), []);
    scene.now = Timestamp(158_000);
    assert_eq!(scene.then(Input::Tick), [deed(1, Deed::Kill)]);
    assert_eq!(scene.rank(1, exited()), []);
    let actions = scene.then(Input::Attached { lost_after: LEASE });
    assert!(matches!(
        actions.last(),
        Some(Action::Send(Numbered { report: Report::Failed(failure), .. }))
            if failure.class == FailureClass::WorkerLost
    ));
}

#[test]
fn a_worker_leaves_when_its_ranks_have_and_all_is_acknowledged() {
    let mut scene = Scene::attached();
    scene.start(1);
    assert_eq!(
        scene.then(Input::Leave),
        [Action::Draining, deed(1, Deed::Kill)]
    );
    // what comes now is handed back
    let actions = scene.then(Input::Start(assignment(9, 1)));
    assert!(matches!(&actions[..], [Action::Send(numbered)] if numbered.report == Report::Stopped));
    let actions = scene.rank(1, exited());
    assert_eq!(sent(&actions), [3]);
    assert_eq!(
        scene.then(Input::Acknowledged { up_to: 3 }),
        [Action::Exit { connected: true }]
    );
}

#[test]
fn nobody_waits_for_ever_for_a_coordinator_that_is_gone() {
    let mut scene = Scene::attached();
    scene.start(1);
    scene.then(Input::Detached);
    scene.then(Input::Leave);
    assert_eq!(scene.rank(1, exited()), []);
    assert_eq!(scene.later(9), []);
    assert_eq!(scene.later(1), [Action::Exit { connected: false }]);
}

#[test]
fn the_second_signal_ends_at_once_and_an_idle_worker_goes_with_the_first() {
    let mut scene = Scene::attached();
    scene.start(1);
    scene.then(Input::Leave);
    assert_eq!(scene.then(Input::Leave), []);
    assert_eq!(scene.then(Input::Interrupt), []);
    assert_eq!(scene.then(Input::Interrupt)[0], Action::ExitNow);

    let mut scene = Scene::new();
    assert_eq!(
        scene.then(Input::Leave),
        [Action::Exit { connected: false }]
    );
}

#[test]
fn an_unusable_device_is_told_of_on_every_connection_and_takes_nothing_new() {
    let mut scene = Scene::attached();
    scene.start(1);
    let fence = Fence(1);
    let mode = StopMode::Now;
    assert_eq!(
        scene.then(Input::Stop { fence, mode }),
        [deed(1, Deed::Kill)]
    );
    let actions = scene.later(31);
    let [Action::Quarantined(reason)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    let reason = reason.clone();
    scene.then(Input::Detached);
    let actions = scene.then(Input::Attached { lost_after: LEASE });
    assert!(
        actions.contains(&Action::Quarantined(reason)),
        "{actions:?}"
    );
    let actions = scene.then(Input::Start(training(2, 0)));
    let [Action::Send(numbered)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert!(matches!(&numbered.report, Report::Failed(failure)
        if failure.class == FailureClass::TransientIo && failure.message.contains("restarted")));
    // nor does it keep the worker from leaving
    scene.then(Input::Acknowledged { up_to: 9 });
    assert!(
        scene
            .then(Input::Leave)
            .contains(&Action::Exit { connected: true })
    );
}

#[test]
fn another_journal_s_fences_mean_other_attempts() {
    let mut scene = Scene::attached();
    scene.start(9);
    scene.then(Input::Detached);
    assert_eq!(scene.then(Input::OtherJournal), []);
    assert_eq!(scene.duty.held(), []);
    assert_eq!(scene.duty.assignment(Fence(9)), None);
    assert_eq!(scene.then(Input::Attached { lost_after: LEASE }), []);
    scene.start(1);
}
