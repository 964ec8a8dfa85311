//! `coordinator --plan two_iterations.toml`

use std::process::ExitCode;

fn main() -> ExitCode {
    coordinator::main()
}
