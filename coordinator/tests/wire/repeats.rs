use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::v1::users_client::UsersClient;
use proto::v1::workers_client::WorkersClient;
use proto::v1::{self, from_worker, store_request::Ask};
use tonic::{Code, Response, Status};

use crate::fake_worker::{FakeWorker, Manners, Told, artifacts, send_artifact};
use crate::interposer::{Interposer, Mischief};
use crate::reach::{self, Authorized, LIMIT};
use crate::scene::{Scene, files_below};

/// What must be the same whatever happened on the way.
#[derive(Debug, PartialEq, Default)]
struct Outcome {
    codes: Vec<Option<i32>>,
    /// Tasks, each with its state, its outputs and its attempts.
    tasks: Vec<String>,
    /// Artifacts, logs and curves, by path.
    files: BTreeMap<String, Vec<u8>>,
}

impl Outcome {
    fn add(&mut self, scene: &Scene, code: Option<i32>) {
        self.codes.push(code);
        for task in scene.tasks_in_journal() {
            let attempts: Vec<String> = task
                .attempts
                .iter()
                .map(|attempt| {
                    let ended = attempt.ended.as_ref().map(|(_, outcome)| outcome);
                    format!("{} {:?} {ended:?}", attempt.fence, attempt.gang)
                })
                .collect();
            self.tasks.push(format!(
                "{} {} {:?} {attempts:#?}",
                task.task, task.state, task.outputs
            ));
        }
        let run_dir = scene.run_dir();
        for folder in ["artifacts", "logs", "report/metrics"] {
            for file in files_below(&run_dir.join(folder)) {
                let name = file.strip_prefix(&run_dir).unwrap().display().to_string();
                let key = format!("{} {name}", self.codes.len());
                self.files.insert(key, fs::read(&file).unwrap());
            }
        }
    }
}

/// A user or a script who does not give up.
async fn insist<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let started = Instant::now();
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable && started.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer.map(Response::into_inner),
        }
    }
}

/// Users and ranks who talk to whatever is at this address.
#[derive(Clone)]
struct Caller {
    users: UsersClient<Authorized>,
    workers: WorkersClient<Authorized>,
}

impl Caller {
    async fn to(place: &impl AsRef<Path>) -> Self {
        let (channel, token) = reach::connect(place.as_ref()).await;
        Self {
            users: UsersClient::with_interceptor(channel.clone(), token.clone()),
            workers: WorkersClient::with_interceptor(channel, token),
        }
    }

    /// A rank's question, for as long as it takes.
    async fn ask(&self, fence: u64, request: u64, ask: Ask) -> Option<v1::store_reply::Answer> {
        let request = v1::StoreRequest {
            worker: "one".to_owned(),
            incarnation: 1,
            fence,
            rank: 0,
            request,
            ask: Some(ask),
        };
        let answer = insist(|| {
            let (mut workers, request) = (self.workers.clone(), request.clone());
            async move { workers.ask_store(request).await }
        });
        answer.await.unwrap().answer
    }

    async fn status(&self) -> v1::StatusReply {
        let status = insist(|| {
            let mut users = self.users.clone();
            async move { users.status(v1::StatusRequest { run: None }).await }
        });
        status.await.unwrap()
    }

    async fn drain(&self, worker: &str, call: &str) {
        let request = v1::DrainRequest {
            worker: worker.to_owned(),
            call: Some(call.to_owned()),
        };
        let drained = insist(|| {
            let (mut users, request) = (self.users.clone(), request.clone());
            async move { users.drain(request).await }
        });
        drained.await.unwrap();
    }

    async fn logs(&self, task: &str) -> Vec<v1::LogLine> {
        let started = Instant::now();
        loop {
            let request = v1::LogsRequest {
                task: task.to_owned(),
                ..v1::LogsRequest::default()
            };
            let mut users = self.users.clone();
            let mut lines = Vec::new();
            let end = match users.logs(request).await {
                Ok(reply) => {
                    let mut stream = reply.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(line)) => lines.push(line),
                            Ok(None) => return lines,
                            Err(status) => break status,
                        }
                    }
                }
                Err(status) => status,
            };
            assert_eq!(end.code(), Code::Unavailable, "{end}");
            assert!(started.elapsed() < LIMIT);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const TASK: &str = "i1.s1.a.train";

