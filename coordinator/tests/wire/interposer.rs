use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::kinds::Protocol;
use crate::reach;

/// What happens to the first message of every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// It does not arrive, and the connection breaks.
    Lost,
    /// It arrives, and the connection breaks before anything comes back.
    AnswerLost,
    /// It arrives twice.
    Doubled,
    /// It arrives after what was said later: a request again, a worker's words on a connection that is not the newest any more.
    Late,
}

type Bytes = Vec<u8>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// How long nothing has to come before a broken connection is noticed, or before something is late.
const MOMENT: Duration = Duration::from_millis(100);

/// Stands between a coordinator and those who talk to it, passes on what they say frame by frame, whatever it means, and harms the
/// first message of every kind.
pub(crate) struct Interposer {
    folder: tempfile::TempDir,
    between: Arc<Between>,
    server: JoinHandle<()>,
}

impl AsRef<Path> for Interposer {
    /// Where its address is, as in a run directory.
    fn as_ref(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Interposer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Interposer {
    /// In front of the coordinator of this run directory.
    pub(crate) async fn start(run_dir: PathBuf, mischief: Option<Mischief>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        reach::connect(&run_dir).await;
        std::fs::copy(run_dir.join("token"), folder.path().join("token")).unwrap();
        std::fs::write(folder.path().join("address"), url).unwrap();
        let between = Arc::new(Between {
            protocol: Protocol::read(),
            run_dir,
            mischief,
            harmed: Mutex::default(),
            connections: AtomicU64::default(),
            held: Mutex::default(),
        });
        let router = Server::builder()
            .add_service(WorkersFace(Arc::clone(&between)))
            .add_service(ArtifactsFace(Arc::clone(&between)))
            .add_service(UsersFace(Arc::clone(&between)));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            router.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            folder,
            between,
            server,
        }
    }

    /// Kinds of messages of which one was harmed.
    pub(crate) fn harmed(&self) -> BTreeSet<String> {
        self.between.harmed.lock().unwrap().clone()
    }

    /// Every kind that there is.
    pub(crate) fn kinds(&self) -> BTreeSet<String> {
        self.between.protocol.kinds()
    }
}

struct Between {
    protocol: Protocol,
    run_dir: PathBuf,
    mischief: Option<Mischief>,
    harmed: Mutex<BTreeSet<String>>,
    connections: AtomicU64,
    /// Words of workers that arrive once a newer connection is open, each with its old connection.
    held: Mutex<Vec<(u64, mpsc::Sender<Bytes>, Bytes)>>,
}

/// One connection of a worker.
struct Line {
    number: u64,
    /// Nothing comes back any more.
    is_deaf: AtomicBool,
    to_near: mpsc::Sender<Result<Bytes, Status>>,
}

impl Between {
    /// What to do to a message of these kinds, if one of them has not been harmed yet.
    fn harm(&self, kinds: BTreeSet<String>) -> Option<Mischief> {
        let mischief = self.mischief?;
        let mut harmed = self.harmed.lock().unwrap();
        let is_new = kinds.iter().any(|kind| !harmed.contains(kind));
        harmed.extend(kinds);
        is_new.then_some(mischief)
    }

    async fn call(
        &self,
        path: &str,
        metadata: &MetadataMap,
        frames: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let away = || broken("the coordinator is away");
        let (address, _) = reach::address(&self.run_dir).ok_or_else(away)?;
        let channel = Channel::from_shared(address).unwrap().connect().await;
        let mut client = tonic::client::Grpc::new(channel.map_err(|_| away())?);
        client.ready().await.map_err(|_| away())?;
        let mut request = Request::new(frames);
        *request.metadata_mut() = metadata.clone();
        let path = http::uri::PathAndQuery::try_from(path).unwrap();
        Ok(client.streaming(request, path, Plain).await?.into_inner())
    }

