//! The gateway over sockets, in one program. What a process has one of, as the subscriber of events or the
//! recorder of metrics, is tested in programs of its own.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admin;
mod alerts;
mod bodies;
mod caller_limits;
mod callers;
mod calls;
mod connections;
mod groups;
mod hedging;
mod hints;
mod key_changes;
mod live;
mod log;
mod program;
mod provider_connections;
mod proxying;
mod reload;
mod shared_limits;
mod signals;
mod stopping;
mod targets;
mod tls;
