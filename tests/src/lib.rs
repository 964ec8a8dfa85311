//! Whole-system tests: the shipped programs as real processes on a small plan, over loopback, on a tiny procedural data set;
//! they are in `tests/tests`, and [`house`] is where they are started. And the comparison with the reference's values in `tests/oracles`: [`oracles::run`].

pub mod chaos;
pub mod house;
pub mod oracles;
