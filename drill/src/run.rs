//! Plays one scenario against one stack.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tidegate_testkit::Server;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::call::{CallPlan, calls};
use crate::caller::{CallOutcome, make_call};
use crate::ledger::{AttemptRecord, Ledger};
use crate::provider::provider;
use crate::scenario::{Scale, Scenario};
use crate::stack::{BuiltStack, ComparedStack, StackPlan};
use crate::wire::{RecordedClient, Transport};

/// What happened in a run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) calls: Vec<(CallPlan, CallOutcome)>,
    pub(crate) attempts: Vec<AttemptRecord>,
    /// The permits that were held when all calls had ended.
    pub(crate) leaked: Option<usize>,
}

/// The time after the last call in which everything that is open may end.
const REST: Duration = Duration::from_secs(5);

const MINUTE: Duration = Duration::from_secs(60);

/// Plays the scenario in virtual time, and calls `on_call` at each call.
///
/// # Errors
///
/// The runtime cannot be built, or the calls of this seed are too many.
pub(crate) fn in_virtual_time(
    scenario: &Scenario,
    stack: &ComparedStack,
    seed: u64,
    scale: Scale,
    on_call: impl Fn(),
) -> io::Result<Record> {
    let calls = calls(scenario, seed).map_err(io::Error::other)?;
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // What is random in a stack is drawn from the generator of the thread, or seeded by it.
    fastrand::seed(seed);
    Ok(runtime.block_on(async {
        let ledger = Ledger::new();
        let providers = scenario.providers.iter().enumerate();
        let providers = providers
            .map(|(index, spec)| provider(index, spec, seed, MINUTE.div_f64(scale.time), &ledger).service());
        let wire = RecordedClient {
            transport: Transport::Memory(providers.collect()),
            authorities: scenario
                .providers
                .iter()
                .map(|provider| format!("{}.test", provider.name))
                .collect(),
            ledger,
        };
        play(scenario, calls, stack, scale, wire, on_call).await
    }))
}

/// Plays the scenario over sockets of the loopback interface.
///
/// # Errors
///
/// Those of [`in_virtual_time`], or a server cannot be started.
pub(crate) fn over_sockets(
    scenario: &Scenario,
    stack: &ComparedStack,
    seed: u64,
    scale: Scale,
) -> io::Result<Record> {
    let calls = calls(scenario, seed).map_err(io::Error::other)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    fastrand::seed(seed);
    runtime.block_on(async {
        let ledger = Ledger::new();
        let mut servers: Vec<Server> = Vec::new();
        for (index, spec) in scenario.providers.iter().enumerate() {
            servers.push(provider(index, spec, seed, MINUTE.div_f64(scale.time), &ledger).start().await?);
        }
        let addresses = servers.iter().map(Server::addr).map(|address: SocketAddr| address.to_string());
        let wire = RecordedClient {
            authorities: addresses.collect(),
            transport: Transport::Sockets(Client::builder(TokioExecutor::new()).build_http()),
            ledger,
        };
        Ok(play(scenario, calls, stack, scale, wire, || ()).await)
    })
}

async fn play(
    scenario: &Scenario,
    calls: Vec<CallPlan>,
    stack: &ComparedStack,
    scale: Scale,
    wire: RecordedClient,
    on_call: impl Fn(),
) -> Record {
    let is_virtual = matches!(wire.transport, Transport::Memory(_));
    let (ledger, authorities) = (wire.ledger.clone(), Arc::clone(&wire.authorities));
    let plan = StackPlan::new(scenario, &authorities, scale, is_virtual);
    let BuiltStack { service, held, guard } = (stack.build)(&plan, wire);
    let dialect = scenario.providers[0].dialect;
    let mut tasks = JoinSet::new();
    for call in calls {
        tokio::time::sleep_until(ledger.start() + call.at).await;
        on_call();
        let (request, service) = (call.request(&authorities[0], dialect), service.clone());
        tasks.spawn(async move {
            let result = make_call(&call, request, service).await;
            (call, result)
        });
    }
    let mut calls: Vec<_> = tasks.join_all().await;
    calls.sort_by_key(|(call, _)| call.number);
    tokio::time::sleep(REST.div_f64(scale.time)).await;
    drop(guard);
    Record { calls, attempts: ledger.attempts(), leaked: held.map(|held| held()) }
}
