//! Process groups over real processes.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use collective::{GlooOptions, Kind, MemoryStore, ProcessGroup, Store, StoreBackend};
use common::{Rank, ranks};
use tch::{Device, Kind as Dtype, Tensor};

const TIMEOUT: Duration = Duration::from_secs(20);

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Dtype::Double).flatten(0, -1)).unwrap()
}

fn collectives(rank: &Rank) {
    let group = rank.group("all", TIMEOUT);
    let (me, size) = (rank.rank as f64, rank.size as f64);
    let total: f64 = (0..rank.size).map(|r| r as f64).sum();

    for dtype in [Dtype::Float, Dtype::Double, Dtype::Int64, Dtype::BFloat16] {
        let mut tensor = Tensor::from_slice(&[me, 1.0, 2.0 * me]).to_kind(dtype);
        group.all_reduce_sum(&mut tensor).unwrap();
        assert_eq!(values(&tensor), [total, size, 2.0 * total], "{dtype:?}");
    }
    let mut mean = Tensor::full([1000, 1000], me, (Dtype::Float, Device::Cpu));
    group.all_reduce_avg(&mut mean).unwrap();
    assert_eq!(
        mean.double_value(&[999, 999]),
        f64::from((total / size) as f32)
    );
    assert_eq!(
        group
            .all_reduce_avg(&mut Tensor::from(1_i64))
            .unwrap_err()
            .kind(),
        Kind::Argument
    );

    let mut parameter = Tensor::from_slice(&[me, me]).set_requires_grad(true);
    group.broadcast(&mut parameter, rank.size - 1).unwrap();
    assert_eq!(values(&parameter), [size - 1.0; 2]);

    let gathered = group.all_gather(&Tensor::from_slice(&[me, -me])).unwrap();
    for (r, tensor) in gathered.iter().enumerate() {
        assert_eq!(values(tensor), [r as f64, -(r as f64)]);
    }
    group.barrier().unwrap();

    // Gloo would reduce the wrong memory; the group stays usable, for nothing was sent.
    let error = group
        .all_reduce_sum(&mut Tensor::zeros([2, 3], (Dtype::Float, Device::Cpu)).tr())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Argument);
    assert!(error.to_string().contains("[3, 2]"), "{error}");
    group.barrier().unwrap();

    // Gloo would end the process.
    let error = group
        .all_reduce_sum(&mut Tensor::zeros(
            [rank.rank as i64 + 1],
            (Dtype::Float, Device::Cpu),
        ))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Argument);
    assert!(
        error.to_string().contains("brings all_reduce (sum)"),
        "{error}"
    );
    assert_eq!(group.barrier().unwrap_err().kind(), Kind::Closed);

    // A closed group does not keep the same ranks from meeting again.
    let again = rank.group("again", TIMEOUT);
    again.barrier().unwrap();
}

#[test]
fn two_ranks_agree() {
    ranks("two_ranks_agree", 2, None, collectives);
}

#[test]
fn three_ranks_agree() {
    ranks("three_ranks_agree", 3, None, collectives);
}

#[test]
fn a_killed_peer_is_noticed_at_once() {
    ranks("a_killed_peer_is_noticed_at_once", 3, Some(2), |rank| {
        let group = rank.group("all", TIMEOUT);
        let mut tensor = Tensor::ones([2_000_000], (Dtype::Float, Device::Cpu));
        group.all_reduce_avg(&mut tensor).unwrap();
        if rank.rank == 2 {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
            });
        }
        let mut last = Instant::now();
        let error = loop {
            match group.all_reduce_avg(&mut tensor) {
                Ok(()) => last = Instant::now(),
                Err(error) => break error,
            }
        };
        assert!(
            last.elapsed() < Duration::from_secs(3),
            "after {:?}",
            last.elapsed()
        );
        assert_eq!(error.kind(), Kind::Peer, "{error}");
        assert!(error.is_peer_lost());
        assert_eq!(group.barrier().unwrap_err().kind(), Kind::Closed);
    });
}

