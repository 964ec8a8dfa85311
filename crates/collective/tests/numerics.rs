//! The parts of libtorch that tch lacks, against tch where it has something to compare with.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use collective::adam::{AdamOptions, AdamTensors, fused_adam, fused_adamw};
use collective::autocast::Autocast;
use collective::{Kind, cuda, rng, runtime};
use tch::nn::OptimizerConfig;
use tch::{Device, Kind as Dtype, Tensor, nn};

const FLOAT: (Dtype, Device) = (Dtype::Float, Device::Cpu);

fn compare(decoupled: bool) {
    runtime::set_threads(1);
    rng::seed(3).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let theirs = [
        store.root().randn("a", &[30, 20], 0.0, 1.0),
        store.root().randn("b", &[7], 0.0, 1.0),
    ];
    let ours: Vec<Tensor> = theirs.iter().map(|t| t.detach().copy()).collect();
    let zeros = || ours.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
    let (means, squares) = (zeros(), zeros());
    let options = AdamOptions {
        lr: 0.01,
        weight_decay: 0.05,
        ..AdamOptions::default()
    };
    let mut optimizer = if decoupled {
        nn::AdamW {
            wd: options.weight_decay,
            ..nn::AdamW::default()
        }
        .build(&store, options.lr)
    } else {
        nn::Adam {
            wd: options.weight_decay,
            ..nn::Adam::default()
        }
        .build(&store, options.lr)
    }
    .unwrap();
    for step in 1..=20 {
        let wanted: Vec<Tensor> = ours
            .iter()
            .map(|t| Tensor::randn(t.size(), FLOAT))
            .collect();
        let loss = theirs
            .iter()
            .zip(&wanted)
            .map(|(t, w)| (t * w).sum(Dtype::Float))
            .sum::<Tensor>();
        optimizer.backward_step(&loss);
        let tensors = AdamTensors {
            params: &ours,
            grads: &wanted,
            exp_avgs: &means,
            exp_avg_sqs: &squares,
        };
        let update = if decoupled { fused_adamw } else { fused_adam };
        update(tensors, step, &options).unwrap();
    }
    for (a, b) in ours.iter().zip(&theirs) {
        let difference = (a - b).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn adamw_is_that_of_libtorch() {
    compare(true);
}

#[test]
fn adam_is_that_of_libtorch() {
    compare(false);
}

#[test]
fn adam_refuses_lists_that_do_not_fit() {
    let (a, b) = ([Tensor::ones([2], FLOAT)], [Tensor::ones([3], FLOAT)]);
    let lists = |grads| AdamTensors {
        params: &a,
        grads,
        exp_avgs: &a,
        exp_avg_sqs: &a,
    };
    for (tensors, step) in [
        (lists(&b[..]), 1),
        (lists(&b[..0]), 1),
        (lists(&[Tensor::new()][..]), 1),
        (lists(&a[..]), 0),
    ] {
        let error = fused_adamw(tensors, step, &AdamOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Argument, "{error}");
    }
}

#[test]
fn the_generator_goes_back_to_a_state() {
    rng::seed(11).unwrap();
    // An odd number of normals leaves one in the generator's pocket.
    let _ = Tensor::randn([3], FLOAT);
    let state = rng::cpu_state().unwrap();
    let first = Tensor::randn([5], FLOAT);
    rng::set_cpu_state(&state).unwrap();
    assert!(Tensor::randn([5], FLOAT).equal(&first));
    assert!(rng::set_cpu_state(&Tensor::zeros([3], FLOAT)).is_err());
    assert!(rng::set_cpu_state(&Tensor::zeros([3], (Dtype::Uint8, Device::Cpu))).is_err());
}

#[test]
fn a_seed_is_that_of_tch() {
    rng::seed(5).unwrap();
    let ours = Tensor::randn([4], FLOAT);
    tch::manual_seed(5);
    assert!(Tensor::randn([4], FLOAT).equal(&ours));
}

#[test]
fn autocast_lowers_products_and_ends() {
    let weight = Tensor::randn([4, 4], FLOAT).set_requires_grad(true);
    let x = Tensor::randn([2, 4], FLOAT);
    let product = || x.linear::<Tensor>(&weight, None);
    {
        let _outer = Autocast::enter(Device::Cpu, Dtype::BFloat16).unwrap();
        let y = product();
        assert_eq!(y.kind(), Dtype::BFloat16);
        y.sum(Dtype::Float).backward();
        assert_eq!(weight.grad().kind(), Dtype::Float);
        {
            let _inner = Autocast::enter(Device::Cpu, Dtype::Half).unwrap();
            assert_eq!(product().kind(), Dtype::Half);
        }
        assert_eq!(product().kind(), Dtype::BFloat16);
    }
    assert_eq!(product().kind(), Dtype::Float);
    assert!(Autocast::enter(Device::Cpu, Dtype::Float).is_err());
}

#[test]
fn determinism_refuses_what_has_no_deterministic_form() {
    // `put_` without accumulation is one of the few on the CPU.
    let put = || {
        let mut tensor = Tensor::zeros([4], FLOAT);
        tensor
            .f_put_(
                &Tensor::from_slice(&[0_i64, 0]),
                &Tensor::ones([2], FLOAT),
                false,
            )
            .map(drop)
    };
    assert!(put().is_ok());
    runtime::deterministic(true).unwrap();
    assert!(put().is_err());
    runtime::deterministic(false).unwrap();
    assert!(put().is_ok());
}

#[test]
fn without_the_plugin_nobody_asks_for_cuda() {
    assert!(!cuda::is_loaded());
    assert_eq!(cuda::device_count().unwrap(), 0);
}
