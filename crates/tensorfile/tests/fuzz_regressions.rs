//! What the fuzz targets `safetensors` and `pickle` found (fuzz/Cargo.toml), or would find if a limit were gone.

#[path = "../../../fuzz/checks/tensors.rs"]
mod check;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn safetensors_that_are_hostile() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "safetensors", check::check);
}

#[test]
fn pickles_that_are_hostile() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "pickle", check::check);
}
