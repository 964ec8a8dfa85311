use std::sync::Arc;
use std::time::Duration;

use collective::{GlooOptions, Kind, ProcessGroup, Store};
use duty::protocol::{Device, Start};
use nccl_rs::Plugin;
use types::FailureClass;

use super::Trouble;
use super::pipe::Pipe;
use super::store::WorkerStore;

/// A device that can be used, and on a GPU what brought CUDA in.
pub(super) struct Opened {
    pub(super) device: tch::Device,
    cuda: Option<(Plugin, usize)>,
}

/// Loads CUDA if the task needs it. Comes before everything else that touches libtorch, which asks for CUDA once.
pub(super) fn open_device(device: Device) -> Result<Opened, Trouble> {
    match device {
        Device::Cpu => Ok(Opened {
            device: tch::Device::Cpu,
            cuda: None,
        }),
        Device::Gpu(index) => {
            let index = index as usize;
            let plugin = nccl_rs::load().map_err(|error| no_device(&error))?;
            plugin
                .need_device(index)
                .map_err(|error| no_device(&error))?;
            Ok(Opened {
                device: tch::Device::Cuda(index),
                cuda: Some((plugin, index)),
            })
        }
    }
}

/// The worker found the device when it started, so something has happened to the host.
fn no_device(error: &nccl_rs::Error) -> Trouble {
    (FailureClass::TransientIo, error.to_string())
}

/// Meets the other ranks of this attempt.
pub(super) fn join(
    pipe: &Arc<Pipe>,
    start: &Start,
    opened: &Opened,
) -> Result<ProcessGroup, Trouble> {
    if start.world_size == 1 {
        return Ok(ProcessGroup::solo());
    }
    let (rank, size) = (start.rank.0 as usize, start.world_size as usize);
    let timeout = Duration::from_millis(start.timeout_ms);
    let options = GlooOptions {
        address: start.address.clone(),
        timeout,
        ..GlooOptions::default()
    };
    let store = Store::new(Arc::new(WorkerStore::new(Arc::clone(pipe), timeout)))
        .map_err(|error| no_gang(&error))?;
    match &opened.cuda {
        None => ProcessGroup::gloo(&store, rank, size, &options).map_err(|error| no_gang(&error)),
        Some((plugin, index)) => plugin
            .process_group(&store, rank, size, *index, &options)
            .map_err(|error| match error {
                nccl_rs::Error::Group(error) => no_gang(&error),
                error => no_device(&error),
            }),
    }
}

fn no_gang(error: &collective::Error) -> Trouble {
    let class = match error.kind() {
        // a key that does not come is a rank that does not come
        Kind::Store | Kind::Network | Kind::Peer | Kind::Closed => FailureClass::PeerLost,
        Kind::Backend => FailureClass::TransientIo,
        _ => FailureClass::Crash,
    };
    (class, format!("the gang did not meet: {error}"))
}
