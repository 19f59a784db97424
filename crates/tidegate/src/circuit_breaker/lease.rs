use std::time::Instant;

use super::mark::{Mark, Pace};
use super::pass::Pass;
use super::shares::Owned;
use crate::guarded_body::BodyGuard;
use crate::{BoxError, Outcome, StreamOutcome, clock};

/// The right of one attempt to have passed the circuit. Dropped without a word, it says nothing: the caller left.
/// Unless the provider had said its last word by then, good or bad, and nobody waited for the end of the connection; or
/// the caller left after having waited for longer than a slow call may take: it saw that the provider is slow.
#[derive(Debug)]
pub struct CallGuard {
    circuit: Owned,
    pass: Option<Pass>,
    /// Since when the answer is waited for, if its pace matters and is not known yet.
    waiting_since: Option<Instant>,
    /// Tells what the stream that is the answer has come to.
    finish: Option<StreamOutcome>,
}

impl CallGuard {
    /// A lease without a pass has no say.
    pub(super) fn new(circuit: Owned, pass: Option<Pass>) -> Self {
        let timed = pass.is_some() && circuit.settings().slow_call_threshold.is_some();
        Self { circuit, pass, waiting_since: timed.then(clock::now), finish: None }
    }

    /// Says what the attempt came to, and gives the lease back.
    pub(super) fn settle(mut self, outcome: &Outcome) {
        if let Some(pass) = self.pass.take() {
            let mark = Mark::of(outcome, self.circuit.settings());
            // What was no answer to speak of has no pace.
            let pace = if mark == Mark::Neutral { Pace::Unknown } else { self.pace() };
            self.circuit.record(pass, mark, pace);
        }
    }

    /// The head of a good answer is here: half of a success, and all of one for a probe. Its pace is known now.
    pub(super) fn commit(&mut self, finish: Option<StreamOutcome>) {
        self.finish = finish;
        let pace = self.pace();
        if let Some(pass) = self.pass {
            self.pass = self.circuit.commit(pass, pace);
        }
    }

    fn pace(&mut self) -> Pace {
        match self.waiting_since.take().zip(self.circuit.settings().slow_call_threshold) {
            Some((since, limit)) if clock::now().saturating_duration_since(since) >= limit => Pace::Slow,
            Some(_) => Pace::Fast,
            None => Pace::Unknown,
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let pace = match self.pace() {
                // How long it would have taken, nobody knows.
                Pace::Fast => Pace::Unknown,
                pace => pace,
            };
            let said = self.finish.as_ref().and_then(StreamOutcome::outcome);
            let mark = said.map_or(Mark::Neutral, |outcome| Mark::of(outcome, self.circuit.settings()));
            self.circuit.record(pass, mark, pace);
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
