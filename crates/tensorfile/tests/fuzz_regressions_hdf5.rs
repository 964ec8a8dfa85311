//! What the fuzz target `hdf5` found (fuzz/Cargo.toml).

#[path = "../../../fuzz/checks/hdf5.rs"]
mod check;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn predictions_that_are_hostile() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "hdf5", check::check);
}