/// A run in which every kind of message is said: it ends well, with a worker that is drained, one whose rank fails and who then
/// leaves by itself, and one that does the rest.
async fn a_whole_run(mischief: Option<Mischief>, outcome: &mut Outcome) -> BTreeSet<String> {
    let scene = Scene::new();
    let coordinator = scene.start();
    let way = Interposer::start(scene.run_dir(), mischief).await;
    let caller = Caller::to(&way).await;
    let one = FakeWorker::start(&way, "one", Manners::hold("s1.a.train"));
    let fence = one.wait_for_task(TASK).await;

    let (key, value) = ("k".to_owned(), b"v".to_vec());
    let timeout_ms = 20;
    let set = v1::StoreSet {
        key: key.clone(),
        value,
    };
    caller.ask(fence, 1, Ask::Set(set)).await;
    let add = |amount| {
        let key = "n".to_owned();
        Ask::Add(v1::StoreAdd { key, amount })
    };
    caller.ask(fence, 2, add(2)).await;
    let get = v1::StoreGet {
        key: key.clone(),
        timeout_ms,
    };
    caller.ask(fence, 3, Ask::Get(get)).await;
    let keys = vec![key, "n".to_owned()];
    let check = v1::StoreCheck { keys: keys.clone() };
    caller.ask(fence, 4, Ask::Check(check)).await;
    let wait = v1::StoreWait { keys, timeout_ms };
    caller.ask(fence, 5, Ask::Wait(wait)).await;
    let never = v1::StoreWait {
        keys: vec!["never".to_owned()],
        timeout_ms,
    };
    caller.ask(fence, 6, Ask::Wait(never)).await;
    let sum = caller.ask(fence, 7, add(0)).await;
    assert_eq!(sum, Some(v1::store_reply::Answer::Counter(2)), "added once");

    let explain = v1::ExplainRequest {
        task: TASK.to_owned(),
        run: None,
    };
    let explained = insist(|| {
        let (mut users, request) = (caller.users.clone(), explain.clone());
        async move { users.explain(request).await }
    });
    explained.await.unwrap();
    let submit = v1::SubmitRequest {
        plan: fs::read_to_string(scene.plan()).unwrap(),
        path: scene.plan().display().to_string(),
        call: Some("submit".to_owned()),
    };
    let submitted = insist(|| {
        let (mut users, request) = (caller.users.clone(), submit.clone());
        async move { users.submit(request).await }
    });
    assert_eq!(submitted.await.unwrap().run, 1);
    let started = Instant::now();
    let lines = loop {
        // they may still be on their way
        let lines = caller.logs(TASK).await;
        if !lines.is_empty() || started.elapsed() > LIMIT {
            break lines;
        }
    };
    assert_eq!(lines.len(), 1, "{lines:?}");

    caller.drain("one", "drain").await;
    one.wait_for(|told| *told == Told::Leave).await;
    let failure = v1::Failure {
        class: v1::FailureClass::TransientIo.into(),
        message: "a cable".to_owned(),
        ..v1::Failure::default()
    };
    let manners = Manners {
        fail: Some(("s1.a.train", failure)),
        ..Manners::hold("s2.a.train")
    };
    let two = FakeWorker::start(&way, "two", manners);
    two.wait_for_task(TASK).await;
    let retry = v1::RetryRequest {
        task: TASK.to_owned(),
        call: Some("retry".to_owned()),
    };
    // between the failure and the end of its pause; later there is nothing to retry any more
    let retried = insist(|| {
        let (mut users, request) = (caller.users.clone(), retry.clone());
        async move { users.retry(request).await }
    });
    if let Err(status) = retried.await {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
    two.wait_for_task("s2.a.train").await;
    two.say(from_worker::Body::Draining(v1::Draining {}));
    two.wait_for(|told| *told == Told::Leave).await;
    // what was late has come by now
    tokio::time::sleep(Duration::from_millis(400)).await;
    let three = FakeWorker::start(&way, "three", Manners::hold("s2.a.evaluate"));
    let fence = three.wait_for_task("s2.a.evaluate").await;
    for reason in [Some("no room".to_owned()), None] {
        let rank = 0;
        three.say(from_worker::Body::Paused(v1::Paused {
            fence,
            rank,
            reason,
        }));
    }
    // something to read that was written before
    let (channel, token) = reach::connect(way.as_ref()).await;
    let bytes = b"something of two parts".to_vec();
    let digest = types::Digest::of(&bytes);
    let started = Instant::now();
    while send_artifact(
        artifacts(channel.clone(), token.clone()),
        digest,
        bytes.clone(),
    )
    .await
    .is_err()
    {
        assert!(started.elapsed() < LIMIT);
    }
    let digest = proto::digest_to_wire(&digest);
    let has = insist(|| {
        let mut client = artifacts(channel.clone(), token.clone());
        let digest = digest.clone();
        async move { client.has(v1::HasRequest { digest }).await }
    });
    assert!(has.await.unwrap().has);
    loop {
        let mut client = artifacts(channel.clone(), token.clone());
        let request = v1::DownloadRequest {
            digest: digest.clone(),
        };
        let mut read = Vec::new();
        if let Ok(reply) = client.download(request).await {
            let mut chunks = reply.into_inner();
            while let Ok(Some(chunk)) = chunks.message().await {
                read.extend(chunk.data);
            }
        }
        if read == bytes {
            break;
        }
        assert!(read.is_empty() && started.elapsed() < LIMIT, "{read:?}");
    }
    assert_eq!(
        caller.status().await.tasks.len(),
        scene.tasks_in_journal().len()
    );
    // one whose device cannot be freed, and which is free of work by then
    let four = FakeWorker::start(&way, "four", Manners::default());
    let state = async |wanted: &str| {
        let started = Instant::now();
        loop {
            let mut workers = caller.status().await.workers.into_iter();
            let found = workers.find(|worker| worker.worker == "four");
            if found.is_some_and(|worker| worker.state == wanted) {
                break;
            }
            assert!(started.elapsed() < LIMIT, "four is not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    state("idle").await;
    four.say(from_worker::Body::Quarantined(v1::Quarantined {
        reason: "a process that does not die".to_owned(),
    }));
    state("quarantined").await;
    three.release();
    let ended = coordinator.end().await;
    outcome.add(&scene, ended.code);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let missing: Vec<String> = way.kinds().difference(&way.harmed()).cloned().collect();
    if mischief.is_some() {
        assert_eq!(missing, ["Users.Cancel"], "never said in this run");
    }
    way.harmed()
}

/// A run that a user ends; a late repetition of that call must not end the next one.
async fn a_cancelled_run(mischief: Option<Mischief>, outcome: &mut Outcome) -> BTreeSet<String> {
    let scene = Scene::new();
    let coordinator = scene.start();
    let way = Interposer::start(scene.run_dir(), mischief).await;
    let caller = Caller::to(&way).await;
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    worker.wait_for_task(TASK).await;
    let cancel = v1::CancelRequest {
        run: None,
        call: Some("cancel".to_owned()),
    };
    let cancelling = tokio::spawn({
        let (caller, cancel) = (caller.clone(), cancel.clone());
        async move {
            insist(|| {
                let (mut users, request) = (caller.users.clone(), cancel.clone());
                async move { users.cancel(request).await }
            })
            .await
        }
    });
    let ended = coordinator.end().await;
    // the answer may have got lost with the coordinator, which has nothing to do any more
    cancelling.abort();
    outcome.add(&scene, ended.code);
    let harmed = way.harmed();

    let coordinator = scene.start();
    let again = Caller::to(&scene).await;
    let answer = again.users.clone().cancel(cancel).await.unwrap();
    assert_eq!(
        answer.into_inner().run,
        1,
        "the same answer as the first time"
    );
    let status = again.status().await.run.unwrap();
    assert_eq!(
        (status.run, status.outcome),
        (2, None),
        "the next run goes on"
    );
    worker.release();
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    harmed
}

async fn outcome(mischief: Option<Mischief>) -> (Outcome, BTreeSet<String>) {
    let mut outcome = Outcome::default();
    let mut harmed = a_whole_run(mischief, &mut outcome).await;
    harmed.extend(a_cancelled_run(mischief, &mut outcome).await);
    (outcome, harmed)
}

/// The first message of every kind that the protocol's own description names.
async fn harms_nothing(mischief: Mischief) {
    let ((calm, _), (harmed, kinds)) = tokio::join!(outcome(None), outcome(Some(mischief)));
    assert_eq!(calm, harmed, "{mischief:?}");
    let all = crate::kinds::Protocol::read().kinds();
    assert_eq!(
        all, kinds,
        "a message of the protocol that this does not say"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_lost_is_said_again() {
    harms_nothing(Mischief::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_answer_is_lost_counts_once() {
    harms_nothing(Mischief::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_twice_counts_once() {
    harms_nothing(Mischief::Doubled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_late_changes_nothing() {
    harms_nothing(Mischief::Late).await;
}
