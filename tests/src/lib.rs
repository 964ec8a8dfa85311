//! Whole-system tests: the shipped programs as real processes on a small plan, over loopback, on a tiny procedural data set.
//! Everything is in `tests/tests`; `tests/oracles` holds the golden numbers that other rooms' tests read.
