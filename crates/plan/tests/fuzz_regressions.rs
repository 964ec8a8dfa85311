//! What the fuzz target `plan` found (fuzz/Cargo.toml).

#[path = "../../../fuzz/checks/plan.rs"]
mod check;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn texts_that_once_broke_the_reader() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "plan", check::check);
}
