use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;

use crate::{ErrorCode, Failure, Gate, MissingCapability, Outcome, Rejection};

/// What was decided during one call, step by step.
///
/// A handle: put one into the extensions of a request and every layer below writes its verdicts to it, on
/// success as on failure. Attempts are written by the wire (`ClassifyLayer`), which sees each of them. Without one nothing is written, and nothing is allocated. A call that needed
/// more than its first attempt carries its trail in the extensions of the response as well.
///
/// Holds at most [`Trail::MAX_STEPS`] steps; later ones are counted as attempts but not kept.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Steps>>);

#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    attempts: u32,
    target: Option<Arc<str>>,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The `provider/model` it is about, if the stack has a name.
    pub target: Option<Arc<str>>,
    /// What was decided, or what came of it.
    pub verdict: Verdict,
}

/// What a layer decided, or what an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An attempt reached the wire and succeeded.
    Succeeded,
    /// An attempt reached the wire and failed.
    Failed(ErrorCode),
    /// A gate of ours refused the attempt.
    Rejected {
        /// Which gate.
        gate: Gate,
        /// The code a caller would see.
        code: ErrorCode,
    },
    /// The call waits before it asks again.
    Waiting(Duration),
    /// The call goes on to another target.
    FellBack {
        /// Its name.
        to: Arc<str>,
        /// What the one before it came to.
        because: Option<ErrorCode>,
    },
    /// A target is not asked, since it cannot take the request.
    Skipped {
        /// Its name.
        target: Arc<str>,
        /// What it lacks.
        missing: MissingCapability,
    },
    /// The stream broke, and another target is asked for the rest of it.
    Continued {
        /// Its name.
        by: Arc<str>,
        /// Why the stream broke.
        because: Option<ErrorCode>,
    },
}

impl Trail {
    /// The most steps that are kept.
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

    /// Names the target that the following steps are about.
    pub fn enter(&self, target: &Arc<str>) {
        self.lock().target = Some(Arc::clone(target));
    }

    /// Writes down what an attempt on the wire came to. A neutral outcome was no attempt.
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

    /// Writes down a refusal of ours.
    pub fn rejected(&self, rejection: &Rejection) {
        self.push(Verdict::Rejected { gate: rejection.gate(), code: rejection.code() });
    }

    /// Writes down any other verdict.
    pub fn push(&self, verdict: Verdict) {
        self.lock().push(verdict);
    }

    /// How many attempts reached the wire.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.lock().attempts
    }

    /// The target that was asked last.
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
    fn counts_what_reached_the_wire_and_nothing_else() {
        let trail = Trail::new();
        trail.enter(&"openai/gpt-4o".into());
        trail.rejected(&Rejection::new(Gate::RateLimit, ErrorCode::RateLimited));
        trail.attempt(&Outcome::Neutral);
        trail.attempt(&Failure::new(ErrorCode::Overloaded).into());
        let because = Some(ErrorCode::Overloaded);
        trail.push(Verdict::FellBack { to: "deepseek/deepseek-chat".into(), because });
        trail.enter(&"deepseek/deepseek-chat".into());
        trail.attempt(&Outcome::Success);
        assert_eq!(trail.attempts(), 2);
        assert_eq!(trail.target().as_deref(), Some("deepseek/deepseek-chat"));
        let verdicts: Vec<_> = trail.steps().into_iter().map(|step| step.verdict).collect();
        assert_eq!(verdicts[1], Verdict::Failed(ErrorCode::Overloaded));
        assert_eq!(verdicts.last(), Some(&Verdict::Succeeded));
    }

    #[test]
    fn is_bounded() {
        let trail = Trail::new();
        for _ in 0..10_000 {
            trail.attempt(&Outcome::Success);
        }
        assert_eq!((trail.steps().len(), trail.attempts()), (Trail::MAX_STEPS, 10_000));
    }
}
