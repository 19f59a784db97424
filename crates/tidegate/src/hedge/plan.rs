use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, Request};

use super::Handle;
use super::target_times::{AnswerKind, TargetTimes};
use crate::chain_position::IDEMPOTENCY_KEY;
use crate::defaults::{DefaultEstimate, expects_stream, has_side_effects};
use crate::events::Decision;
use crate::retry::RetryOverride;
use crate::timer::LazySleep;
use crate::{ErrorCode, Estimate, Outcome, Payload, clock};

/// The hedge of one call: when it is due, and what it costs.
#[derive(Debug)]
pub(crate) struct HedgePlan {
    handle: Handle,
    kind: AnswerKind,
    /// The tokens of one attempt, as estimated.
    tokens: u64,
    /// The call has not been hedged, and may be.
    is_open: bool,
    attempt: Option<MeasuredAttempt>,
    sleep: LazySleep,
}

/// The attempt in progress.
#[derive(Debug)]
struct MeasuredAttempt {
    times: Arc<TargetTimes>,
    began: Instant,
    /// When the hedge is due; `None` if the target has had too few calls.
    due: Option<Instant>,
}

/// The output of a request that sets no limit, as in a rate limit.
const USUAL_OUTPUT: u64 = 500;

impl HedgePlan {
    /// A call begins.
    pub(crate) fn new(handle: Handle, request: &Request<Payload>) -> Self {
        let kind = kind_of(request);
        let tokens = tokens_of(request, kind);
        handle.budget().deposit(tokens);
        handle.count(|counters| &counters.calls);
        let is_open = may_run_twice(request);
        Self { handle, kind, tokens, is_open, attempt: None, sleep: LazySleep::default() }
    }

    /// An attempt at the target with these `times` begins.
    pub(crate) fn start_attempt(&mut self, times: &Arc<TargetTimes>) {
        let settings = self.handle.settings();
        let began = clock::now();
        let usual = || times.percentile(self.kind, settings.percentile, settings.min_samples.max(1));
        let delay = if self.is_open { usual().map(|usual| usual.max(settings.min_delay)) } else { None };
        let due = delay.and_then(|delay| began.checked_add(delay));
        self.attempt = Some(MeasuredAttempt { times: Arc::clone(times), began, due });
    }

    /// The attempt has a result, or is given up without one.
    pub(crate) fn end_attempt(&mut self, outcome: Option<&Outcome>) {
        let Some(MeasuredAttempt { times, began, .. }) = self.attempt.take() else { return };
        let time = clock::now().saturating_duration_since(began);
        let is_timeout =
            |outcome: &Outcome| outcome.failure().is_some_and(|failure| failure.code == ErrorCode::Timeout);
        match outcome {
            Some(Outcome::Success) => times.record(self.kind, time),
            Some(outcome) if !is_timeout(outcome) => {}
            _ => times.record_cut_off(self.kind, time, self.handle.settings().percentile),
        }
    }

    /// Ready once with the time that the attempt has taken, when the hedge is due.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(MeasuredAttempt { began, due: Some(due), .. }) = &self.attempt else { return Poll::Pending };
        if !self.is_open {
            return Poll::Pending;
        }
        ready!(self.sleep.poll_until(*due, cx));
        self.is_open = false;
        Poll::Ready(clock::now().saturating_duration_since(*began))
    }

    /// Whether a hedge of `request`, which is late at `target`, has no side effects, is covered by the budget,
    /// and has a target that can take it; it is then withdrawn.
    pub(crate) fn withdraw(&self, request: &Request<Payload>, target: &str, is_available: bool) -> bool {
        if *request.method() == Method::POST && has_side_effects(request.uri(), body_of(request)) {
            return false;
        }
        if !is_available {
            self.handle.count(|counters| &counters.unavailable);
            return false;
        }
        let is_covered = self.handle.budget().withdraw(self.tokens);
        if !is_covered {
            self.handle.count(|counters| &counters.out_of_budget);
            Decision::HedgeDenied.emit(target, None);
        }
        is_covered
    }

    /// No target could take the request at once.
    pub(crate) fn refund(&self) {
        self.handle.budget().refund(self.tokens);
        self.handle.count(|counters| &counters.unavailable);
    }

    /// The request was sent to `target` as well.
    pub(crate) fn record_sent(&self, target: &str, wait: Duration) {
        self.handle.count(|counters| &counters.hedges);
        Decision::Hedged { wait }.emit(target, None);
    }

    /// The hedge at `target` has the response of the call, or has been cancelled or failed.
    pub(crate) fn record_end(&self, target: &str, won: bool) {
        if won {
            self.handle.count(|counters| &counters.won);
        }
        Decision::HedgeEnded { won }.emit(target, None);
    }

    /// Whether a call may be hedged at its own target.
    pub(crate) fn allows_same_target(&self) -> bool {
        self.handle.settings().same_target
    }

    /// Whether the call may still be hedged.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }
}

impl Drop for HedgePlan {
    fn drop(&mut self) {
        self.end_attempt(None);
    }
}

/// Whether a request may run twice. One that may not be retried may not be hedged either. A caller sends an
/// idempotency key so that the request runs once, and a provider that honours the key would not run it twice.
fn may_run_twice(request: &Request<Payload>) -> bool {
    let is_method = request.method().is_safe() || *request.method() == Method::POST;
    is_method
        && request.body().is_replayable()
        && !request.headers().contains_key(IDEMPOTENCY_KEY)
        && !RetryOverride::of(request.extensions()).is_some_and(RetryOverride::is_off)
}

fn body_of(request: &Request<Payload>) -> &[u8] {
    request.body().bytes().map_or(&[], |body| body)
}

fn kind_of(request: &Request<Payload>) -> AnswerKind {
    if expects_stream(request.uri(), request.headers(), body_of(request)) {
        AnswerKind::Stream
    } else {
        AnswerKind::Document
    }
}

/// The tokens that an attempt costs if it is cancelled: the prompt, and for a whole answer the output.
fn tokens_of(request: &Request<Payload>, kind: AnswerKind) -> u64 {
    let estimated = DefaultEstimate.estimate(request.headers(), body_of(request));
    match kind {
        AnswerKind::Stream => estimated.input,
        AnswerKind::Document => estimated.input.saturating_add(estimated.output(USUAL_OUTPUT)),
    }
}