    /// A call that is over when it is answered.
    async fn ask(
        self: Arc<Self>,
        path: String,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Answers, Status> {
        let (metadata, _, frames) = request.into_parts();
        let frames: Vec<Bytes> = frames.collect::<Result<_, _>>().await?;
        let kinds = frames
            .iter()
            .flat_map(|frame| self.protocol.of_request(&path, frame))
            .collect();
        let mut harm = self.harm(kinds);
        if harm == Some(Mischief::Lost) {
            // of a long one, half
            let half = frames[..frames.len() / 2].to_vec();
            if !half.is_empty() {
                let (sender, receiver) = mpsc::channel(half.len());
                for frame in half {
                    let _ = sender.try_send(frame);
                }
                let cut = self.call(&path, &metadata, ReceiverStream::new(receiver));
                // the sender stays until it is cut: the far end does not take it for the end
                let _ = tokio::time::timeout(MOMENT, cut).await;
                drop(sender);
            }
            return Err(broken("lost on the way"));
        }
        let answers = self.whole(&path, &metadata, &frames).await?;
        for answer in &answers {
            let of_answer = self.harm(self.protocol.of_answer(&path, answer));
            harm = harm.or(of_answer);
        }
        match harm {
            None => Ok(Box::pin(tokio_stream::iter(answers.into_iter().map(Ok)))),
            Some(Mischief::Lost | Mischief::AnswerLost) => {
                // of a long answer, one part arrives
                let part = (answers.len() > 1).then(|| answers[0].clone());
                let part = part.into_iter().map(Ok);
                let end = [Err(broken("the answer is lost"))];
                Ok(Box::pin(tokio_stream::iter(part.chain(end))))
            }
            Some(Mischief::Doubled) => {
                let both = tokio::join!(
                    self.whole(&path, &metadata, &frames),
                    self.whole(&path, &metadata, &frames)
                );
                let answers = both.1?;
                Ok(Box::pin(tokio_stream::iter(answers.into_iter().map(Ok))))
            }
            Some(Mischief::Late) => {
                let this = Arc::clone(&self);
                tokio::spawn(async move {
                    tokio::time::sleep(MOMENT * 3).await;
                    // nobody waits for its answer
                    let _ = this.whole(&path, &metadata, &frames).await;
                });
                Ok(Box::pin(tokio_stream::iter(answers.into_iter().map(Ok))))
            }
        }
    }

    async fn whole(
        &self,
        path: &str,
        metadata: &MetadataMap,
        frames: &[Bytes],
    ) -> Result<Vec<Bytes>, Status> {
        let frames = tokio_stream::iter(frames.to_vec());
        let answers = self.call(path, metadata, frames).await?;
        answers.collect().await
    }

    /// A connection of a worker, both ways.
    async fn attach(
        self: Arc<Self>,
        path: String,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Answers, Status> {
        let (metadata, _, from_near) = request.into_parts();
        let (to_far, frames) = mpsc::channel(256);
        let (to_near, answers) = mpsc::channel(256);
        let line = Line {
            number: self.connections.fetch_add(1, Ordering::Relaxed),
            is_deaf: AtomicBool::default(),
            to_near,
        };
        tokio::spawn(async move {
            let broken = tokio::select! {
                status = self.carry_up(&path, &line, from_near, to_far.clone()) => status,
                status = self.carry_down(&path, &line, &metadata, frames) => status,
            };
            let _ = line.to_near.send(Err(broken)).await;
        });
        Ok(Box::pin(ReceiverStream::new(answers)))
    }

    async fn carry_up(
        &self,
        path: &str,
        line: &Line,
        mut from_near: Streaming<Bytes>,
        to_far: mpsc::Sender<Bytes>,
    ) -> Status {
        loop {
            let frame = match from_near.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return broken("the worker has hung up"),
                Err(status) => return status,
            };
            let harm = self.harm(self.protocol.of_request(path, &frame));
            match harm {
                None => {
                    let _ = to_far.send(frame).await;
                }
                Some(Mischief::Lost) => return broken("lost on the way"),
                Some(Mischief::AnswerLost) => {
                    line.is_deaf.store(true, Ordering::Relaxed);
                    let _ = to_far.send(frame).await;
                    tokio::time::sleep(MOMENT).await;
                    return broken("the answer is lost");
                }
                Some(Mischief::Doubled) => {
                    let _ = to_far.send(frame.clone()).await;
                    let _ = to_far.send(frame).await;
                }
                Some(Mischief::Late) => {
                    line.is_deaf.store(true, Ordering::Relaxed);
                    let held = (line.number, to_far, frame);
                    self.held.lock().unwrap().push(held);
                    let _ = line.to_near.send(Err(broken("it comes late"))).await;
                    // the far end does not know yet that this connection is over
                    tokio::time::sleep(MOMENT * 20).await;
                    return broken("it came late");
                }
            }
        }
    }

    async fn carry_down(
        &self,
        path: &str,
        line: &Line,
        metadata: &MetadataMap,
        frames: mpsc::Receiver<Bytes>,
    ) -> Status {
        let mut from_far = match self.call(path, metadata, ReceiverStream::new(frames)).await {
            Ok(answers) => answers,
            Err(status) => return status,
        };
        let mut late = Vec::new();
        loop {
            let frame = match from_far.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return broken("the coordinator has hung up"),
                Err(status) => return status,
            };
            if line.is_deaf.load(Ordering::Relaxed) {
                continue;
            }
            // a newer connection is open
            self.held.lock().unwrap().retain(|(number, old, word)| {
                *number >= line.number || old.try_send(word.clone()).is_err()
            });
            let harm = self.harm(self.protocol.of_answer(path, &frame));
            if harm == Some(Mischief::Lost) {
                return broken("lost on the way");
            }
            let _ = line.to_near.send(Ok(frame.clone())).await;
            for frame in late.drain(..) {
                let _ = line.to_near.send(Ok(frame)).await;
            }
            match harm {
                Some(Mischief::AnswerLost) => return broken("the answer is lost"),
                Some(Mischief::Doubled) => {
                    let _ = line.to_near.send(Ok(frame)).await;
                }
                Some(Mischief::Late) => late.push(frame),
                Some(Mischief::Lost) | None => {}
            }
        }
    }
}

fn broken(why: &str) -> Status {
    Status::unavailable(why)
}

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// One method, for the time of a call.
struct OneCall(Arc<Between>, String);

impl tonic::server::StreamingService<Bytes> for OneCall {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (between, path) = (Arc::clone(&self.0), self.1.clone());
        Box::pin(async move {
            let answers = if path.ends_with("/Attach") {
                between.attach(path, request).await?
            } else {
                between.ask(path, request).await?
            };
            Ok(Response::new(answers))
        })
    }
}

macro_rules! face {
    ($name:ident, $service:literal) => {
        #[derive(Clone)]
        struct $name(Arc<Between>);

        impl NamedService for $name {
            const NAME: &'static str = $service;
        }

        impl Service<http::Request<tonic::body::Body>> for $name {
            type Response = http::Response<tonic::body::Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
                let call = OneCall(Arc::clone(&self.0), request.uri().path().to_owned());
                Box::pin(async move {
                    Ok(tonic::server::Grpc::new(Plain)
                        .streaming(call, request)
                        .await)
                })
            }
        }
    };
}

face!(WorkersFace, "tutti.v1.Workers");
face!(ArtifactsFace, "tutti.v1.Artifacts");
face!(UsersFace, "tutti.v1.Users");
