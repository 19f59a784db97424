use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;

use crate::{ErrorCode, Failure, Gate, MissingCapability, NotProcessedReason, Outcome, Rejection};

/// The decisions that were made during one call, in order.
///
/// The trail is a handle in the extensions of a request. Every layer below records its decisions in it, on
/// success as on failure. Attempts are recorded by the wire (`ClassifyLayer`), which every attempt passes.
/// Without a trail nothing is recorded and nothing is allocated. If a call took more than its first attempt,
/// its trail is in the extensions of the response as well.
///
/// A trail keeps at most [`Trail::MAX_STEPS`] steps. Later steps are dropped, but their attempts are counted.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Steps>>);

#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    attempts: u32,
    target: Option<Arc<str>>,
}

/// One decision or result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The `provider/model` that the step is about, if the stack has a name.
    pub target: Option<Arc<str>>,
    /// The decision, or the result of an attempt.
    pub verdict: Verdict,
}

/// The decision of a layer, or the result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An attempt reached the wire and succeeded.
    Succeeded,
    /// An attempt reached the wire and failed.
    Failed(ErrorCode),
    /// The provider did not process the request, which is sent once more over a fresh connection. Not counted
    /// as an attempt.
    SentAgain(NotProcessedReason),
    /// A gate rejected the attempt.
    Rejected {
        /// The gate.
        gate: Gate,
        /// The code that a caller would see.
        code: ErrorCode,
    },
    /// The call waits before its next attempt.
    Waiting(Duration),
    /// The call falls back to another target.
    FellBack {
        /// The name of that target.
        to: Arc<str>,
        /// The code of the failure at the target before it, if there was one.
        because: Option<ErrorCode>,
    },
    /// A target is skipped, because it cannot serve the request.
    Skipped {
        /// The name of that target.
        target: Arc<str>,
        /// The capability that it lacks.
        missing: MissingCapability,
    },
    /// The stream broke off, and another target continues it.
    Continued {
        /// The name of that target.
        by: Arc<str>,
        /// The code of the failure that ended the stream.
        because: Option<ErrorCode>,
    },
}

impl Trail {
    /// The largest number of steps that are kept.
    pub const MAX_STEPS: usize = 256;

    /// An empty trail.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The trail of this request or response, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Sets the target that the following steps are about.
    pub fn enter(&self, target: &Arc<str>) {
        self.lock().target = Some(Arc::clone(target));
    }

    /// Records the outcome of an attempt on the wire. A neutral outcome does not count as an attempt.
    pub fn attempt(&self, outcome: &Outcome) {
        let verdict = match outcome {
            Outcome::Success => Verdict::Succeeded,
            Outcome::Failure(Failure { code, .. }) => Verdict::Failed(*code),
            Outcome::Neutral => return,
        };
        let mut steps = self.lock();
        steps.attempts = steps.attempts.saturating_add(1);
        steps.push(verdict);
    }

    /// Records a rejection by a gate.
    pub fn rejected(&self, rejection: &Rejection) {
        self.push(Verdict::Rejected { gate: rejection.gate(), code: rejection.code() });
    }

    /// Records any other verdict.
    pub fn push(&self, verdict: Verdict) {
        self.lock().push(verdict);
    }

    /// The number of attempts that reached the wire.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.lock().attempts
    }

    /// The target of the last attempt.
    #[must_use]
    pub fn target(&self) -> Option<Arc<str>> {
        self.lock().target.clone()
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    fn push(&mut self, verdict: Verdict) {
        if self.steps.len() < Trail::MAX_STEPS {
            self.steps.push(Step { target: self.target.clone(), verdict });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_that_reached_the_wire_are_counted() {
        let trail = Trail::new();
        trail.enter(&"openai/gpt-4o".into());
        trail.rejected(&Rejection::new(Gate::RateLimit, ErrorCode::RateLimited));
        trail.attempt(&Outcome::Neutral);
        trail.push(Verdict::SentAgain(NotProcessedReason::StreamRefused));
        trail.attempt(&Failure::new(ErrorCode::Overloaded).into());
        let because = Some(ErrorCode::Overloaded);
        trail.push(Verdict::FellBack { to: "deepseek/deepseek-chat".into(), because });
        trail.enter(&"deepseek/deepseek-chat".into());
        trail.attempt(&Outcome::Success);
        assert_eq!(trail.attempts(), 2);
        assert_eq!(trail.target().as_deref(), Some("deepseek/deepseek-chat"));
        let verdicts: Vec<_> = trail.steps().into_iter().map(|step| step.verdict).collect();
        assert_eq!(verdicts[2], Verdict::Failed(ErrorCode::Overloaded));
        assert_eq!(verdicts.last(), Some(&Verdict::Succeeded));
    }

    #[test]
    fn the_number_of_steps_is_bounded() {
        let trail = Trail::new();
        for _ in 0..10_000 {
            trail.attempt(&Outcome::Success);
        }
        assert_eq!((trail.steps().len(), trail.attempts()), (Trail::MAX_STEPS, 10_000));
    }
}
