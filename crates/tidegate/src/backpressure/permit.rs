use std::time::{Duration, Instant};

use http_body::Body;

use super::Handle;
use super::adaptive::{Sample, SampleOutcome};
use super::answer_times::AnswerTime;
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::{Clock, Elapsed, Error, ErrorCode, Failure, Outcome, clock};

/// A permit for one call in flight, which is released on drop.
#[derive(Debug)]
pub struct Permit {
    /// The limit that the permit belongs to; `None` if there is no limit.
    limit: Option<Handle>,
    /// The measurements of a call under an adaptive limit, or of one that was queued; `None` for others, or
    /// once the outcome is final. Boxed: measured calls allocate once, and the bodies of all others grow by
    /// one pointer.
    call: Option<Box<MeasuredCall>>,
}

#[derive(Debug)]
struct MeasuredCall {
    started: Instant,
    bytes: Option<u64>,
    in_flight: usize,
    /// When the head of a successful response arrived, or its end.
    answered: Option<Instant>,
}

impl Permit {
    /// The permit of a disabled layer.
    pub(crate) const fn unlimited() -> Self {
        Self { limit: None, call: None }
    }

    /// Wraps a permit that was acquired from the semaphore of `limit`, and starts the measurement of a call
    /// with this request body. A fixed limit reads neither the clock nor the body.
    #[inline]
    pub(super) fn start(limit: Handle, body: &impl Body) -> Self {
        if limit.0.is_adaptive() {
            Self::start_queued(limit, body)
        } else {
            Self { limit: Some(limit), call: None }
        }
    }

    /// Wraps the permit of a call that was queued, and starts its measurement, also under a fixed limit.
    pub(super) fn start_queued(limit: Handle, body: &impl Body) -> Self {
        if limit.0.settings().hooks.ignores_responses {
            return Self { limit: Some(limit), call: None };
        }
        let (bytes, in_flight) = (body.size_hint().exact(), limit.0.semaphore.in_use());
        let call = Box::new(MeasuredCall { started: clock::now(), bytes, in_flight, answered: None });
        Self { limit: Some(limit), call: Some(call) }
    }

    /// Restarts the measurement of a call that has waited at another gate since: the wait is no time of the
    /// provider.
    pub(crate) fn restart(&mut self) {
        if let Some(call) = &mut self.call {
            call.started = clock::now();
        }
    }

    /// The time that answers take; zero if it is unknown.
    pub(crate) fn answer_time(&self) -> Duration {
        self.limit.as_ref().map_or(Duration::ZERO, |limit| limit.0.answer_time(clock::now()))
    }

    /// Whether the attempt ended at the deadline of its call before its head, and had less time until then
    /// than heads take.
    pub(crate) fn had_too_little_time(&self, error: &Error) -> bool {
        let Some(limit) = &self.limit else { return false };
        let elapsed = error.downcast_ref::<Elapsed>().filter(|elapsed| elapsed.clock() == Clock::Deadline);
        elapsed.is_some_and(|elapsed| elapsed.limit() < limit.0.head_time(clock::now()))
    }

    /// Records the outcome at the response head, or of the error in its place.
    fn record_head(&mut self, outcome: &Outcome) {
        let Some(call) = &mut self.call else { return };
        match outcome {
            // The body may still fail, so the measurements are kept.
            Outcome::Success => {
                let now = clock::now();
                call.answered = Some(now);
                let (bytes, time) = (call.bytes, now.saturating_duration_since(call.started));
                if let Some(limit) = &self.limit {
                    limit.0.record_answer(AnswerTime::Head(time), now);
                }
                self.record(SampleOutcome::Success { bytes });
            }
            Outcome::Failure(failure) => {
                self.record_cut(failure.code);
                if is_overload(failure) {
                    self.record(SampleOutcome::Loss);
                }
                self.call = None;
            }
            Outcome::Neutral => self.call = None,
        }
    }

    /// Records the time of an answer that was not awaited to its end.
    fn record_cut(&self, code: ErrorCode) {
        if let (Some(limit), Some(call), ErrorCode::Timeout) = (&self.limit, &self.call, code) {
            let now = clock::now();
            let time = now.saturating_duration_since(call.started);
            limit.0.record_answer(AnswerTime::CutOff(time), now);
        }
    }

    fn record(&self, outcome: SampleOutcome) {
        let (Some(handle), Some(call)) = (&self.limit, &self.call) else { return };
        let sample = Sample { started: call.started, in_flight: call.in_flight, outcome };
        if let Some(limit) = handle.0.record(sample, clock::now()) {
            handle.emit_limit(limit);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(limit) = &self.limit else { return };
        // A body that the caller drops took at least as long as its head.
        if let Some(MeasuredCall { started, answered: Some(end), .. }) = self.call.as_deref() {
            let time = end.saturating_duration_since(*started);
            limit.0.record_answer(AnswerTime::Whole(time), *end);
            if limit.0.is_adaptive() {
                let now = clock::now();
                limit.0.record_served(now.saturating_duration_since(*started), now);
            }
        }
        limit.0.semaphore.release();
    }
}

impl AttemptGuard for Permit {
    type Body = Self;

    fn on_head(mut self, _: ResponseHead<'_>, outcome: &Outcome) -> Self {
        self.record_head(outcome);
        self
    }

    fn on_error(mut self, error: &Error, outcome: &Outcome) {
        if self.had_too_little_time(error) {
            self.record_cut(ErrorCode::Timeout);
            self.call = None;
        }
        self.record_head(outcome);
    }
}

/// Dropping the permit releases it; the time of a whole response is recorded, and one that breaks off as a
/// loss as well.
impl BodyGuard for Permit {
    fn on_end(mut self, failure: Option<&Outcome>) {
        let Some(call) = &mut self.call else { return };
        match failure {
            // The answer has taken until now.
            None => call.answered = Some(clock::now()),
            Some(failure) => {
                call.answered = None;
                if let Outcome::Failure(failure) = failure {
                    self.record_cut(failure.code);
                    if is_overload(failure) || failure.counts_against_health() {
                        self.record(SampleOutcome::Loss);
                    }
                }
            }
        }
    }
}

/// Whether a failure indicates overload by too many calls at once. A 500 does not, because it is independent
/// of the load. A request that the provider did not process indicates nothing.
fn is_overload(failure: &Failure) -> bool {
    !failure.is_neutral()
        && matches!(failure.code, ErrorCode::RateLimited | ErrorCode::Overloaded | ErrorCode::Timeout)
}
