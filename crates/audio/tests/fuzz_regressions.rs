//! What the fuzz target `audio` found (fuzz/Cargo.toml).

#[path = "../../../fuzz/checks/audio.rs"]
mod check;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn files_that_once_broke_the_decoders() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "audio", check::check);
}
