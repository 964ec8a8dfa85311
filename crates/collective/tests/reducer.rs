//! Data parallelism over real processes, against one process that sees the whole batch.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use std::time::{Duration, Instant};

use collective::adam::{AdamOptions, AdamTensors, fused_adamw};
use collective::{Kind, ProcessGroup, Reducer, ReducerOptions, broadcast_tensors, rng};
use common::{Rank, ranks};
use tch::{Device, Kind as Dtype, Tensor};

const TIMEOUT: Duration = Duration::from_secs(20);
const WIDTH: i64 = 32;
const ROWS: i64 = 12;

/// A small network with its optimizer: four layers of weights and biases.
struct Model {
    params: Vec<Tensor>,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
}

impl Model {
    fn new(seed: u64) -> Self {
        rng::seed(seed).unwrap();
        let params: Vec<Tensor> = (0..4)
            .flat_map(|_| [vec![WIDTH, WIDTH], vec![WIDTH]])
            .map(|shape| {
                (Tensor::randn(shape, (Dtype::Float, Device::Cpu)) * 0.2).set_requires_grad(true)
            })
            .collect();
        let zeros = || params.iter().map(|p| p.detach().zeros_like()).collect();
        Self {
            means: zeros(),
            squares: zeros(),
            params,
        }
    }

    fn copy(&self) -> Self {
        let copy = |list: &[Tensor]| list.iter().map(|t| t.detach().copy()).collect::<Vec<_>>();
        Self {
            params: copy(&self.params)
                .into_iter()
                .map(|p| p.set_requires_grad(true))
                .collect(),
            means: copy(&self.means),
            squares: copy(&self.squares),
        }
    }

    fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let mut h = x.shallow_clone();
        for layer in self.params.chunks(2) {
            h = (h.matmul(&layer[0]) + &layer[1]).tanh();
        }
        (h - y).square().mean(Dtype::Float)
    }

    fn grads(&self) -> Vec<Tensor> {
        self.params.iter().map(Tensor::grad).collect()
    }

    fn update(&self, step: u64) {
        let grads = self.grads();
        let tensors = AdamTensors {
            params: &self.params,
            grads: &grads,
            exp_avgs: &self.means,
            exp_avg_sqs: &self.squares,
        };
        let options = AdamOptions {
            weight_decay: 0.01,
            ..AdamOptions::default()
        };
        fused_adamw(tensors, step, &options).unwrap();
    }
}

/// The whole batch of a step: the same on all ranks.
fn batch(step: u64) -> (Tensor, Tensor) {
    rng::seed(rng::seed_from(&[("step", step.into())])).unwrap();
    let draw = || Tensor::randn([ROWS, WIDTH], (Dtype::Float, Device::Cpu));
    (draw(), draw().tanh())
}

/// One step on this rank's share of the batch, in `parts` micro-batches.
fn step(model: &Model, reducer: &Reducer, rank: &Rank, step: u64, parts: i64) {
    let (x, y) = batch(step);
    let share = ROWS / rank.size as i64;
    let rows = share / parts;
    reducer.zero_grad();
    for part in 0..parts {
        if part + 1 == parts {
            reducer.prepare().unwrap();
        }
        let from = rank.rank as i64 * share + part * rows;
        let loss = model.loss(&x.narrow(0, from, rows), &y.narrow(0, from, rows)) / parts;
        loss.f_backward().unwrap();
    }
    model.update(step);
}

fn small_buckets() -> ReducerOptions {
    ReducerOptions {
        first_bucket_bytes: 2_000,
        bucket_bytes: 5_000,
    }
}

fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs().max().double_value(&[]))
        .fold(0.0, f64::max)
}

fn trains_like_one(rank: &Rank) {
    let group = rank.group("all", TIMEOUT);
    // Ranks start apart and are brought together.
    let model = Model::new(100 + rank.rank as u64);
    broadcast_tensors(&model.params, &group).unwrap();
    let alone = model.copy();
    let reducer = Reducer::new(&model.params, &group, small_buckets()).unwrap();
    let solo = Reducer::new(&alone.params, &ProcessGroup::solo(), small_buckets()).unwrap();
    for number in 1..=30 {
        step(
            &model,
            &reducer,
            rank,
            number,
            if number % 3 == 0 { 2 } else { 1 },
        );
        solo.zero_grad();
        solo.prepare().unwrap();
        let (x, y) = batch(number);
        alone.loss(&x, &y).backward();
        let gradients = distance(&model.grads(), &alone.grads());
        assert!(
            gradients < 1e-6,
            "step {number}: gradients differ by {gradients}"
        );
        alone.update(number);
    }
    let weights = distance(&model.params, &alone.params);
    assert!(weights < 1e-4, "weights differ by {weights}");
    // The ranks among themselves: to the bit.
    for param in &model.params {
        for other in group.all_gather(&param.detach()).unwrap() {
            assert!(other.equal(&param.detach()));
        }
    }
}

