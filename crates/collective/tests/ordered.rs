//! Sums in one order over real processes, against the tree's definition and against one process alone, bit for bit.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use std::time::Duration;

use collective::{
    Kind, Ordered, OrderedOptions, ProcessGroup, Reducer, ReducerOptions, broadcast_tensors, rng,
};
use common::{Rank, ranks};
use tch::{Device, Kind as Dtype, Tensor};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Several pieces in each test.
const SMALL: OrderedOptions = OrderedOptions { bucket_bytes: 700 };

/// A source of small numbers, the same on all ranks.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = rng::seed_from(&[("dice", self.0.into())]);
        self.0 % end
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

fn leaf(tensor: &Tensor) -> Tensor {
    tensor.detach().copy().set_requires_grad(true)
}

fn same(one: &Tensor, two: &Tensor) -> bool {
    let bits = |tensor: &Tensor| tensor.contiguous().view_dtype(Dtype::Int).flatten(0, -1);
    bits(one).equal(&bits(two))
}

/// The sum of a node that begins at leaf `first`, straight from the definition.
fn node(levels: &[u32], first: u32, leaves: &[Tensor]) -> Option<Tensor> {
    let Some((&children, below)) = levels.split_last() else {
        return leaves.get(first as usize).map(Tensor::copy);
    };
    let width: u32 = below.iter().product();
    (0..children)
        .filter_map(|child| node(below, first + child * width, leaves))
        .reduce(|sum, next| sum + next)
}

/// Numbers of very different sizes, so that every order of summation has roundings of its own.
fn rough(shape: &[i64]) -> Tensor {
    let options = (Dtype::Float, Device::Cpu);
    let size = Tensor::rand(shape, options) * 12.0 - 6.0;
    Tensor::randn(shape, options) * size.exp()
}

/// This rank's micro-batches.
fn block(rank: &Rank, levels: &[u32], present: u32) -> std::ops::Range<u32> {
    let block = levels.iter().product::<u32>() / u32::try_from(rank.size).unwrap();
    let start = (u32::try_from(rank.rank).unwrap() * block).min(present);
    start..(start + block).min(present)
}

/// Random trees, parameters and lengths of steps; gradients are given numbers, so that their sum is known by definition.
fn sums_are_those_of_the_tree(rank: &Rank, above: &[u32], cases: u64) {
    let group = rank.group("all", TIMEOUT);
    for case in 0..cases {
        let mut dice = Dice(case);
        let mut levels: Vec<u32> = (0..dice.below(4)).map(|_| *dice.pick(&[2, 3, 5])).collect();
        levels.extend(above);
        let leaves: u32 = levels.iter().product();
        let shapes: Vec<Vec<i64>> = (0..1 + dice.below(6))
            .map(|_| {
                (0..dice.below(3))
                    .map(|_| 1 + i64::try_from(dice.below(13)).unwrap())
                    .collect()
            })
            .collect();
        rng::seed(case).unwrap();
        let params: Vec<Tensor> = shapes.iter().map(|shape| leaf(&rough(shape))).collect();
        let mut ordered = Ordered::new(&params, &levels, &group, SMALL).unwrap();
        // the second step must not see the first, a full one stands among short ones
        for present in [
            1 + u32::try_from(dice.below(leaves.into())).unwrap(),
            leaves,
            1 + u32::try_from(dice.below(leaves.into())).unwrap(),
        ] {
            let gradients: Vec<Vec<Tensor>> = (0..present)
                .map(|_| shapes.iter().map(|shape| rough(shape)).collect())
                .collect();
            ordered.begin_step(present).unwrap();
            for microbatch in block(rank, &levels, present) {
                let terms = params.iter().zip(&gradients[microbatch as usize]);
                let loss = terms
                    .map(|(param, gradient)| (param * gradient).sum(None))
                    .reduce(|sum, next| sum + next);
                ordered.backward(&loss.unwrap()).unwrap();
            }
            ordered.finish_step().unwrap();
            for (number, param) in params.iter().enumerate() {
                let of_param: Vec<Tensor> =
                    gradients.iter().map(|all| all[number].copy()).collect();
                let expected = node(&levels, 0, &of_param).unwrap();
                assert!(
                    same(&param.grad(), &expected),
                    "case {case}, parameter {number}: {present} micro-batches of {levels:?}, {} ranks",
                    rank.size
                );
            }
        }
    }
}

#[test]
fn one_rank_sums_along_the_tree() {
    ranks("one_rank_sums_along_the_tree", 1, None, |rank| {
        sums_are_those_of_the_tree(rank, &[], 60);
    });
}

#[test]
fn two_ranks_sum_along_the_tree() {
    ranks("two_ranks_sum_along_the_tree", 2, None, |rank| {
        sums_are_those_of_the_tree(rank, &[2], 60);
    });
}

#[test]
fn three_ranks_sum_along_the_tree() {
    ranks("three_ranks_sum_along_the_tree", 3, None, |rank| {
        sums_are_those_of_the_tree(rank, &[3], 40);
    });
}

#[test]
fn four_ranks_sum_along_the_tree() {
    ranks("four_ranks_sum_along_the_tree", 4, None, |rank| {
        sums_are_those_of_the_tree(rank, &[2, 2], 40);
    });
}

/// Layers of a small network: weights and biases.
fn network(seed: u64) -> Vec<Tensor> {
    rng::seed(seed).unwrap();
    (0..4)
        .flat_map(|_| [vec![24, 24], vec![24]])
        .map(|shape| leaf(&(Tensor::randn(shape, (Dtype::Float, Device::Cpu)) * 0.3)))
        .collect()
}

