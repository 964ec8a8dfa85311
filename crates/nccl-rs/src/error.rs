//! Why there is no CUDA here.

use std::path::PathBuf;

/// Why the plugin or its group is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was built where the plugin could not be compiled, and none was put beside it.
    #[error(
        "this build has no NCCL plugin because {why}; run `cargo xtask libtorch --cuda` and build again, or put \
         libtutti_nccl.so beside the program (looked for it at: {})", paths(.looked)
    )]
    NotBuilt {
        /// What was missing when the program was built.
        why: &'static str,
        /// Where a plugin was looked for.
        looked: Vec<PathBuf>,
    },
    /// The plugin was built but is not where it was.
    #[error(
        "the NCCL plugin was not found (looked for it at: {}); put libtutti_nccl.so beside the program or name it in \
         TUTTI_NCCL_PLUGIN", paths(.looked)
    )]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The system's loader refused: most often a CUDA library that is not installed.
    #[error("the NCCL plugin {} cannot be loaded: {message}", path.display())]
    Load {
        /// The plugin.
        path: PathBuf,
        /// The loader's words.
        message: String,
    },
    /// The plugin belongs to another build.
    #[error("the NCCL plugin {} is made for libtorch/interface {found}, expected {expected}; build it again", path.display())]
    Version {
        /// The plugin.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program needs.
        expected: &'static str,
    },
    /// CUDA is loaded, and the machine has no GPU or no driver.
    #[error(
        "no GPU was found on this machine (is NVIDIA's driver installed and running? see `nvidia-smi`)"
    )]
    NoGpu,
    /// There are GPUs, but not that one.
    #[error("there is no GPU {device}: this machine has {count}, numbered from 0")]
    NoSuchGpu {
        /// The one that was asked for.
        device: usize,
        /// How many there are.
        count: usize,
    },
    /// The group could not be formed.
    #[error(transparent)]
    Group(#[from] collective::Error),
}

fn paths(paths: &[PathBuf]) -> String {
    let list: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    list.join(", ")
}