#[test]
fn a_silent_peer_is_given_up_at_the_timeout() {
    ranks(
        "a_silent_peer_is_given_up_at_the_timeout",
        2,
        None,
        |rank| {
            let group = rank.group("all", Duration::from_secs(1));
            if rank.rank == 1 {
                std::thread::sleep(Duration::from_secs(5));
                return;
            }
            let started = Instant::now();
            let error = group.barrier().unwrap_err();
            let waited = started.elapsed();
            assert_eq!(error.kind(), Kind::Peer, "{error}");
            assert!(
                waited > Duration::from_millis(500) && waited < Duration::from_millis(4500),
                "{waited:?}"
            );
        },
    );
}

fn alone_of_two(backend: Arc<dyn StoreBackend>) -> collective::Error {
    let store = Store::new(backend).unwrap();
    let options = GlooOptions {
        timeout: Duration::from_millis(800),
        ..GlooOptions::default()
    };
    ProcessGroup::gloo(&store, 0, 2, &options).unwrap_err()
}

#[test]
fn a_rank_that_never_joins_is_an_error_at_the_timeout() {
    let started = Instant::now();
    let error = alone_of_two(Arc::new(MemoryStore::new()));
    assert_eq!(error.kind(), Kind::Store, "{error}");
    assert!(
        error.to_string().contains("did not appear within"),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

/// Answers nothing well.
struct Broken {
    panics: bool,
}

impl StoreBackend for Broken {
    fn set(&self, key: &str, _: &[u8]) -> Result<(), String> {
        assert!(!self.panics, "bug with {key}");
        Err("the supervisor is gone".to_owned())
    }
    fn get(&self, _: &str, _: Duration) -> Result<Vec<u8>, String> {
        Err("the supervisor is gone".to_owned())
    }
    fn add(&self, _: &str, _: i64) -> Result<i64, String> {
        Err("the supervisor is gone".to_owned())
    }
    fn check(&self, _: &[&str]) -> Result<bool, String> {
        Err("the supervisor is gone".to_owned())
    }
    fn wait(&self, _: &[&str], _: Duration) -> Result<(), String> {
        Err("the supervisor is gone".to_owned())
    }
}

#[test]
fn a_store_that_fails_is_an_error_with_its_words() {
    let error = alone_of_two(Arc::new(Broken { panics: false }));
    assert_eq!(error.kind(), Kind::Store);
    assert!(
        error.to_string().contains("the supervisor is gone"),
        "{error}"
    );
}

#[test]
fn a_store_that_panics_is_an_error_too() {
    let error = alone_of_two(Arc::new(Broken { panics: true }));
    assert_eq!(error.kind(), Kind::Store);
    assert!(
        error
            .to_string()
            .contains("the store's backend panicked: bug with"),
        "{error}"
    );
}

#[test]
fn two_groups_share_a_store_under_prefixes() {
    let backend = Arc::new(MemoryStore::new());
    for name in ["first", "second"] {
        let join = |rank| {
            let backend: Arc<dyn StoreBackend> = Arc::<MemoryStore>::clone(&backend);
            std::thread::spawn(move || {
                let store = Store::new(backend).unwrap().prefixed(name).unwrap();
                let options = GlooOptions {
                    timeout: TIMEOUT,
                    ..GlooOptions::default()
                };
                let group = ProcessGroup::gloo(&store, rank, 2, &options).unwrap();
                let mut one = Tensor::from(1.0);
                group.all_reduce_sum(&mut one).unwrap();
                one.double_value(&[])
            })
        };
        let (a, b) = (join(0), join(1));
        assert_eq!((a.join().unwrap(), b.join().unwrap()), (2.0, 2.0));
    }
}

#[test]
fn the_solo_group_changes_nothing() {
    let group = ProcessGroup::solo();
    let mut tensor = Tensor::from_slice(&[1.0, 2.0]);
    group.all_reduce_sum(&mut tensor).unwrap();
    group.all_reduce_avg(&mut tensor).unwrap();
    group.broadcast(&mut tensor, 0).unwrap();
    group.barrier().unwrap();
    assert_eq!(values(&tensor), [1.0, 2.0]);
    assert_eq!(group.all_gather(&tensor).unwrap().len(), 1);
    assert_eq!(
        group.broadcast(&mut tensor, 1).unwrap_err().kind(),
        Kind::Argument
    );
}

#[test]
fn a_rank_outside_the_group_is_refused() {
    let store = Store::new(Arc::new(MemoryStore::new())).unwrap();
    let error = ProcessGroup::gloo(&store, 2, 2, &GlooOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "joining the group: wrong use: rank 2 of a group of 2"
    );
}
