use std::time::Instant;

use http::Extensions;

use super::admission::Admission;
use super::attempt_result::{AttemptResult, Latency};
use super::gate::HandleRef;
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::attempt_number::AttemptNumber;
use crate::{Error, Outcome, StreamOutcome, clock};

/// Guards one admitted attempt, and records its result in the circuit. Dropped without a result, it records
/// nothing, because the caller dropped the call. There are two exceptions: the stream had reached its final
/// outcome, and the caller did not wait for the end of the connection; or the caller waited for longer than a
/// slow call takes, which counts as a slow call.
#[derive(Debug)]
pub struct CallGuard {
    /// `None` if the result is not recorded, or is recorded already.
    call: Option<AdmittedCall>,
}

/// An attempt whose result is still to be recorded.
#[derive(Debug)]
struct AdmittedCall {
    circuit: HandleRef,
    admission: Admission,
    /// A failure is not counted: the call has had its share of failures.
    ignores_failure: bool,
    /// The time at which the wait for the response began, if its latency is measured and not recorded yet.
    waiting_since: Option<Instant>,
    /// The outcome of the response stream, shared with the wire.
    stream_outcome: Option<StreamOutcome>,
}

impl CallGuard {
    /// Creates a guard for the attempt with these extensions.
    pub(super) fn new(circuit: HandleRef, admission: Admission, extensions: &Extensions) -> Self {
        let settings = circuit.settings();
        let is_timed = settings.slow_call_threshold.is_some();
        let ignores_failure = admission.probe.is_none()
            && settings
                .max_attempts_counted_per_call
                .is_some_and(|counted| AttemptNumber::of(extensions) > counted);
        let waiting_since = is_timed.then(clock::now);
        let call = AdmittedCall { circuit, admission, ignores_failure, waiting_since, stream_outcome: None };
        Self { call: Some(call) }
    }

    /// A guard that records nothing.
    pub(crate) const fn unrecorded() -> Self {
        Self { call: None }
    }

    /// Records the outcome of the attempt.
    fn settle(&mut self, outcome: &Outcome) {
        if let Some(mut call) = self.call.take() {
            let result = call.result(outcome);
            // The latency of a neutral outcome carries no information.
            let latency = if result == AttemptResult::Neutral { Latency::Unknown } else { call.latency() };
            call.circuit.record(call.admission, result, latency);
        }
    }

    /// Handles the head of a successful response. It records the latency. For a probe it is the whole
    /// success, for other calls the body decides.
    fn commit(&mut self, stream_outcome: Option<&StreamOutcome>) {
        let Some(call) = &mut self.call else { return };
        call.stream_outcome = stream_outcome.cloned();
        let latency = call.latency();
        match call.circuit.commit(call.admission, latency) {
            Some(admission) => call.admission = admission,
            None => self.call = None,
        }
    }
}

impl AdmittedCall {
    fn result(&self, outcome: &Outcome) -> AttemptResult {
        match AttemptResult::of(outcome, self.circuit.settings()) {
            AttemptResult::Failure(..) if self.ignores_failure => AttemptResult::Neutral,
            result => result,
        }
    }

    fn latency(&mut self) -> Latency {
        match self.waiting_since.take().zip(self.circuit.settings().slow_call_threshold) {
            Some((since, limit)) if clock::now().saturating_duration_since(since) >= limit => Latency::Slow,
            Some(_) => Latency::Fast,
            None => Latency::Unknown,
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(mut call) = self.call.take() {
            let latency = match call.latency() {
                // The latency of the whole call is unknown.
                Latency::Fast => Latency::Unknown,
                latency => latency,
            };
            let final_outcome = call.stream_outcome.as_ref().and_then(StreamOutcome::outcome);
            let result = final_outcome.map_or(AttemptResult::Neutral, |outcome| call.result(outcome));
            call.circuit.record(call.admission, result, latency);
        }
    }
}

impl AttemptGuard for CallGuard {
    type Body = Self;

    fn on_head(mut self, head: ResponseHead<'_>, outcome: &Outcome) -> Self {
        match outcome {
            // The body may still fail.
            Outcome::Success => self.commit(head.stream_outcome),
            outcome => self.settle(outcome),
        }
        self
    }

    fn on_error(mut self, _: &Error, outcome: &Outcome) {
        self.settle(outcome);
    }
}

impl BodyGuard for CallGuard {
    fn on_end(mut self, failure: Option<&Outcome>) {
        self.settle(failure.unwrap_or(&Outcome::Success));
    }
}