/// Of micro-batch `number`; the last layer is left out where `number` is odd.
fn loss(params: &[Tensor], number: u32) -> Tensor {
    rng::seed(u64::from(number)).unwrap();
    let mut h = Tensor::randn([6, 24], (Dtype::Float, Device::Cpu));
    let layers = if number % 2 == 1 { 6 } else { 8 };
    for layer in params[..layers].chunks(2) {
        h = (h.matmul(&layer[0]) + &layer[1]).tanh();
    }
    h.square().mean(Dtype::Float)
}

fn as_one_alone(rank: &Rank, levels: &[u32]) {
    let group = rank.group("all", TIMEOUT);
    let params = network(rank.rank as u64);
    broadcast_tensors(&params, &group).unwrap();
    let alone: Vec<Tensor> = params.iter().map(leaf).collect();
    let averaged: Vec<Tensor> = params.iter().map(leaf).collect();
    let mut ordered = Ordered::new(&params, levels, &group, SMALL).unwrap();
    let mut solo = Ordered::new(&alone, levels, &ProcessGroup::solo(), SMALL).unwrap();
    let leaves: u32 = levels.iter().product();
    for present in [leaves, leaves - 1, 1] {
        ordered.begin_step(present).unwrap();
        for number in block(rank, levels, present) {
            ordered.backward(&loss(&params, number)).unwrap();
        }
        ordered.finish_step().unwrap();
        solo.begin_step(present).unwrap();
        for number in 0..present {
            solo.backward(&loss(&alone, number)).unwrap();
        }
        solo.finish_step().unwrap();
        for (param, alone) in params.iter().zip(&alone) {
            assert!(
                same(&param.grad(), &alone.grad()),
                "{present} of {levels:?}"
            );
        }
    }

    // the fast way comes to the same but for rounding
    let reducer = Reducer::new(&averaged, &group, ReducerOptions::default()).unwrap();
    let mine: Vec<u32> = block(rank, levels, leaves).filter(|x| x % 2 == 0).collect();
    reducer.zero_grad();
    for (place, number) in mine.iter().enumerate() {
        if place + 1 == mine.len() {
            reducer.prepare().unwrap();
        }
        (loss(&averaged, *number) * rank.size as f64).backward();
    }
    ordered.begin_step(leaves).unwrap();
    for number in block(rank, levels, leaves) {
        let share = f64::from(u8::from(number % 2 == 0));
        ordered.backward(&(loss(&params, number) * share)).unwrap();
    }
    ordered.finish_step().unwrap();
    for (param, averaged) in params.iter().zip(&averaged) {
        let (one, two) = (param.grad(), averaged.grad());
        assert!(one.allclose(&two, 1e-4, 1e-6, false), "{one} and {two}");
    }
}

#[test]
fn two_ranks_are_as_one_alone() {
    ranks("two_ranks_are_as_one_alone", 2, None, |rank| {
        as_one_alone(rank, &[3, 2, 2]);
    });
}

#[test]
fn four_ranks_are_as_one_alone() {
    ranks("four_ranks_are_as_one_alone", 4, None, |rank| {
        as_one_alone(rank, &[3, 2, 2]);
    });
}

#[test]
fn a_killed_peer_is_an_error() {
    ranks("a_killed_peer_is_an_error", 2, Some(1), |rank| {
        let group = rank.group("all", TIMEOUT);
        let params = network(1);
        let mut ordered = Ordered::new(&params, &[2], &group, SMALL).unwrap();
        if rank.rank == 1 {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        ordered.begin_step(2).unwrap();
        let backward = ordered.backward(&loss(&params, 0));
        let error = backward.and_then(|()| ordered.finish_step()).unwrap_err();
        assert_eq!(error.kind(), Kind::Peer, "{error}");
        // The survivor goes on alone with the same parameters.
        drop(ordered);
        group.close();
        let mut ordered = Ordered::new(&params, &[2], &ProcessGroup::solo(), SMALL).unwrap();
        ordered.begin_step(1).unwrap();
        ordered.backward(&loss(&params, 0)).unwrap();
        ordered.finish_step().unwrap();
    });
}

#[test]
fn different_parameters_are_refused() {
    ranks("different_parameters_are_refused", 2, None, |rank| {
        let group = rank.group("all", TIMEOUT);
        let shape = [2, 2 + rank.rank as i64];
        let param = leaf(&Tensor::ones(shape, (Dtype::Float, Device::Cpu)));
        assert!(Ordered::new(&[param], &[2], &group, SMALL).is_err());
    });
}

#[test]
fn wrong_use_is_refused() {
    let solo = ProcessGroup::solo();
    let refused = |params: &[Tensor]| {
        let error = Ordered::new(params, &[2], &solo, SMALL).err().unwrap();
        assert_eq!(error.kind(), Kind::Argument, "{error}");
    };
    refused(&[]);
    refused(&[Tensor::ones([2], (Dtype::Float, Device::Cpu))]);
    let halves = Tensor::ones([2], (Dtype::Double, Device::Cpu)).set_requires_grad(true);
    let mut mixed = network(1);
    mixed.push(halves);
    refused(&mixed);

    let params = network(1);
    let mut ordered = Ordered::new(&params, &[2], &solo, SMALL).unwrap();
    assert!(ordered.begin_step(0).is_err());
    assert!(ordered.begin_step(3).is_err());
    ordered.begin_step(2).unwrap();
    ordered.backward(&loss(&params, 0)).unwrap();
    let error = ordered.finish_step().unwrap_err();
    assert!(error.to_string().contains("1 of 2"), "{error}");
    ordered.backward(&loss(&params, 1)).unwrap();
    assert!(ordered.backward(&loss(&params, 2)).is_err());
    ordered.finish_step().unwrap();
}
