//! Measures the gateway beside a plain proxy of axum and reqwest, as people write it by hand: throughput,
//! processor time, latency, memory and instructions.
//!
//!     cargo bench -p tidegate-gateway-bench                  every table
//!     cargo bench -p tidegate-gateway-bench -- calls memory  some of them
//!
//! | table | |
//! |---|---|
//! | `calls` | bodies of 2 KiB to 8 MiB, by callers that send the next request when they have the answer |
//! | `pace` | 1 000 requests a second, whatever the answers do |
//! | `streams` | 64 events, each written alone, and all at once |
//! | `memory` | per open stream and idle connection, and after sixteen bodies of 8 MiB at once |
//! | `peers` | other gateways, as far as they are installed |
//! | `instructions` | per call and per event, by valgrind |
//!
//! The measured process has the first core for itself and one worker thread; the provider and the callers
//! share the second. Every answer is compared with the one that was sent. A round measures all proxies one
//! after the other, so that a change in the load of the machine meets all of them, and the tables have the
//! medians of the rounds. Processor time is what the kernel accounts to the threads of the process. Compare
//! ratios, not the numbers of two machines.
//!
//! The gateway has all policies on, with limits that are not reached, and logs as shipped. The plain proxies
//! have none: one streams the body of a request, the other collects it first, as a gateway has to that reads
//! the model.

mod callers;
mod instructions;
mod memory;
mod peers;
mod plain_proxy;
mod provider;
mod rounds;
mod subject;

use std::env;
use std::process::ExitCode;

use tidegate::BoxError;
use tokio::runtime::Builder;

use self::provider::Provider;
use self::subject::{Kind, pin_to};

/// The core of the measured process.
const MEASURED_CORE: usize = 0;

/// The core of the provider and of the callers.
const OTHER_CORE: usize = 1;

const TABLES: [&str; 6] = ["calls", "pace", "streams", "memory", "peers", "instructions"];

async fn print(tables: &[&str]) -> Result<(), BoxError> {
    let is_printed = |table| tables.is_empty() || tables.contains(&table);
    let provider = Provider::start().await?;
    if is_printed("calls") {
        rounds::print_calls(&provider).await?;
    }
    if is_printed("pace") {
        rounds::print_pace(&provider).await?;
    }
    if is_printed("streams") {
        rounds::print_streams(&provider).await?;
    }
    if is_printed("memory") {
        memory::print(&provider).await?;
    }
    if is_printed("peers") {
        rounds::print_peers(&provider).await?;
    }
    if is_printed("instructions") {
        instructions::print(&provider).await?;
    }
    Ok(())
}

fn run() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["proxy", kind, listen, provider] = arguments[..] {
        let collects = Kind::named(kind).ok_or("no such proxy")? == Kind::Collecting;
        return Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(plain_proxy::serve(listen, provider, collects));
    }
    if let Some(unknown) = arguments.iter().find(|argument| !TABLES.contains(argument)) {
        return Err(format!("no table {unknown:?}, expected some of {TABLES:?}").into());
    }
    pin_to(OTHER_CORE)?;
    Builder::new_current_thread().enable_all().build()?.block_on(print(&arguments))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
