use std::time::Instant;

use super::attempt_result::{AttemptResult, Latency};
use super::admission::Admission;
use super::sharded_handle::HandleRef;
use crate::guarded_body::BodyGuard;
use crate::{BoxError, Outcome, StreamOutcome, clock};

/// The right of one attempt to have passed the circuit. Dropped without a word, it says nothing: the caller left.
/// Unless the provider had said its last word by then, good or bad, and nobody waited for the end of the connection; or
/// the caller left after having waited for longer than a slow call may take: it saw that the provider is slow.
#[derive(Debug)]
pub struct CallGuard {
    circuit: HandleRef,
    admission: Option<Admission>,
    /// Since when the answer is waited for, if its pace matters and is not known yet.
    waiting_since: Option<Instant>,
    /// Tells what the stream that is the answer has come to.
    stream_outcome: Option<StreamOutcome>,
}

impl CallGuard {
    /// A lease without a pass has no say.
    pub(super) fn new(circuit: HandleRef, admission: Option<Admission>) -> Self {
        let is_timed = admission.is_some() && circuit.settings().slow_call_threshold.is_some();
        Self { circuit, admission, waiting_since: is_timed.then(clock::now), stream_outcome: None }
    }

    /// Says what the attempt came to, and gives the lease back.
    pub(super) fn settle(mut self, outcome: &Outcome) {
        if let Some(admission) = self.admission.take() {
            let result = AttemptResult::of(outcome, self.circuit.settings());
            // What was no answer to speak of has no pace.
            let latency = if result == AttemptResult::Neutral { Latency::Unknown } else { self.latency() };
            self.circuit.record(admission, result, latency);
        }
    }

    /// The head of a good answer is here: half of a success, and all of one for a probe. Its pace is known now.
    pub(super) fn commit(&mut self, stream_outcome: Option<StreamOutcome>) {
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
                // How long it would have taken, nobody knows.
                Latency::Fast => Latency::Unknown,
                latency => latency,
            };
            let final_outcome = self.stream_outcome.as_ref().and_then(StreamOutcome::outcome);
            let result = final_outcome.map_or(AttemptResult::Neutral, |outcome| AttemptResult::of(outcome, self.circuit.settings()));
            self.circuit.record(admission, result, latency);
        }
    }
}

impl BodyGuard for CallGuard {
    fn on_end(self, end: Result<(), &BoxError>) {
        match end {
            Ok(()) => self.settle(&Outcome::Success),
            Err(error) => self.settle(&Outcome::of_error(&**error)),
        }
    }
}
