//! c10d for Rust: store, process group, reducer, RNG, determinism.
