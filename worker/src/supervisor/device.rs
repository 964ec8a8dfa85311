use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use duty::protocol::Device;

/// Asks a short-lived child whether the GPU can be used, so that this process never loads CUDA. `Ok(false)`: it cannot, and the
/// child has said why.
pub(crate) async fn is_usable(program: &Path, device: Device) -> Result<bool> {
    /// Loading CUDA from a cold disk takes long, more is a broken driver.
    const LIMIT: Duration = Duration::from_secs(120);
    let Device::Gpu(index) = device else {
        return Ok(true);
    };
    let mut probe = tokio::process::Command::new(program)
        .args(["probe", "--gpu", &index.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {} to look for the GPU", program.display()))?;
    let status = tokio::time::timeout(LIMIT, probe.wait())
        .await
        .with_context(|| {
            format!("looking for {device} took more than {LIMIT:?}; is its driver stuck?")
        })??;
    Ok(status.success())
}

/// What to call the device in tables.
pub(crate) fn name(device: Device) -> String {
    match device {
        Device::Cpu => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            format!("cpu, {threads} threads")
        }
        Device::Gpu(index) => gpu_model(index).unwrap_or_else(|| format!("gpu {index}")),
    }
}

/// The driver lists its GPUs by bus, in the order in which `nvidia-smi` counts them.
fn gpu_model(index: u32) -> Option<String> {
    let mut gpus: Vec<_> = fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    gpus.sort();
    let text = fs::read_to_string(gpus.get(index as usize)?.join("information")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(model.trim().to_owned())
}
