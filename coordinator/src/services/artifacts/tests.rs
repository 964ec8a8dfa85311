use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use artifact::{Live, Store};
use artifacts_server::ArtifactsServer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Server};
use v1::artifacts_client::ArtifactsClient;

use super::*;

/// A service on loopback.
struct Depot {
    _folder: TempDir,
    root: std::path::PathBuf,
    store: Arc<Store>,
    lost: mpsc::UnboundedReceiver<Digest>,
    client: ArtifactsClient<Channel>,
    server: JoinHandle<()>,
}

impl Drop for Depot {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Depot {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        let store = Arc::new(Store::open(&root).unwrap());
        let keeper = Keeper::new(Arc::clone(&store), &Live::default()).unwrap();
        let keeper = Arc::new(keeper);
        let (sender, lost) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = ArtifactsServer::new(service(keeper, sender));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        let client = ArtifactsClient::connect(address).await.unwrap();
        Self {
            _folder: folder,
            root,
            store,
            lost,
            client,
            server,
        }
    }

    async fn upload(&mut self, parts: Vec<v1::UploadChunk>) -> Result<bool, Status> {
        let sending = self.client.upload(tokio_stream::iter(parts));
        let reply = in_time(sending).await?;
        Ok(reply.into_inner().existed)
    }

    async fn download(&mut self, digest: &Digest) -> Result<Vec<u8>, Status> {
        let request = v1::DownloadRequest {
            digest: proto::digest_to_wire(digest),
        };
        let receiving = async {
            let mut chunks = self.client.download(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                assert!(chunk.data.len() <= CHUNK);
                bytes.extend(chunk.data);
            }
            Ok(bytes)
        };
        in_time(receiving).await
    }

    /// Files in the store's folder for what is being written.
    fn aside(&self) -> usize {
        fs::read_dir(self.root.join("aside")).unwrap().count()
    }

    /// Overwrites an artifact's file behind the store's back.
    fn spoil(&self, digest: &Digest, bytes: &[u8]) {
        let path = self.store.path(digest);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .unwrap()
}

fn header(digest: &Digest, size: usize) -> v1::UploadChunk {
    let header = v1::UploadHeader {
        digest: proto::digest_to_wire(digest),
        size: size as u64,
    };
    v1::UploadChunk {
        part: Some(Part::Header(header)),
    }
}

fn data(bytes: &[u8]) -> v1::UploadChunk {
    v1::UploadChunk {
        part: Some(Part::Data(bytes.to_vec())),
    }
}

/// As a worker sends it.
fn parts(bytes: &[u8]) -> Vec<v1::UploadChunk> {
    let mut parts = vec![header(&Digest::of(bytes), bytes.len())];
    parts.extend(bytes.chunks(CHUNK).map(data));
    parts
}

/// No two chunks alike.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 7 % 251) as u8).collect()
}

#[tokio::test]
async fn what_is_uploaded_is_downloaded() {
    let mut depot = Depot::start().await;
    for size in [0, 1, CHUNK - 1, CHUNK, 20 * CHUNK + 1] {
        let bytes = content(size);
        let digest = Digest::of(&bytes);
        let has = v1::HasRequest {
            digest: proto::digest_to_wire(&digest),
        };
        let before = depot.client.has(has.clone()).await.unwrap().into_inner();
        assert!(!before.has);
        assert!(!depot.upload(parts(&bytes)).await.unwrap());
        let after = depot.client.has(has).await.unwrap().into_inner();
        assert!(after.has);
        assert_eq!(depot.download(&digest).await.unwrap(), bytes);
        // there already: says so, however much is still on its way
        assert!(depot.upload(parts(&bytes)).await.unwrap());
    }
    assert_eq!(depot.aside(), 0);
    assert!(depot.lost.try_recv().is_err());
}

#[tokio::test]
async fn a_bad_upload_is_refused_and_leaves_nothing() {
    let mut depot = Depot::start().await;
    let bytes = content(1000);
    let digest = Digest::of(&bytes);
    let mut flipped = bytes.clone();
    flipped[500] ^= 1;
    let bad_digest = v1::UploadChunk {
        part: Some(Part::Header(v1::UploadHeader {
            digest: vec![1; 31],
            size: 0,
        })),
    };
    let cases = [
        (vec![header(&digest, 1000), data(&flipped)], Code::DataLoss),
        (vec![header(&digest, 1001), data(&bytes)], Code::DataLoss),
        (vec![header(&digest, 999), data(&bytes)], Code::DataLoss),
        (vec![header(&digest, 1000)], Code::DataLoss),
        (vec![data(&bytes)], Code::InvalidArgument),
        (vec![], Code::InvalidArgument),
        (vec![v1::UploadChunk { part: None }], Code::InvalidArgument),
        (
            vec![header(&digest, 1000), header(&digest, 1000)],
            Code::InvalidArgument,
        ),
        (vec![bad_digest], Code::InvalidArgument),
    ];
    for (at, (parts, code)) in cases.into_iter().enumerate() {
        let status = depot.upload(parts).await.unwrap_err();
        assert_eq!(status.code(), code, "case {at}: {status}");
        assert!(!depot.store.has(&digest), "case {at}");
    }
    assert_eq!(depot.aside(), 0);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let mut depot = Depot::start().await;
    let bytes = content(10 * CHUNK);
    let (sender, chunks) = mpsc::channel(1);
    let mut client = depot.client.clone();
    let sending = tokio::spawn(async move { client.upload(ReceiverStream::new(chunks)).await });
    for part in parts(&bytes).into_iter().take(4) {
        sender.send(part).await.unwrap();
    }
    in_time(async {
        while depot.aside() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sending.abort();
        while depot.aside() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!depot.store.has(&Digest::of(&bytes)));
    assert!(!depot.upload(parts(&bytes)).await.unwrap());
}

#[tokio::test]
async fn a_damaged_artifact_is_reported_and_can_be_put_again() {
    let mut depot = Depot::start().await;
    let bytes = content(3 * CHUNK);
    let digest = Digest::of(&bytes);
    let mut flipped = bytes.clone();
    flipped[2 * CHUNK] ^= 1;
    for spoiled in [&flipped[..], &bytes[..CHUNK], &[]] {
        assert!(!depot.upload(parts(&bytes)).await.unwrap());
        depot.spoil(&digest, spoiled);
        let status = depot.download(&digest).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss);
        assert!(status.message().contains("is damaged"), "{status}");
        assert_eq!(depot.lost.recv().await, Some(digest));
        assert!(!depot.store.has(&digest));
    }
    // one of another size is known as damaged when somebody brings it again
    assert!(!depot.upload(parts(&bytes)).await.unwrap());
    depot.spoil(&digest, &bytes[..CHUNK]);
    assert!(!depot.upload(parts(&bytes)).await.unwrap());
    assert_eq!(depot.download(&digest).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_artifact_that_is_gone_is_not_found_and_reported() {
    let mut depot = Depot::start().await;
    let digest = Digest::of(b"never put");
    let status = depot.download(&digest).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(depot.lost.recv().await, Some(digest));
}

#[tokio::test]
async fn many_upload_the_same_at_once() {
    let depot = Depot::start().await;
    let bytes = content(5 * CHUNK);
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let mut client = depot.client.clone();
            let parts = parts(&bytes);
            tokio::spawn(async move { client.upload(tokio_stream::iter(parts)).await })
        })
        .collect();
    for upload in uploads {
        in_time(upload).await.unwrap().unwrap();
    }
    depot.store.verify(&Digest::of(&bytes)).unwrap();
    assert_eq!(depot.aside(), 0);
}
