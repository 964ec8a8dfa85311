//! The real `coordinator` as a process, and workers that speak the wire's protocol but train nothing: what they hand in are small
//! made-up artifacts. Everything is on loopback, and everything has a time limit.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod fake_worker;
mod full_disk;
mod interposer;
mod kinds;
mod protocol;
mod reach;
mod repeats;
mod restart;
mod runs;
mod scene;
mod small_plan;
