use super::*;
use crate::samples::{assignment, point, training};

/// By somebody else than the worker.
const KILLED: Exit = Exit {
    signal: Some(9),
    code: None,
    by_order: false,
    out_of_memory: false,
    peak_memory: Some(1 << 20),
};
const BY_ORDER: Exit = Exit {
    by_order: true,
    ..KILLED
};
const WELL: Exit = Exit {
    signal: None,
    code: Some(0),
    ..KILLED
};

/// An attempt at a clock that the test moves, and what came of the last happening.
struct Scene {
    attempt: Attempt,
    now: Timestamp,
}

impl Scene {
    fn running(rank: u32) -> Self {
        Self::of(training(1, rank))
    }

    fn of(assignment: Arc<Assignment>) -> Self {
        let (attempt, effects) = Attempt::new(assignment, Limits::default());
        assert_eq!(effects, [Deed::Fetch.into()]);
        let mut scene = Self {
            attempt,
            now: Timestamp(1_000),
        };
        assert_eq!(
            scene.then(Happening::Fetched(Ok(()))),
            [Deed::Launch.into()]
        );
        assert_eq!(scene.then(Happening::Launched(Ok(()))), []);
        assert_eq!(scene.says(Message::Met), [Effect::Report(Report::Started)]);
        scene
    }

    fn then(&mut self, happening: Happening) -> Vec<Effect> {
        self.attempt.apply(self.now, happening)
    }

    fn says(&mut self, message: Message) -> Vec<Effect> {
        self.then(Happening::Said(message))
    }

    fn later(&mut self, seconds: u64) -> Vec<Effect> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.then(Happening::Tick)
    }

    fn exits(&mut self, exit: Exit) -> Vec<Effect> {
        let log_tail = vec!["its last words".to_owned()];
        self.then(Happening::Exited { exit, log_tail })
    }

    fn hands_over(&mut self, step: u64) -> Vec<Effect> {
        self.says(Message::Checkpoint {
            step: Step(step),
            file: checkpoint_file(step),
        })
    }

    fn uploaded(&mut self, what: Upload) -> Vec<Effect> {
        let result = Ok(Digest::of(b"x"));
        self.then(Happening::Uploaded { what, result })
    }
}

fn checkpoint_file(step: u64) -> PathBuf {
    PathBuf::from(format!("/handover/{step}"))
}

fn sends_checkpoint(step: u64) -> Effect {
    Deed::Upload {
        what: Upload::Checkpoint(Step(step)),
        file: checkpoint_file(step),
    }
    .into()
}

fn committed(step: u64) -> Effect {
    Effect::Report(Report::Checkpoint {
        step: Step(step),
        digest: Digest::of(b"x"),
    })
}

