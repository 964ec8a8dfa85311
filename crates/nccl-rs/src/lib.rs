//! The NCCL process group as a run-time plugin.
