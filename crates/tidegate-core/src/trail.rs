use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Extensions;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::{ErrorCode, Failure, Gate, MissingCapability, NotProcessedReason, Outcome, Rejection};

/// The decisions that were made during one call, in order.
///
/// The trail is a handle in the extensions of a request. Every layer below records its decisions in it, on
/// success as on failure. Attempts are recorded by the wire (`ClassifyLayer`), which every attempt passes.
/// Without a trail nothing is recorded and nothing is allocated. If a call took more than its first attempt,
/// its trail is in the extensions of the response as well.
///
/// A trail keeps at most [`Trail::MAX_STEPS`] steps. Later steps are dropped, but their attempts are counted.
/// It is serialised as its `target`, `attempts` and `steps`.
#[derive(Clone, Default)]
#[doc(alias("resilience_metadata", "retry_used", "circuit_breaker_used"))]
pub struct Trail(Arc<TrailState>);

#[derive(Default)]
struct TrailState {
    steps: Mutex<Steps>,
    /// The trail that records the steps of a branch.
    parent: Option<Trail>,
    branch: u32,
}

#[derive(Clone, Default)]
struct Steps {
    /// Those of a branch are the ones that its opening records, and itself the first of them.
    steps: Vec<Step>,
    attempts: u32,
    target: Option<Arc<str>>,
    branches: u32,
}

/// One decision or result.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When it was recorded. Serialised in RFC 3339, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The `provider/model` that the step is about, if the stack has a name.
    pub target: Option<Arc<str>>,
    /// The [number of the branch](Trail::branch_number) that recorded it. Not serialised.
    #[serde(skip)]
    pub branch: u32,
    /// The decision, or the result of an attempt.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The decision of a layer, or the result of an attempt. Serialised with its name as `verdict`, in
