//! What the fuzz target `tsv` found (fuzz/Cargo.toml).

#[path = "../../../fuzz/checks/tsv.rs"]
mod check;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn tables_that_once_broke_the_readers() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "tsv", check::check);
}
