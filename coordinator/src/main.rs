//! `coordinator --plan two_iterations.toml`

use std::process::ExitCode;

const _: () = assert!(
    !types::PLANTABLE,
    "a program for users is never built with the feature \"planted\""
);

fn main() -> ExitCode {
    coordinator::main()
}
