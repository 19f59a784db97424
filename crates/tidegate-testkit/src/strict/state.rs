use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tidegate_core::BoxError;

use super::{Answer, ReceivedRequest};
use crate::Fault;

/// The state that the instances, futures, bodies and the handle of one strict service share.
pub(super) struct StrictShared(Mutex<State>);

pub(super) struct State {
    pub(super) readiness: ReadinessScript,
    pub(super) script: VecDeque<Answer>,
    pub(super) otherwise: Answer,
    pub(super) requests: Vec<ReceivedRequest>,
    pub(super) violations: Vec<String>,
    pub(super) counters: StrictCounters,
}

#[derive(Clone, Copy, Default)]
pub(super) struct StrictCounters {
    pub(super) ready_polls: usize,
    pub(super) reserved: usize,
    pub(super) dropped_ready: usize,
    pub(super) live_futures: usize,
    pub(super) dropped_futures: usize,
    pub(super) live_bodies: usize,
    pub(super) dropped_bodies: usize,
    pub(super) finished_bodies: usize,
}

/// The scripted results of `poll_ready`.
#[derive(Default)]
pub(super) struct ReadinessScript {
    pub(super) failure: Option<String>,
    pub(super) pending_polls: usize,
    pub(super) blocked: bool,
    pub(super) wakers: Vec<Waker>,
}

impl ReadinessScript {
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(message) = self.failure.take() {
            return Poll::Ready(Err(Fault::other(message).into()));
        }
        if self.blocked {
            if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.wakers.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if self.pending_polls > 0 {
            self.pending_polls -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl StrictShared {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            readiness: ReadinessScript::default(),
            script: VecDeque::new(),
            otherwise: Answer::status(200),
            requests: Vec::new(),
            violations: Vec::new(),
            counters: StrictCounters::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the violation and panics.
    pub(super) fn violated(&self, what: &str) -> ! {
        self.lock().violations.push(what.to_owned());
        panic!("strict service: {what}");
    }
}
