//! Plays outages of model providers against resilience stacks in virtual time, and prints which of them
//! served their callers, and at what cost.
//!
//!     cargo run --release --example drill -- [scenario.toml ...]
//!
//! `--list` prints the scenarios and the configuration of each stack; docs/drill.md has the keys of a
//! scenario.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_drill::main(std::env::args_os())
}