#[test]
fn two_ranks_train_like_one() {
    ranks("two_ranks_train_like_one", 2, None, trains_like_one);
}

#[test]
fn three_ranks_train_like_one() {
    ranks("three_ranks_train_like_one", 3, None, trains_like_one);
}

#[test]
fn three_ranks_resume_to_the_bit() {
    ranks("three_ranks_resume_to_the_bit", 3, None, |rank| {
        let group = rank.group("all", TIMEOUT);
        let model = Model::new(1);
        let reducer = Reducer::new(&model.params, &group, small_buckets()).unwrap();
        let mut saved = None;
        for number in 1..=10 {
            if number == 6 {
                saved = Some(model.copy());
            }
            step(&model, &reducer, rank, number, 1);
        }
        drop(reducer);
        let resumed = saved.unwrap();
        let group = rank.group("again", TIMEOUT);
        let reducer = Reducer::new(&resumed.params, &group, small_buckets()).unwrap();
        for number in 6..=10 {
            step(&resumed, &reducer, rank, number, 1);
        }
        for (a, b) in model.params.iter().zip(&resumed.params) {
            assert!(a.equal(b));
        }
    });
}

#[test]
fn a_peer_killed_in_backward_is_an_error() {
    ranks(
        "a_peer_killed_in_backward_is_an_error",
        2,
        Some(1),
        |rank| {
            let group = rank.group("all", TIMEOUT);
            let model = Model::new(1);
            let reducer = Reducer::new(&model.params, &group, small_buckets()).unwrap();
            step(&model, &reducer, rank, 1, 1);
            if rank.rank == 1 {
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            let started = Instant::now();
            let (x, y) = batch(2);
            let error = reducer.prepare().and_then(|()| {
                model
                    .loss(&x, &y)
                    .f_backward()
                    .map_err(|error| collective::Error::from_backward(&error))
            });
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::Peer, "{error}");
            assert!(started.elapsed() < Duration::from_secs(3));
            // The survivor goes on alone with the same parameters.
            drop(reducer);
            group.close();
            for param in &model.params {
                let mut grad = param.grad();
                let _ = grad.zero_();
            }
            model.loss(&x, &y).f_backward().unwrap();
        },
    );
}

#[test]
fn a_forgotten_parameter_is_an_error() {
    ranks("a_forgotten_parameter_is_an_error", 2, None, |rank| {
        let group = rank.group("all", TIMEOUT);
        let model = Model::new(1);
        let mut params: Vec<Tensor> = model.params.iter().map(Tensor::shallow_clone).collect();
        params.push(Tensor::ones([3], (Dtype::Float, Device::Cpu)).set_requires_grad(true));
        let reducer = Reducer::new(&params, &group, small_buckets()).unwrap();
        let (x, y) = batch(1);
        reducer.prepare().unwrap();
        model.loss(&x, &y).f_backward().unwrap();
        let error = reducer.prepare().unwrap_err();
        assert_eq!(error.kind(), Kind::Torch);
        assert!(error.to_string().contains("finished reduction"), "{error}");
    });
}

#[test]
fn different_parameters_are_refused() {
    ranks("different_parameters_are_refused", 2, None, |rank| {
        let group = rank.group("all", TIMEOUT);
        let shape = [2, 2 + rank.rank as i64];
        let param = Tensor::ones(shape, (Dtype::Float, Device::Cpu)).set_requires_grad(true);
        assert!(Reducer::new(&[param], &group, ReducerOptions::default()).is_err());
    });
}

#[test]
fn frozen_and_missing_parameters_are_refused() {
    let error = Reducer::new(&[], &ProcessGroup::solo(), ReducerOptions::default())
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Argument);
    ranks(
        "frozen_and_missing_parameters_are_refused",
        2,
        None,
        |rank| {
            let group = rank.group("all", TIMEOUT);
            let frozen = Tensor::ones([2], (Dtype::Float, Device::Cpu));
            let error = Reducer::new(&[frozen], &group, ReducerOptions::default())
                .err()
                .unwrap();
            assert_eq!(error.kind(), Kind::Argument);
            assert!(error.to_string().contains("frozen"), "{error}");
        },
    );
}
