use std::time::Instant;

use http_body::Body;

use super::Handle;
use super::adaptive::{Sample, SampleOutcome};
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::{Error, ErrorCode, Failure, FailureKind, Outcome, clock};

/// A permit for one call in flight, which is released on drop.
#[derive(Debug)]
pub struct Permit {
    /// The limit that the permit belongs to; `None` if there is no limit.
    limit: Option<Handle>,
    /// The measurements for an adaptive limit; `None` under a fixed limit, or once the outcome is final.
    /// Boxed: calls under an adaptive limit allocate once, and the bodies of all others grow by one pointer.
    call: Option<Box<AdaptiveCall>>,
}

#[derive(Debug)]
struct AdaptiveCall {
    started: Instant,
    bytes: Option<u64>,
    in_flight: usize,
}

impl Permit {
    /// The permit of a disabled layer.
    pub(crate) const fn unlimited() -> Self {
        Self { limit: None, call: None }
    }

    /// Wraps a permit that was acquired from the semaphore of `limit`, and starts the measurement of a call with this
    /// request body. A fixed limit reads neither the clock nor the body.
    #[inline]
    pub(super) fn start(limit: Handle, body: &impl Body) -> Self {
        let call = limit.0.is_adaptive().then(|| {
            let (bytes, in_flight) = (body.size_hint().exact(), limit.0.semaphore.in_use());
            Box::new(AdaptiveCall { started: clock::now(), bytes, in_flight })
        });
        Self { limit: Some(limit), call }
    }

    /// Records the outcome at the response head, or of the error in its place.
    fn record_head(&mut self, outcome: &Outcome) {
        let Some(call) = &self.call else { return };
        match outcome {
            // The body may still fail, so the measurements are kept.
            Outcome::Success => self.record(SampleOutcome::Success { bytes: call.bytes }),
            Outcome::Failure(failure) => {
                if is_overload(failure) {
                    self.record(SampleOutcome::Loss);
                }
                self.call = None;
            }
            Outcome::Neutral => self.call = None,
        }
    }

    fn record(&self, outcome: SampleOutcome) {
        let (Some(handle), Some(call)) = (&self.limit, &self.call) else { return };
        let sample = Sample { started: call.started, in_flight: call.in_flight, outcome };
        if let Some(limit) = handle.0.record(sample, clock::now()) {
            handle.log_limit(limit);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.0.semaphore.release();
        }
    }
}

impl AttemptGuard for Permit {
    type Body = Self;

    fn on_head(mut self, _: ResponseHead<'_>, outcome: &Outcome) -> Self {
        self.record_head(outcome);
        self
    }

    fn on_error(mut self, _: &Error, outcome: &Outcome) {
        self.record_head(outcome);
    }
}

/// Dropping the permit releases it; a response that breaks off is recorded as a loss as well.
impl BodyGuard for Permit {
    fn on_end(self, failure: Option<&Outcome>) {
        if self.call.is_some()
            && let Some(Outcome::Failure(failure)) = failure
            && (is_overload(failure) || failure.counts_against_health())
        {
            self.record(SampleOutcome::Loss);
        }
    }
}

/// Whether a failure indicates overload by too many calls at once. A 500 does not, because it is independent
/// of the load. A request that the provider did not process indicates nothing.
fn is_overload(failure: &Failure) -> bool {
    failure.kind != FailureKind::NotProcessed
        && matches!(failure.code, ErrorCode::RateLimited | ErrorCode::Overloaded | ErrorCode::Timeout)
}
