use std::time::{Duration, Instant};

use proto::v1::users_client::UsersClient;
use proto::v1::workers_client::WorkersClient;
use proto::v1::{self, from_worker, report};
use proto::{Token, digest_to_wire};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use types::Digest;

use crate::fake_worker::{FakeWorker, Manners, Told, artifacts, hello, send_artifact};
use crate::reach::{Authorized, LIMIT};
use crate::scene::Scene;

fn users(channel: Channel, token: Token) -> UsersClient<Authorized> {
    UsersClient::with_interceptor(channel, token)
}

fn with_token(channel: &Channel, token: Token) -> Authorized {
    InterceptedService::new(channel.clone(), token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connection_was_cut_is_taken_back_with_its_rank() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    worker.wait_for_task("s1.a.train").await;
    worker.cut();
    worker.release();
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    for task in scene.tasks_in_journal() {
        assert_eq!(task.attempts.len(), 1, "{}", task.task);
    }
    assert!(
        !worker
            .told()
            .iter()
            .any(|told| matches!(told, Told::Stop { .. })),
        "{:#?}",
        worker.told()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_fence_changes_nothing() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s2.a.train"));
    let old = worker.wait_for_task("s1.a.train").await;
    let current = worker.wait_for_task("s2.a.train").await;
    let (channel, token) = scene.connect().await;

    // A late account of an attempt that is over.
    let late = report::What::Failed(v1::Failure {
        class: v1::FailureClass::Data.into(),
        message: "a ghost speaks".to_owned(),
        ..v1::Failure::default()
    });
    worker.say(from_worker::Body::Report(v1::Report {
        sequence: 1_000_000,
        fence: old,
        rank: 0,
        what: Some(late),
    }));
    worker
        .wait_for(|told| matches!(told, Told::Stop { fence, .. } if *fence == old))
        .await;
    let status = users(channel.clone(), token.clone())
        .status(v1::StatusRequest { run: None })
        .await
        .unwrap();
    let states: Vec<(String, String)> = status
        .into_inner()
        .tasks
        .into_iter()
        .map(|task| (task.task, task.state))
        .collect();
    assert!(
        states.contains(&("i1.s1.a.train".to_owned(), "done".to_owned())),
        "{states:?}"
    );
    assert!(
        states.contains(&("i1.s2.a.train".to_owned(), "running".to_owned())),
        "{states:?}"
    );

    // Its rendezvous is closed; that of the live attempt is open.
    let mut workers = WorkersClient::new(with_token(&channel, token));
    let ask = |fence, request| v1::StoreRequest {
        worker: "one".to_owned(),
        incarnation: 1,
        fence,
        rank: 0,
        request,
        ask: Some(v1::store_request::Ask::Add(v1::StoreAdd {
            key: "met".to_owned(),
            amount: 2,
        })),
    };
    let refused = workers.ask_store(ask(old, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    let counter = |reply: v1::StoreReply| match reply.answer {
        Some(v1::store_reply::Answer::Counter(counter)) => counter,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        counter(
            workers
                .ask_store(ask(current, 1))
                .await
                .unwrap()
                .into_inner()
        ),
        2
    );
    let again = counter(
        workers
            .ask_store(ask(current, 1))
            .await
            .unwrap()
            .into_inner(),
    );
    assert_eq!(
        again, 2,
        "the same question is not answered by adding again"
    );
    assert_eq!(
        counter(
            workers
                .ask_store(ask(current, 2))
                .await
                .unwrap()
                .into_inner()
        ),
        4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_rank_hears_of_a_key_as_soon_as_it_is_set() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    let fence = worker.wait_for_task("s1.a.train").await;
    let (channel, token) = scene.connect().await;
    let workers = WorkersClient::new(with_token(&channel, token));
    let request = |request, ask| v1::StoreRequest {
        worker: "one".to_owned(),
        incarnation: 1,
        fence,
        rank: 0,
        request,
        ask: Some(ask),
    };
    let get = v1::store_request::Ask::Get(v1::StoreGet {
        key: "address".to_owned(),
        timeout_ms: 30_000,
    });
    let waiting = tokio::spawn({
        let (mut workers, request) = (workers.clone(), request(1, get));
        async move { workers.ask_store(request).await }
    });
    let set = v1::store_request::Ask::Set(v1::StoreSet {
        key: "address".to_owned(),
        value: b"here".to_vec(),
    });
    workers.clone().ask_store(request(2, set)).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .into_inner()
        .answer;
    assert_eq!(
        answer,
        Some(v1::store_reply::Answer::Value(b"here".to_vec()))
    );

    let wait = v1::store_request::Ask::Wait(v1::StoreWait {
        keys: vec!["never".to_owned()],
        timeout_ms: 50,
    });
    let answer = workers
        .clone()
        .ask_store(request(3, wait))
        .await
        .unwrap()
        .into_inner()
        .answer;
    assert!(
        matches!(&answer, Some(v1::store_reply::Answer::Failed(why)) if why.contains("never")),
        "a wait ends with its own limit: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_under_a_wrong_digest_is_refused_and_leaves_nothing() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let (channel, token) = scene.connect().await;
    let mut client = artifacts(channel, token);
    // Whatever the coordinator itself stores at its start is there by now.
    let before = scene.stored_files();
    let wrong = Digest::of(b"something else");
    let refused = send_artifact(client.clone(), wrong, b"these bytes of mine".to_vec())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    assert!(refused.message().contains(&wrong.to_string()), "{refused}");
    let has = client
        .has(v1::HasRequest {
            digest: digest_to_wire(&wrong),
        })
        .await
        .unwrap();
    assert!(!has.into_inner().has);
    assert_eq!(scene.stored_files(), before);

    let bytes = b"these bytes of mine".to_vec();
    let digest = Digest::of(&bytes);
    assert!(
        !send_artifact(client.clone(), digest, bytes.clone())
            .await
            .unwrap()
            .existed
    );
    assert!(
        send_artifact(client.clone(), digest, bytes.clone())
            .await
            .unwrap()
            .existed
    );
    let mut download = client
        .download(v1::DownloadRequest {
            digest: digest_to_wire(&digest),
        })
        .await
        .unwrap()
        .into_inner();
    let mut received = Vec::new();
    while let Some(chunk) = download.message().await.unwrap() {
        received.extend(chunk.data);
    }
    assert_eq!(received, bytes);
    let missing = client
        .download(v1::DownloadRequest {
            digest: digest_to_wire(&wrong),
        })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    let short = client
        .has(v1::HasRequest {
            digest: vec![1, 2, 3],
        })
        .await
        .unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_without_the_token() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let (channel, _) = scene.connect().await;
    let other = Token::new("not-the-token").unwrap();
    for status in [
        UsersClient::new(channel.clone())
            .status(v1::StatusRequest { run: None })
            .await
            .map(|_| ())
            .unwrap_err(),
        users(channel.clone(), other.clone())
            .status(v1::StatusRequest { run: None })
            .await
            .map(|_| ())
            .unwrap_err(),
        artifacts(channel.clone(), other.clone())
            .has(v1::HasRequest {
                digest: vec![0; 32],
            })
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    let mode = std::fs::metadata(scene.run_dir().join("token")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_protocol_is_told_so() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let (channel, token) = scene.connect().await;
    let mut workers = WorkersClient::new(with_token(&channel, token));
    let hello = v1::Hello {
        protocol: proto::PROTOCOL + 1,
        ..hello("newer", Vec::new())
    };
    let (messages, stream) = tokio::sync::mpsc::channel(1);
    messages
        .send(v1::FromWorker {
            body: Some(from_worker::Body::Hello(hello)),
        })
        .await
        .unwrap();
    let refused = match workers.attach(ReceiverStream::new(stream)).await {
        Err(status) => status,
        Ok(reply) => reply.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("same build"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_task_is_explained_and_a_worker_can_be_drained() {
    let scene = Scene::new();
    let _coordinator = scene.start();
    let (channel, token) = scene.connect().await;
    let mut users = users(channel, token);
    let explain = v1::ExplainRequest {
        task: "i1.s1.a.train".to_owned(),
        run: None,
    };
    let started = Instant::now();
    let sentence = loop {
        // The plan's data may still be on its way through the digests.
        match users.explain(explain.clone()).await {
            Ok(reply) => break reply.into_inner().sentence,
            Err(status) => assert!(
                status.code() == Code::NotFound && started.elapsed() < LIMIT,
                "{status}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(sentence.contains("worker"), "{sentence}");
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    let fence = worker.wait_for_task("s1.a.train").await;
    users
        .drain(v1::DrainRequest {
            worker: "one".to_owned(),
            call: None,
        })
        .await
        .unwrap();
    worker
        .wait_for(|told| {
            *told
                == Told::Stop {
                    fence,
                    mode: v1::StopMode::Checkpoint,
                }
        })
        .await;
    worker.wait_for(|told| *told == Told::Leave).await;
    let nobody = users
        .drain(v1::DrainRequest {
            worker: "nobody".to_owned(),
            call: None,
        })
        .await
        .unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound, "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_a_description_of_the_services_need_no_token() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let scene = Scene::new();
    let _coordinator = scene.start();
    let (channel, _) = scene.connect().await;
    let service = "tutti.v1.Users".to_owned();
    let check = HealthCheckRequest { service };
    let health = HealthClient::new(channel.clone())
        .check(check)
        .await
        .unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut replies = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let reply: ServerReflectionResponse = replies.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = reply.message_response else {
        panic!("{reply:?}");
    };
    let names: Vec<String> = services
        .service
        .into_iter()
        .map(|found| found.name)
        .collect();
    for name in ["tutti.v1.Workers", "tutti.v1.Artifacts", "tutti.v1.Users"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
}
