//! Instructions per call and per event, counted by valgrind.

use tidegate::BoxError;

use crate::callers::{Question, closed_loop};
use crate::provider::{EVENTS, Model, Provider};
use crate::subject::{Kind, Subject, build_gateway};

/// Calls of the two runs whose difference is the cost of the calls.
const CALLS: [usize; 2] = [100, 400];

const TOOL: [&str; 5] = [
    "valgrind",
    "--tool=cachegrind",
    "--cache-sim=no",
    "--cachegrind-out-file=/dev/null",
    // The handler of the signal that ends the process runs as usual.
    "--vgdb=no",
];

pub(crate) async fn print(provider: &Provider) -> Result<(), BoxError> {
    build_gateway()?;
    println!("\n| instructions | per call of 2 KiB | per event, own writes | per event, bunched |");
    println!("|---|---|---|---|");
    for kind in Kind::ALL {
        let call = per_call(kind, provider, Model::Document).await?;
        let mut per_event = [0; 2];
        for (model, count) in [Model::Single, Model::Bunched].into_iter().zip(&mut per_event) {
            *count = per_call(kind, provider, model).await?.saturating_sub(call) / EVENTS as u64;
        }
        println!("| {} | {call} | {} | {} |", kind.name(), per_event[0], per_event[1]);
    }
    Ok(())
}

async fn per_call(kind: Kind, provider: &Provider, model: Model) -> Result<u64, BoxError> {
    let question = Question::new(model, 2_048);
    let mut totals = Vec::new();
    for calls in CALLS {
        totals.push(total(kind, provider, &question, calls).await?);
    }
    Ok((totals[1] - totals[0]) / (CALLS[1] - CALLS[0]) as u64)
}

/// The instructions of a process that answers so many calls, from its start to its end.
async fn total(kind: Kind, provider: &Provider, question: &Question, calls: usize) -> Result<u64, BoxError> {
    let subject = Subject::start(kind, provider, &TOOL).await?;
    closed_loop(subject.addr, question, 1, calls).await?;
    let printed = subject.stop()?;
    let total = printed.lines().find_map(|line| line.split_once("refs:")?.1.split_whitespace().next());
    let total = total.and_then(|total| total.replace(',', "").parse().ok());
    total.ok_or_else(|| format!("valgrind printed no total:\n{printed}").into())
}
