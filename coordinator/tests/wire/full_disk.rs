use std::fs;
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::users_client::UsersClient;
use testkit::SmallDisk;
use tonic::Code;
use types::Digest;

use crate::fake_worker::{FakeWorker, Manners, artifacts, send_artifact};
use crate::reach::{Authorized, LIMIT};
use crate::runs::assert_each_finished_once;
use crate::scene::Scene;

async fn status(users: &mut UsersClient<Authorized>) -> v1::StatusReply {
    let request = v1::StatusRequest { run: None };
    users.status(request).await.unwrap().into_inner()
}

/// Asks until the answer is as it should be.
async fn wait_for(
    users: &mut UsersClient<Authorized>,
    what: impl Fn(&v1::StatusReply) -> bool,
) -> v1::StatusReply {
    let started = Instant::now();
    loop {
        let reply = status(users).await;
        if what(&reply) {
            return reply;
        }
        assert!(started.elapsed() < LIMIT, "{reply:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn heard_at(reply: &v1::StatusReply, name: &str) -> u64 {
    let worker = reply.workers.iter().find(|worker| worker.worker == name);
    worker.unwrap().heard_at.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_pauses_a_run_says_so_and_ends_nothing() {
    let scene = Scene::new();
    let Some(disk) = SmallDisk::mount(&scene.run_dir(), 24) else {
        return;
    };
    let coordinator = scene.start();
    let one = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    one.wait_for_task("s1.a.train").await;
    let two = FakeWorker::start(&scene, "two", Manners::default());
    let (channel, token) = scene.connect().await;
    let mut users = UsersClient::with_interceptor(channel.clone(), token.clone());
    wait_for(&mut users, |reply| reply.workers.len() == 2).await;

    let ballast = disk.fill();
    // its hello belongs into the journal
    two.cut();
    let paused = wait_for(&mut users, |reply| reply.paused.is_some()).await;
    let reason = paused.paused.as_deref().unwrap();
    assert!(
        reason.contains("journal.sqlite: no space left") && reason.ends_with("free)"),
        "{reason}"
    );
    let explain = v1::ExplainRequest {
        task: "i1.s1.a.train".to_owned(),
        run: None,
    };
    let sentence = users.explain(explain).await.unwrap().into_inner().sentence;
    assert!(
        sentence.contains("runs as attempt 1") && sentence.contains("paused: "),
        "{sentence}"
    );
    // what trains goes on: its worker is heard, so that its lease does not end
    let before = heard_at(&paused, "one");
    wait_for(&mut users, |reply| {
        reply.paused.is_some() && heard_at(reply, "one") > before + 1000
    })
    .await;
    let bytes = vec![7; 5000];
    let refused = send_artifact(artifacts(channel, token), Digest::of(&bytes), bytes).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(
        refused.message().contains("no room on") && refused.message().contains("is free"),
        "{refused}"
    );

    fs::remove_file(ballast).unwrap();
    wait_for(&mut users, |reply| reply.paused.is_none()).await;
    one.release();
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let told = ended.output.matches("paused: ").count();
    assert!(
        told >= 1 && ended.output.contains("there is room again"),
        "{}",
        ended.output
    );
    let tasks = scene.tasks_in_journal();
    assert_each_finished_once(&tasks);
    assert!(tasks.iter().all(|task| task.attempts.len() == 1));
    let left = scene.stored_files();
    assert!(
        left.iter()
            .all(|path| !path.to_string_lossy().contains("aside"))
    );
}
