use crate::exit;

/// Says whether a GPU can be used: exit code 0, or a sentence and [`exit::NO_DEVICE`]. A process of its own, because whoever
/// loads CUDA keeps it.
#[must_use]
pub fn probe(gpu: u32) -> u8 {
    let found = nccl_rs::load().and_then(|plugin| plugin.need_device(gpu as usize));
    match found {
        Ok(()) => exit::OK,
        Err(error) => {
            tracing::error!("GPU {gpu} cannot be used: {error}");
            exit::NO_DEVICE
        }
    }
}
