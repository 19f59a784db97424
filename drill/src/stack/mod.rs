//! The stacks that are compared.
//!
//! All have the same numbers, as far as they have such a part, and the limits that providers publish.

mod bare;
mod circuit_cooldown;
mod executor_order;
mod hand_glued;
mod hedged;
mod judged_attempt;
mod peer;
mod protocol_order;
mod recloser_events;
mod round_robin;
mod settings;
mod status_policy;
mod tidegate_client;
mod tower_resilience;
mod tower_resilience_hedged;
mod tower_retry;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tidegate::BoxError;
use tower::util::BoxCloneSyncService;

pub(crate) use self::settings::{Settings, StackPlan, TargetPlan};
use crate::wire::RecordedClient;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// A stack, as callers use it.
pub(crate) type StackService = BoxCloneSyncService<Request<Bytes>, Response<AnswerBody>, BoxError>;

/// A stack around the providers of a run.
pub(crate) struct BuiltStack {
    pub(crate) service: StackService,
    /// The permits that are held and the calls that wait for one; `None` if the stack has no permits.
    pub(crate) held: Option<Box<dyn Fn() -> usize>>,
    /// What has to live as long as the run.
    pub(crate) guard: Option<tracing::subscriber::DefaultGuard>,
}

/// One of the stacks.
#[derive(Clone, Copy)]
pub struct ComparedStack {
    /// Its name.
    pub name: &'static str,
    /// Its layers, outermost first, and what they do not do.
    pub description: &'static str,
    pub(crate) build: fn(&StackPlan, RecordedClient) -> BuiltStack,
}

impl fmt::Debug for ComparedStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The stacks, in the order of the tables.
pub const STACKS: &[ComparedStack] = &[
    bare::STACK,
    tower_retry::STACK,
    tower_resilience::STACK,
    tower_resilience_hedged::STACK,
    hand_glued::STACK,
    executor_order::STACK,
    protocol_order::STACK,
    hedged::STACK,
];

impl BuiltStack {
    pub(crate) fn new(service: StackService) -> Self {
        Self { service, held: None, guard: None }
    }

    /// The same, with a count of its permits.
    pub(crate) fn held_by(self, held: impl Fn() -> usize + 'static) -> Self {
        Self { held: Some(Box::new(held)), ..self }
    }
}

/// The permits of a semaphore that are held.
pub(crate) fn held_of(semaphores: Vec<Arc<tokio::sync::Semaphore>>, size: usize) -> impl Fn() -> usize {
    move || semaphores.iter().map(|semaphore| size - semaphore.available_permits()).sum()
}
