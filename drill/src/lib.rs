//! The drill: plays outages of model providers against resilience stacks, in virtual time.
//!
//! A [`scenario`] has callers, providers and faults. It is played on tokio's paused clock against each
//! [stack](stack::STACKS), with the same calls and the same faults, and [`Figures`] of each run show how the
//! callers were served, and at what cost. The same seed gives the same figures. The page `docs/drill.md` has
//! the keys of a scenario and the meaning of the columns.

mod answer;
mod arrivals;
mod call;
mod caller;
mod command;
mod figures;
mod files;
mod jobs;
mod kept_connections;
mod ledger;
mod list;
mod provider;
mod random;
mod report;
mod run;
pub mod scenario;
mod sockets;
pub mod stack;
mod timeline;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use self::figures::Figures;
use self::scenario::{Scale, Scenario};
use self::stack::ComparedStack;

/// Plays a scenario against a stack in virtual time.
///
/// # Errors
///
/// The runtime cannot be built, or this seed draws more than twice the calls or tokens that a file may have
/// on average, which only large bursts can.
pub fn play(scenario: &Scenario, stack: &ComparedStack, seed: u64) -> std::io::Result<Figures> {
    let record = run::in_virtual_time(scenario, stack, seed, Scale::ONE, || ())?;
    Ok(Figures::of(scenario, stack.name, seed, Scale::ONE, &record))
}

/// The command. Returns a failure if a scenario cannot be read, or if virtual time and sockets disagree.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command::Command::parse_from(arguments).execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