/// `snake_case`, beside its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// An attempt reached the wire and succeeded.
    Succeeded,
    /// An attempt reached the wire and failed.
    #[serde(serialize_with = "as_code")]
    Failed(ErrorCode),
    /// The provider did not process the request, which is sent once more over a fresh connection. Not counted
    /// as an attempt.
    #[serde(serialize_with = "as_reason")]
    SentAgain(NotProcessedReason),
    /// A gate rejected the attempt.
    Rejected {
        /// The gate.
        #[serde(serialize_with = "gate_name")]
        gate: Gate,
        /// The code that a caller would see.
        code: ErrorCode,
    },
    /// The call waits before its next attempt.
    #[serde(serialize_with = "as_wait")]
    Waiting(Duration),
    /// The call falls back to another target.
    FellBack {
        /// The name of that target.
        to: Arc<str>,
        /// The code of the failure at the target before it, if there was one.
        because: Option<ErrorCode>,
    },
    /// The target of the step was chosen from a group.
    Chosen {
        /// The name of the group.
        group: Arc<str>,
    },
    /// A target is skipped, because it cannot serve the request.
    Skipped {
        /// The name of that target.
        #[serde(rename = "skipped")]
        target: Arc<str>,
        /// The capability that it lacks.
        #[serde(serialize_with = "display")]
        missing: MissingCapability,
    },
    /// The request is sent to a target beside the attempt in progress, which has no first token yet.
    Hedged {
        /// The name of that target.
        to: Arc<str>,
        /// The time since the attempt in progress began.
        #[serde(rename = "wait_ms", serialize_with = "as_millis")]
        after: Duration,
    },
    /// An attempt was dropped before its result: the other of two that ran at once had its first token before,
    /// or the call was cancelled. The provider may bill it.
    Cancelled,
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

    /// A trail for an attempt that runs beside the others of its call. Its steps are recorded in this trail,
    /// with the target that the branch has [entered](Self::enter).
    ///
    /// `opening` is recorded by the first attempt of the branch, or by [`open`](Self::open), and the decisions
    /// before that follow it. A branch that is dropped before was not made, and leaves no step.
    #[must_use]
    pub fn branch(&self, opening: Verdict) -> Self {
        let target = self.target();
        let branch = {
            let mut steps = self.root().lock();
            steps.branches = steps.branches.saturating_add(1);
            steps.branches
        };
        let opening = Step { at: SystemTime::now(), target: target.clone(), branch, verdict: opening };
        let own = Steps { target, steps: vec![opening], ..Steps::default() };
        Self(Arc::new(TrailState { steps: Mutex::new(own), parent: Some(self.clone()), branch }))
    }

    /// The number of this [branch](Self::branch) among those of its call, from 1; 0 if it is the trail of the
    /// call.
    #[must_use]
    pub fn branch_number(&self) -> u32 {
        self.0.branch
    }

    /// Records the opening of a [branch](Self::branch), unless that is done.
    pub fn open(&self) {
        let Some(parent) = &self.0.parent else { return };
        parent.open();
        for step in std::mem::take(&mut self.lock().steps) {
            parent.record(step, 0);
        }
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
        self.record_verdict(verdict, 1);
    }

    /// Records an attempt on the wire that was dropped before it had an outcome.
    pub fn cancelled(&self) {
        self.record_verdict(Verdict::Cancelled, 1);
    }

    /// Records a rejection by a gate.
    pub fn rejected(&self, rejection: &Rejection) {
        self.push(Verdict::Rejected { gate: rejection.gate(), code: rejection.code() });
    }

    /// Records any other verdict.
    pub fn push(&self, verdict: Verdict) {
        self.record_verdict(verdict, 0);
    }

    fn record_verdict(&self, verdict: Verdict, attempts: u32) {
        if attempts > 0 {
            self.open();
        }
        let target = self.lock().target.clone();
        self.record(Step { at: SystemTime::now(), target, branch: self.0.branch, verdict }, attempts);
    }

    fn record(&self, step: Step, attempts: u32) {
        let mut own = self.lock();
        match &self.0.parent {
            Some(parent) if own.steps.is_empty() => {
                drop(own);
                parent.record(step, attempts);
            }
            _ => own.push(step, attempts),
        }
    }

    /// The trail that records the steps of this one.
    fn root(&self) -> &Self {
        self.0.parent.as_ref().map_or(self, Self::root)
    }

    /// The number of attempts that reached the wire.
    #[must_use]
    #[doc(alias = "attempt_number")]
    pub fn attempts(&self) -> u32 {
        self.root().lock().attempts
    }

    /// The target of the last attempt.
    #[must_use]
    pub fn target(&self) -> Option<Arc<str>> {
        self.lock().target.clone()
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.root().lock().steps.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Steps> {
        self.0.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    fn push(&mut self, step: Step, attempts: u32) {
        self.attempts = self.attempts.saturating_add(attempts);
        if self.steps.len() < Trail::MAX_STEPS {
            self.steps.push(step);
        }
    }
}

/// The steps, such as `[openai/gpt-4o: Failed(Overloaded), openai/gpt-4o: Waiting(1s)]`.
impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            write!(f, "{target}: ")?;
        }
        fmt::Debug::fmt(&self.verdict, f)
    }
}

impl Serialize for Trail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Steps { steps, attempts, target, .. } = self.root().lock().clone();
        let mut trail = serializer.serialize_struct("Trail", 3)?;
        trail.serialize_field("target", &target.as_deref())?;
        trail.serialize_field("attempts", &attempts)?;
        trail.serialize_field("steps", &steps)?;
        trail.end()
    }
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*at) {
        Ok(at) => serializer.collect_str(&format_args!("{at:.3}")),
        Err(_) => serializer.serialize_none(),
    }
}

fn display<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn gate_name<S: Serializer>(gate: &Gate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(gate.name())
}

/// One value under the name that it has in events.
fn field<T: Serialize, S: Serializer>(
    name: &'static str,
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut field = serializer.serialize_struct("Verdict", 1)?;
    field.serialize_field(name, value)?;
    field.end()
}

fn as_code<S: Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    field("code", code, serializer)
}

fn as_reason<S: Serializer>(reason: &NotProcessedReason, serializer: S) -> Result<S::Ok, S::Error> {
    field("reason", &reason.to_string(), serializer)
}

fn as_wait<S: Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    field("wait_ms", &millis(wait), serializer)
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(duration))
}

