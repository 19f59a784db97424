use std::time::{Duration, Instant};

use http::Extensions;

use super::attempt_result::{AttemptResult, Latency};
use super::call_totals::Moment;
use super::circuit::CircuitAdmission;
use super::open_attempts::Opening;
use super::{CallResult, Handle};
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::chain_position::AttemptNumber;
use crate::events::{AttemptSummary, Decision};
use crate::{Error, FailureKind, Outcome, StreamOutcome, clock};

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
    circuit: Handle,
    /// `None` once the result is of no consequence for the circuit. It is counted all the same.
    admission: Option<CircuitAdmission>,
    /// The number of the attempt in its call.
    attempt: u32,
    is_probe: bool,
    /// The call has had its share of failures, and the attempt is no probe: a failure is not counted by the
    /// circuit.
    ignores_failure: bool,
    started: Moment,
    /// When the head of the response arrived, or an error in its place.
    head: Option<Moment>,
    response_size: u64,
    /// The opening of the circuit for which the head has added attempts, if it has.
    added_attempts: Option<Opening>,
    /// The outcome of the response stream, shared with the wire.
    stream_outcome: Option<StreamOutcome>,
}

impl CallGuard {
    /// Creates a guard for the attempt with these extensions.
    pub(super) fn new(
        circuit: Handle,
        admission: CircuitAdmission,
        extensions: &Extensions,
        now: Instant,
    ) -> Self {
        let AttemptNumber { number, sent } = AttemptNumber::of(extensions);
        let is_probe = admission.is_probe();
        let call = AdmittedCall {
            is_probe,
            ignores_failure: !is_probe && sent > circuit.settings().counted_attempts(),
            admission: Some(admission),
            attempt: number,
            started: circuit.0.totals.moment(now),
            circuit,
            head: None,
            response_size: 0,
            added_attempts: None,
            stream_outcome: None,
        };
        Self { call: Some(call) }
    }

    /// A guard that records nothing.
    pub(crate) const fn unrecorded() -> Self {
        Self { call: None }
    }

    /// Records the outcome of the attempt.
    fn record_outcome(&mut self, outcome: &Outcome) {
        if let Some(mut call) = self.call.take() {
            let result = AttemptResult::of(outcome, call.circuit.settings());
            let is_judged = call.is_head_recorded();
            if call.head.is_none() {
                call.head = Some(call.now());
            }
            // The latency of a neutral outcome carries no information.
            let latency = if is_judged || result == AttemptResult::Neutral {
                Latency::Unknown
            } else {
                call.judge(call.latency())
            };
            call.record(result, kind_of(outcome), latency);
        }
    }

    /// Handles the head of a successful response. It records the latency. For a probe it is the whole
    /// success, unless it proves nothing: then the end decides, with the latency of the head. For other calls the
    /// body decides; until it ends, the head separates the failures before it from later ones.
    fn record_head(&mut self, head: ResponseHead<'_>) {
        let Some(call) = &mut self.call else { return };
        call.stream_outcome = head.stream_outcome().cloned();
        call.head = Some(call.now());
        let latency = call.judge(call.latency());
        call.added_attempts = call.circuit.add_open_attempts(latency);
        let is_proven = !head.is_unproven();
        if let Some(admission) = call.admission
            && (is_proven || !call.is_probe)
        {
            call.admission = call.circuit.record_head(admission, is_proven, latency);
        }
    }
}

impl AdmittedCall {
    fn now(&self) -> Moment {
        self.circuit.0.totals.moment(clock::now())
    }

    /// The time to the head of the response, if it has arrived.
    fn latency(&self) -> Option<Duration> {
        Some(self.head?.since(self.started))
    }

    /// Whether the circuit has the latency already. That of a probe whose head proves nothing is recorded with
    /// its end.
    fn is_head_recorded(&self) -> bool {
        self.head.is_some() && !self.admission.is_some_and(|admission| admission.is_probe())
    }

    /// Whether the latency is that of a slow call, if that matters.
    fn judge(&self, latency: Option<Duration>) -> Latency {
        match latency.zip(self.circuit.settings().slow_call_threshold) {
            Some((latency, limit)) if latency >= limit => Latency::Slow,
            Some(_) => Latency::Fast,
            None => Latency::Unknown,
        }
    }

    fn record(self, result: AttemptResult, kind: Option<FailureKind>, latency: Latency) {
        let is_failure = result.error_code().is_some();
        let is_slow = latency == Latency::Slow || self.judge(self.latency()) == Latency::Slow;
        // Only a failure is dated by its end, which spares the others a look at the clock.
        let at = if is_failure { self.now() } else { self.head.unwrap_or(self.started) };
        self.circuit.0.totals.record(result, self.latency(), is_slow, at);
        self.emit(result, kind, is_slow);
        if let Some(opening) = self.added_attempts.filter(|_| is_failure) {
            self.circuit.take_back_open_attempts(opening);
        }
        if let Some(admission) = self.admission {
            let result = match result {
                AttemptResult::Failure(..) if self.ignores_failure => {
                    result.wait().map_or(AttemptResult::Neutral, AttemptResult::Uncounted)
                }
                result => result,
            };
            self.circuit.record(admission, result, latency);
        }
    }

    fn emit(&self, result: AttemptResult, kind: Option<FailureKind>, is_slow: bool) {
        let circuit = &self.circuit.0;
        let summary = AttemptSummary {
            attempt: self.attempt,
            success: result == AttemptResult::Success,
            code: result.error_code(),
            kind: result.error_code().and(kind),
            duration: self.latency(),
            slow: is_slow,
            response_size: self.response_size,
        };
        let listeners = &circuit.settings().hooks.call_listeners;
        if listeners.has_any() {
            listeners.notify(CallResult::new(summary, circuit.key()));
        }
        Decision::AttemptEnded(summary).emit(circuit.target(), circuit.key());
    }
}

fn kind_of(outcome: &Outcome) -> Option<FailureKind> {
    outcome.failure().map(|failure| failure.kind)
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let latency = match call.head {
                Some(_) if call.is_head_recorded() => Latency::Unknown,
                Some(_) => call.judge(call.latency()),
                None if call.circuit.settings().slow_call_threshold.is_none() => Latency::Unknown,
                None => match call.judge(Some(call.now().since(call.started))) {
                    // The latency of the whole call is unknown.
                    Latency::Fast => Latency::Unknown,
                    latency => latency,
                },
            };
            let final_outcome = call.stream_outcome.as_ref().and_then(StreamOutcome::outcome);
            let settings = call.circuit.settings();
            let result =
                final_outcome.map_or(AttemptResult::Neutral, |outcome| AttemptResult::of(outcome, settings));
            let kind = final_outcome.and_then(kind_of);
            call.record(result, kind, latency);
        }
    }
}

impl AttemptGuard for CallGuard {
    type Body = Self;

    fn on_head(mut self, head: ResponseHead<'_>, outcome: &Outcome) -> Self {
        match outcome {
            // The body may still fail.
            Outcome::Success => self.record_head(head),
            outcome => self.record_outcome(outcome),
        }
        self
    }

    fn on_error(mut self, _: &Error, outcome: &Outcome) {
        self.record_outcome(outcome);
    }
}

impl BodyGuard for CallGuard {
    fn on_data(&mut self, bytes: usize) {
        if let Some(call) = &mut self.call {
            call.response_size += bytes as u64;
        }
    }

    fn on_end(mut self, failure: Option<&Outcome>) {
        self.record_outcome(failure.unwrap_or(&Outcome::Success));
    }
}