fn failure(effects: &[Effect]) -> &Failure {
    match effects {
        [.., Effect::Report(Report::Failed(failure))] => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

fn finished_with_one_output() -> Message {
    Message::Finished {
        outputs: BTreeMap::from([("checkpoint".to_owned(), PathBuf::from("/scratch/p"))]),
    }
}

#[test]
fn a_result_is_reported_when_it_is_in_the_store_and_the_process_is_gone() {
    let mut scene = Scene::running(0);
    let what = Upload::Output("checkpoint".to_owned());
    let file = PathBuf::from("/scratch/p");
    let upload = Effect::Do(Deed::Upload {
        what: what.clone(),
        file,
    });
    assert_eq!(scene.says(finished_with_one_output()), [upload]);
    assert_eq!(scene.exits(WELL), []);
    assert!(!scene.attempt.is_over());
    let outputs = BTreeMap::from([("checkpoint".to_owned(), Digest::of(b"x"))]);
    assert_eq!(
        scene.uploaded(what),
        [Effect::Report(Report::Finished { outputs })]
    );
    assert!(scene.attempt.is_over());
}

#[test]
fn a_killed_rank_is_reported_with_its_evidence() {
    let mut scene = Scene::running(1);
    assert_eq!(
        scene.says(Message::Metrics(point(7))),
        [Effect::Report(Report::Metrics(point(7)))]
    );
    let effects = scene.exits(KILLED);
    let failure = failure(&effects);
    assert_eq!(failure.class, FailureClass::Killed);
    assert_eq!(failure.rank, Some(types::Rank(1)));
    assert_eq!(failure.signal, Some(9));
    assert_eq!(failure.peak_memory, Some(1 << 20));
    assert_eq!(failure.last_step, Some(Step(7)));
    assert_eq!(failure.log_tail, ["its last words"]);
}

#[test]
fn what_a_rank_says_of_its_failure_outweighs_its_exit_code() {
    let mut scene = Scene::running(0);
    let (class, message) = (FailureClass::Data, "a.wav is cut short".to_owned());
    scene.says(Message::Failed { class, message });
    let code = Some(5);
    let effects = scene.exits(Exit { code, ..WELL });
    assert_eq!(failure(&effects).class, FailureClass::Data);
    assert_eq!(failure(&effects).exit_code, Some(5));
}

#[test]
fn a_missing_output_is_a_failure() {
    let mut scene = Scene::running(0);
    let outputs = BTreeMap::new();
    assert_eq!(scene.says(Message::Finished { outputs }), []);
    let effects = scene.exits(WELL);
    assert!(failure(&effects).message.contains("checkpoint"));
}

#[test]
fn other_ranks_hand_in_nothing() {
    let mut scene = Scene::running(1);
    assert_eq!(
        scene.hands_over(3),
        [Deed::Discard(checkpoint_file(3)).into()]
    );
    scene.says(finished_with_one_output());
    let outputs = BTreeMap::new();
    assert_eq!(
        scene.exits(WELL),
        [Effect::Report(Report::Finished { outputs })]
    );
}

#[test]
fn of_the_checkpoints_that_wait_only_the_newest_is_sent() {
    let mut scene = Scene::running(0);
    assert_eq!(scene.hands_over(1), [sends_checkpoint(1)]);
    assert_eq!(scene.hands_over(2), []);
    assert_eq!(
        scene.hands_over(3),
        [Deed::Discard(checkpoint_file(2)).into()]
    );
    assert_eq!(
        scene.uploaded(Upload::Checkpoint(Step(1))),
        [committed(1), sends_checkpoint(3)]
    );
    // the failure waits for the checkpoint: the next attempt begins there
    assert_eq!(scene.exits(KILLED), []);
    let effects = scene.uploaded(Upload::Checkpoint(Step(3)));
    assert_eq!(effects[0], committed(3));
    assert_eq!(failure(&effects).last_step, Some(Step(3)));
}

#[test]
fn a_failure_does_not_wait_for_ever_for_a_checkpoint() {
    let mut scene = Scene::running(0);
    scene.hands_over(1);
    assert_eq!(scene.exits(KILLED), []);
    assert_eq!(scene.later(9), []);
    let effects = scene.later(1);
    assert_eq!(effects[0], Deed::AbortUploads.into());
    assert_eq!(failure(&effects).class, FailureClass::Killed);
}

#[test]
fn a_stop_in_order_ends_with_a_checkpoint() {
    let mut scene = Scene::running(0);
    assert_eq!(
        scene.then(Happening::Stop(StopMode::Checkpoint)),
        [Deed::Tell(Command::Stop).into()]
    );
    assert_eq!(scene.then(Happening::Stop(StopMode::Checkpoint)), []);
    assert_eq!(scene.hands_over(9), [sends_checkpoint(9)]);
    assert_eq!(scene.says(Message::Stopped), []);
    assert_eq!(scene.exits(WELL), []);
    assert_eq!(
        scene.uploaded(Upload::Checkpoint(Step(9))),
        [committed(9), Effect::Report(Report::Stopped)]
    );
}

#[test]
fn a_rank_that_does_not_stop_is_helped() {
    let mut scene = Scene::running(0);
    scene.then(Happening::Stop(StopMode::Checkpoint));
    assert_eq!(scene.later(59), []);
    assert_eq!(scene.later(1), [Deed::Terminate.into()]);
    assert_eq!(scene.later(4), []);
    assert_eq!(scene.later(1), [Deed::Kill.into()]);
    assert_eq!(scene.later(29), []);
    assert_eq!(scene.exits(BY_ORDER), [Effect::Report(Report::Stopped)]);
}

#[test]
fn a_rank_that_has_said_its_last_word_has_to_go() {
    let mut scene = Scene::running(1);
    scene.says(finished_with_one_output());
    assert_eq!(scene.later(14), []);
    assert_eq!(scene.later(1), [Deed::Kill.into()]);
    let outputs = BTreeMap::new();
    assert_eq!(
        scene.exits(BY_ORDER),
        [Effect::Report(Report::Finished { outputs })]
    );
}

#[test]
fn stop_now_kills_and_gives_up_what_is_on_its_way() {
    let mut scene = Scene::running(0);
    scene.hands_over(1);
    assert_eq!(
        scene.then(Happening::Stop(StopMode::Now)),
        [Deed::Kill.into()]
    );
    assert_eq!(
        scene.exits(BY_ORDER),
        [Deed::AbortUploads.into(), Effect::Report(Report::Stopped)]
    );
}

#[test]
fn what_makes_no_checkpoints_is_not_asked_for_one() {
    let mut scene = Scene::of(assignment(1, 0));
    assert_eq!(
        scene.then(Happening::Stop(StopMode::Checkpoint)),
        [Deed::Kill.into()]
    );
    assert_eq!(scene.exits(BY_ORDER), [Effect::Report(Report::Stopped)]);
}

#[test]
fn a_rank_that_waits_for_its_gang_has_nothing_to_save() {
    let (mut attempt, _) = Attempt::new(assignment(1, 0), Limits::default());
    let now = Timestamp(0);
    attempt.apply(now, Happening::Fetched(Ok(())));
    attempt.apply(now, Happening::Launched(Ok(())));
    assert_eq!(
        attempt.apply(now, Happening::Stop(StopMode::Checkpoint)),
        [Deed::Kill.into()]
    );
}

#[test]
fn a_stop_before_the_start_starts_nothing() {
    let (mut attempt, _) = Attempt::new(assignment(1, 0), Limits::default());
    let now = Timestamp(0);
    assert_eq!(
        attempt.apply(now, Happening::Stop(StopMode::Checkpoint)),
        [Deed::AbortFetch.into(), Effect::Report(Report::Stopped)]
    );
    assert!(attempt.is_over());
    assert_eq!(attempt.apply(now, Happening::Fetched(Ok(()))), []);
}

#[test]
fn the_end_of_the_lease_kills_once_and_says_why() {
    let mut scene = Scene::running(0);
    assert_eq!(scene.then(Happening::LeaseOver), [Deed::Kill.into()]);
    assert_eq!(scene.then(Happening::LeaseOver), []);
    let effects = scene.exits(BY_ORDER);
    assert_eq!(failure(&effects).class, FailureClass::WorkerLost);
    assert_eq!(failure(&effects).signal, Some(9));
}

#[test]
fn a_kill_from_elsewhere_is_the_cause_even_where_a_stop_was_on_its_way() {
    // the gang's other rank noticed first, so the order to stop came before the worker saw the end of this one
    let mut scene = Scene::running(1);
    scene.then(Happening::Stop(StopMode::Now));
    let effects = scene.exits(KILLED);
    assert_eq!(failure(&effects).class, FailureClass::Killed);
    let mut scene = Scene::running(1);
    scene.then(Happening::Stop(StopMode::Now));
    let signal = Some(11);
    let effects = scene.exits(Exit { signal, ..KILLED });
    assert_eq!(failure(&effects).class, FailureClass::Crash);
}

#[test]
fn the_worker_s_own_sigterm_is_no_kill_from_elsewhere() {
    let mut scene = Scene::running(0);
    scene.then(Happening::Stop(StopMode::Checkpoint));
    assert_eq!(scene.later(60), [Deed::Terminate.into()]);
    let signal = Some(15);
    let effects = scene.exits(Exit { signal, ..KILLED });
    assert_eq!(effects, [Effect::Report(Report::Stopped)]);
}

/// Ticks as a worker does until something comes of it; what, and after how many milliseconds.
fn until_something_happens(scene: &mut Scene, pulse: Option<bool>) -> (u64, Vec<Effect>) {
    for tick in 1..=100_000 {
        scene.now = scene.now.after(Duration::from_millis(100));
        if let Some(waits) = pulse
            && tick % 5 == 0
        {
            scene.says(Message::Pulse { waits });
        }
        let effects = scene.then(Happening::Tick);
        if !effects.is_empty() {
            return (tick * 100, effects);
        }
    }
    panic!("nothing happens");
}

fn in_its_second_step(rank: u32) -> Scene {
    let mut scene = Scene::running(rank);
    let section = types::Section::Step;
    scene.says(Message::Section { section });
    for _ in 0..10 {
        scene.now = scene.now.after(Duration::from_millis(100));
        assert_eq!(scene.then(Happening::Tick), []);
    }
    scene.says(Message::Metrics(point(1)));
    scene.says(Message::Section { section });
    scene
}

#[test]
fn a_rank_that_hangs_is_ended_within_its_limit_and_says_where() {
    let mut scene = in_its_second_step(0);
    // 60 s, and ten times the second that the first step took
    let (after, effects) = until_something_happens(&mut scene, Some(false));
    assert_eq!((after, effects), (70_100, vec![Deed::Terminate.into()]));
    let (after, effects) = until_something_happens(&mut scene, None);
    assert_eq!((after, effects), (1_000, vec![Deed::Kill.into()]));
    let effects = scene.exits(BY_ORDER);
    let failure = failure(&effects);
    assert_eq!(failure.class, FailureClass::Hang);
    assert_eq!(failure.last_step, Some(Step(1)));
    for part in [
        "its step",
        "70.1 s",
        "limit is 70.0 s",
        "the last step that it reported is 1",
    ] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
}

#[test]
fn what_a_rank_says_once_it_was_ended_is_not_the_cause() {
    let mut scene = in_its_second_step(0);
    until_something_happens(&mut scene, Some(false));
    scene.says(Message::Failed {
        class: FailureClass::PeerLost,
        message: "the connection is closed".to_owned(),
    });
    let effects = scene.exits(Exit {
        code: Some(5),
        ..WELL
    });
    assert_eq!(failure(&effects).class, FailureClass::Hang);
}

#[test]
fn a_rank_that_waits_for_a_peer_is_left_alone() {
    let mut scene = in_its_second_step(0);
    for tick in 0..10_000 {
        scene.now = scene.now.after(Duration::from_millis(100));
        if tick % 5 == 0 {
            scene.says(Message::Pulse { waits: true });
        }
        assert_eq!(scene.then(Happening::Tick), [], "after {tick} ticks");
    }
}

#[test]
fn a_process_that_cannot_be_killed_makes_the_device_unusable_once() {
    let mut scene = Scene::running(0);
    assert_eq!(
        scene.then(Happening::Stop(StopMode::Now)),
        [Deed::Kill.into()]
    );
    let (after, effects) = until_something_happens(&mut scene, None);
    assert_eq!(after, 30_000);
    let [Effect::Quarantine(reason)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert!(
        reason.contains("attempt 1 has not ended 30 s after"),
        "{reason}"
    );
    assert!(scene.attempt.is_stuck());
    assert_eq!(scene.later(1000), []);
    assert_eq!(scene.then(Happening::LeaseOver), []);
    // late, but true
    assert_eq!(
        scene.exits(BY_ORDER),
        [Deed::AbortUploads.into(), Effect::Report(Report::Stopped)]
    );
}
