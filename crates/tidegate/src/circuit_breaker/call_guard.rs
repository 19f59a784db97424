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
    circuit: HandleRef,
    admission: Option<Admission>,
    /// A failure is not counted: the call has had its share of failures.
    ignores_failure: bool,
    /// The time at which the wait for the response began, if its latency is measured and not recorded yet.
    waiting_since: Option<Instant>,
    /// The outcome of the response stream, shared with the wire.
    stream_outcome: Option<StreamOutcome>,
}

impl CallGuard {
    /// Creates a guard for the attempt with these extensions. Without an admission it records nothing.
    pub(super) fn new(circuit: HandleRef, admission: Option<Admission>, extensions: &Extensions) -> Self {
        let settings = circuit.settings();
        let is_timed = admission.is_some() && settings.slow_call_threshold.is_some();
        let ignores_failure = settings
            .max_attempts_counted_per_call
            .is_some_and(|counted| AttemptNumber::of(extensions) > counted)
            && admission.is_none_or(|admission| admission.probe.is_none());
        Self {
            circuit,
            admission,
            ignores_failure,
            waiting_since: is_timed.then(clock::now),
            stream_outcome: None,
        }
    }

    fn result(&self, outcome: &Outcome) -> AttemptResult {
        match AttemptResult::of(outcome, self.circuit.settings()) {
            AttemptResult::Failure(..) if self.ignores_failure => AttemptResult::Neutral,
            result => result,
        }
    }

    /// Records the outcome of the attempt.
    fn settle(&mut self, outcome: &Outcome) {
        if let Some(admission) = self.admission.take() {
            let result = self.result(outcome);
            // The latency of a neutral outcome carries no information.
            let latency = if result == AttemptResult::Neutral { Latency::Unknown } else { self.latency() };
            self.circuit.record(admission, result, latency);
        }
    }

    /// Handles the head of a successful response. It records the latency. For a probe it is the whole
    /// success, for other calls the body decides.
    fn commit(&mut self, stream_outcome: Option<StreamOutcome>) {
        self.stream_outcome = stream_outcome;
        let latency = self.latency();
        if let Some(admission) = self.admission {
            self.admission = self.circuit.commit(admission, latency);
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
        if let Some(admission) = self.admission.take() {
            let latency = match self.latency() {
                // The latency of the whole call is unknown.
                Latency::Fast => Latency::Unknown,
                latency => latency,
            };
            let final_outcome = self.stream_outcome.as_ref().and_then(StreamOutcome::outcome);
            let result = final_outcome.map_or(AttemptResult::Neutral, |outcome| self.result(outcome));
            self.circuit.record(admission, result, latency);
        }
    }
}

impl AttemptGuard for CallGuard {
    type Body = Self;

    fn on_head(mut self, head: ResponseHead<'_>, outcome: &Outcome) -> Self {
        match outcome {
            // The body may still fail.
            Outcome::Success => self.commit(head.stream_outcome.cloned()),
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
