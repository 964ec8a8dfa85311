//! The plugin where it was built, and GPUs where they are. A test that needs a GPU returns early without one, and says why.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic and say what they skip"
)]

use std::sync::Arc;
use std::time::Duration;

use collective::adam::{AdamOptions, AdamTensors, fused_adamw};
use collective::autocast::Autocast;
use collective::{GlooOptions, MemoryStore, ProcessGroup, Reducer, ReducerOptions, Store, rng};
use nccl_rs::{Error, Plugin};
use tch::{Device, Kind as Dtype, Tensor};

fn options() -> GlooOptions {
    GlooOptions {
        timeout: Duration::from_secs(60),
        ..GlooOptions::default()
    }
}

fn store() -> Store {
    Store::new(Arc::new(MemoryStore::new())).unwrap()
}

/// The plugin on a machine with a GPU; `None` after having said what is missing.
fn gpu() -> Option<Plugin> {
    let plugin = nccl_rs::load().and_then(|plugin| plugin.need_device(0).map(|()| plugin));
    match plugin {
        Ok(plugin) => Some(plugin),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn gpu_group() -> Option<ProcessGroup> {
    Some(gpu()?.process_group(&store(), 0, 1, 0, &options()).unwrap())
}

#[test]
fn the_plugin_loads_where_it_was_built() {
    match nccl_rs::load() {
        Ok(plugin) => {
            assert!(plugin.path().ends_with("libtutti_nccl.so"));
            assert!(collective::cuda::is_loaded());
            assert_eq!(
                collective::cuda::device_count().unwrap(),
                plugin.device_count()
            );
            assert_eq!(nccl_rs::load().unwrap().path(), plugin.path());
            match plugin.process_group(&store(), 0, 1, 0, &options()) {
                Ok(group) => assert_eq!(group.size(), 1),
                Err(error) => {
                    assert!(matches!(error, Error::NoGpu), "{error}");
                    assert!(error.to_string().contains("no GPU was found"), "{error}");
                    assert_eq!(plugin.device_count(), 0);
                }
            }
            // Gloo and CPU tensors go on working beside CUDA.
            let group = ProcessGroup::gloo(&store(), 0, 1, &options()).unwrap();
            let mut one = Tensor::from(1.0);
            group.all_reduce_sum(&mut one).unwrap();
            assert_eq!(one.double_value(&[]), 1.0);
        }
        Err(error) => {
            println!("no plugin: {error}");
            assert!(
                option_env!("NCCL_PLUGIN").is_none(),
                "built but not loaded: {error}"
            );
            assert!(matches!(error, Error::NotBuilt { .. }), "{error}");
            assert!(
                error.to_string().contains("cargo xtask libtorch --cuda"),
                "{error}"
            );
            assert!(!collective::cuda::is_loaded());
        }
    }
}

#[test]
fn gpu_that_is_not_there_is_named() {
    let Some(plugin) = gpu() else { return };
    let error = plugin
        .process_group(&store(), 0, 1, 4096, &options())
        .unwrap_err();
    assert!(
        error.to_string().contains("there is no GPU 4096"),
        "{error}"
    );
}

#[test]
fn gpu_collectives_go_through_nccl() {
    let Some(group) = gpu_group() else { return };
    let mut tensor = Tensor::from_slice(&[1.0_f32, 2.0]).to_device(Device::Cuda(0));
    group.all_reduce_sum(&mut tensor).unwrap();
    group.all_reduce_avg(&mut tensor).unwrap();
    group.broadcast(&mut tensor, 0).unwrap();
    let gathered = group.all_gather(&tensor).unwrap();
    assert_eq!(gathered[0].device(), Device::Cuda(0));
    assert_eq!(
        Vec::<f32>::try_from(gathered[0].to_device(Device::Cpu)).unwrap(),
        [1.0, 2.0]
    );
    let mut host = Tensor::from(3.0);
    group.all_reduce_sum(&mut host).unwrap();
    group.barrier().unwrap();
    assert_eq!(host.double_value(&[]), 3.0);
}

#[test]
fn gpu_two_ranks_average_on_two_devices() {
    let Some(plugin) = gpu() else { return };
    if plugin.device_count() < 2 {
        println!("skipped: one GPU, NCCL wants one per rank");
        return;
    }
    // Two ranks of one process would wait for each other inside NCCL's start, so they are threads.
    let backend = Arc::new(MemoryStore::new());
    let ranks: Vec<_> = (0..2)
        .map(|rank| {
            let (plugin, backend) = (plugin.clone(), Arc::clone(&backend));
            std::thread::spawn(move || {
                let store = Store::new(backend).unwrap();
                let group = plugin
                    .process_group(&store, rank, 2, rank, &options())
                    .unwrap();
                let mut tensor = Tensor::from(rank as f32).to_device(Device::Cuda(rank));
                group.all_reduce_avg(&mut tensor).unwrap();
                tensor.double_value(&[])
            })
        })
        .collect();
    for rank in ranks {
        assert_eq!(rank.join().unwrap(), 0.5);
    }
}

/// Ten steps of a small network; the weights afterwards, on the CPU.
fn train(device: Device, group: &ProcessGroup) -> Vec<Tensor> {
    rng::seed(1).unwrap();
    let make = |shape: &[i64]| {
        (Tensor::randn(shape, (Dtype::Float, Device::Cpu)) * 0.1)
            .to_device(device)
            .set_requires_grad(true)
    };
    let params = [make(&[64, 64]), make(&[64]), make(&[64, 8]), make(&[8])];
    let zeros = || {
        params
            .iter()
            .map(|p| p.detach().zeros_like())
            .collect::<Vec<_>>()
    };
    let (means, squares) = (zeros(), zeros());
    let reducer = Reducer::new(&params, group, ReducerOptions::default()).unwrap();
    for step in 1..=10 {
        rng::seed(rng::seed_from(&[("step", step.into())])).unwrap();
        let x = Tensor::randn([16, 64], (Dtype::Float, Device::Cpu)).to_device(device);
        reducer.zero_grad();
        reducer.prepare().unwrap();
        let h = (x.matmul(&params[0]) + &params[1]).tanh();
        let y = h.matmul(&params[2]) + &params[3];
        y.square().mean(Dtype::Float).f_backward().unwrap();
        let grads: Vec<Tensor> = params.iter().map(Tensor::grad).collect();
        let tensors = AdamTensors {
            params: &params,
            grads: &grads,
            exp_avgs: &means,
            exp_avg_sqs: &squares,
        };
        fused_adamw(tensors, step, &AdamOptions::default()).unwrap();
    }
    params
        .iter()
        .map(|p| p.detach().to_device(Device::Cpu))
        .collect()
}

#[test]
fn gpu_trains_like_the_cpu() {
    let Some(group) = gpu_group() else { return };
    collective::runtime::allow_tf32(false).unwrap();
    let on_gpu = train(Device::Cuda(0), &group);
    let on_cpu = train(Device::Cpu, &ProcessGroup::solo());
    for (a, b) in on_gpu.iter().zip(&on_cpu) {
        let difference = (a - b).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference}");
    }
}

#[test]
fn gpu_draws_repeat_after_a_seed() {
    let Some(_) = gpu() else { return };
    let draw = || {
        rng::seed(9).unwrap();
        Tensor::randn([100], (Dtype::Float, Device::Cuda(0)))
    };
    assert!(draw().equal(&draw()));
}

#[test]
fn gpu_autocast_lowers_products() {
    let Some(_) = gpu() else { return };
    let x = Tensor::ones([4, 4], (Dtype::Float, Device::Cuda(0)));
    let guard = Autocast::enter(Device::Cuda(0), Dtype::BFloat16).unwrap();
    assert_eq!(x.matmul(&x).kind(), Dtype::BFloat16);
    drop(guard);
    assert_eq!(x.matmul(&x).kind(), Dtype::Float);
}