fn millis(duration: &Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
        trail.cancelled();
        assert_eq!(trail.attempts(), 3);
        assert_eq!(trail.target().as_deref(), Some("deepseek/deepseek-chat"));
        let verdicts: Vec<_> = trail.steps().into_iter().map(|step| step.verdict).collect();
        assert_eq!(verdicts[2], Verdict::Failed(ErrorCode::Overloaded));
        assert_eq!(verdicts[4..], [Verdict::Succeeded, Verdict::Cancelled]);
    }

    #[test]
    fn a_trail_is_serialised_with_times_and_the_names_of_events() {
        let trail = Trail::new();
        trail.enter(&"openai/gpt-4o".into());
        let before = SystemTime::now();
        trail.attempt(&Failure::new(ErrorCode::Overloaded).into());
        trail.push(Verdict::Waiting(Duration::from_millis(1_500)));
        trail.push(Verdict::SentAgain(NotProcessedReason::StreamRefused));
        trail.rejected(&Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded));
        trail.push(Verdict::FellBack { to: "groq/llama".into(), because: Some(ErrorCode::Overloaded) });
        let missing = MissingCapability::JsonSchema;
        trail.push(Verdict::Skipped { target: "groq/llama".into(), missing });
        trail.attempt(&Outcome::Success);
        assert!(trail.steps().iter().all(|step| step.at >= before));
        let mut json = serde_json::to_value(&trail).unwrap();
        for step in json["steps"].as_array_mut().unwrap() {
            let at = step.as_object_mut().unwrap().remove("at").unwrap();
            assert!(at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{at}");
            step.as_object_mut().unwrap().remove("target");
        }
        let expected = serde_json::json!({
            "target": "openai/gpt-4o",
            "attempts": 2,
            "steps": [
                {"verdict": "failed", "code": "E3002"},
                {"verdict": "waiting", "wait_ms": 1500},
                {"verdict": "sent_again", "reason": "stream refused"},
                {"verdict": "rejected", "gate": "circuit_breaker", "code": "E3002"},
                {"verdict": "fell_back", "to": "groq/llama", "because": "E3002"},
                {"verdict": "skipped", "skipped": "groq/llama", "missing": "keeps to no JSON schema"},
                {"verdict": "succeeded"},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_branch_records_its_steps_in_its_trail_with_its_own_target() {
        let trail = Trail::new();
        trail.enter(&"a/m".into());
        let branch = trail.branch(Verdict::Hedged { to: "b/m".into(), after: Duration::from_millis(1_500) });
        branch.enter(&"b/m".into());
        branch.rejected(&Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded));
        assert_eq!(trail.steps(), [], "it was not sent");
        let unsent = trail.branch(Verdict::Cancelled);
        unsent.push(Verdict::Chosen { group: "group".into() });
        drop(unsent);
        branch.attempt(&Outcome::Success);
        branch.open();
        branch.rejected(&Rejection::new(Gate::RateLimit, ErrorCode::RateLimited));
        trail.cancelled();
        assert_eq!(trail.steps().iter().map(|step| step.branch).collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
        assert_eq!((trail.branch_number(), branch.branch_number()), (0, 1));
        assert_eq!(branch.branch(Verdict::Cancelled).branch_number(), 3);
        let steps = trail.steps().into_iter().map(|step| {
            let mut json = serde_json::to_value(step).unwrap();
            json.as_object_mut().unwrap().remove("at");
            json
        });
        let expected = [
            serde_json::json!({"target": "a/m", "verdict": "hedged", "to": "b/m", "wait_ms": 1500}),
            serde_json::json!({"target": "b/m", "verdict": "rejected", "gate": "circuit_breaker", "code": "E3002"}),
            serde_json::json!({"target": "b/m", "verdict": "succeeded"}),
            serde_json::json!({"target": "b/m", "verdict": "rejected", "gate": "rate_limit", "code": "E2001"}),
            serde_json::json!({"target": "a/m", "verdict": "cancelled"}),
        ];
        assert_eq!(steps.collect::<Vec<_>>(), expected);
        assert_eq!((trail.attempts(), trail.target().as_deref()), (2, Some("a/m")));
        assert_eq!((branch.attempts(), branch.target().as_deref()), (2, Some("b/m")));
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
