use std::sync::Arc;
use std::time::Instant;

use http_body::Body;

use super::Handle;
use super::adaptive::{Sample, SampleOutcome};
use super::bulkhead::Bulkhead;
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::{Error, ErrorCode, Outcome, clock};

/// A permit for one call in flight, which is released on drop.
#[derive(Debug)]
pub struct Permit {
    bulkhead: Option<Arc<Bulkhead>>,
    /// The measurements for an adaptive limit; `None` under a fixed limit, or once the outcome is final.
    /// Boxed: calls under an adaptive limit allocate once, and the bodies of all others grow by one pointer.
    call: Option<Box<AdaptiveCall>>,
}

#[derive(Debug)]
struct AdaptiveCall {
    handle: Handle,
    started: Instant,
    bytes: Option<u64>,
    in_flight: usize,
}

impl Permit {
    /// The permit of a disabled layer.
    pub(super) const fn unlimited() -> Self {
        Self { bulkhead: None, call: None }
    }

    /// Wraps a permit that has been acquired from the bulkhead's semaphore.
    pub(super) const fn holding(bulkhead: Arc<Bulkhead>) -> Self {
        Self { bulkhead: Some(bulkhead), call: None }
    }

    /// Starts the measurement of a call with this request body. A fixed limit reads neither the clock nor the
    /// body.
    #[inline]
    pub(super) fn start(&mut self, handle: &Handle, body: &impl Body) {
        if let Some(bulkhead) = &self.bulkhead
            && bulkhead.is_adaptive()
        {
            self.call = Some(Box::new(AdaptiveCall {
                handle: handle.clone(),
                started: clock::now(),
                bytes: body.size_hint().exact(),
                in_flight: bulkhead.semaphore.in_use(),
            }));
        }
    }

    /// Records the outcome at the response head, or of the error in its place.
    fn record_head(&mut self, outcome: &Outcome) {
        let Some(call) = &self.call else { return };
        match outcome {
            // The body may still fail, so the measurements are kept.
            Outcome::Success => self.record(SampleOutcome::Success { bytes: call.bytes }),
            Outcome::Failure(failure) => {
                if is_overload(failure.code) {
                    self.record(SampleOutcome::Loss);
                }
                self.call = None;
            }
            Outcome::Neutral => self.call = None,
        }
    }

    fn record(&self, outcome: SampleOutcome) {
        let (Some(bulkhead), Some(call)) = (&self.bulkhead, &self.call) else { return };
        let sample = Sample { started: call.started, in_flight: call.in_flight, outcome };
        if let Some(limit) = bulkhead.record(sample, clock::now()) {
            call.handle.log_limit(limit);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(bulkhead) = &self.bulkhead {
            bulkhead.semaphore.release();
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
            && (is_overload(failure.code) || failure.code.counts_against_health())
        {
            self.record(SampleOutcome::Loss);
        }
    }
}

/// Whether a failure indicates overload by too many calls at once. A 500 does not, because it is independent
/// of the load.
fn is_overload(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::RateLimited | ErrorCode::Overloaded | ErrorCode::Timeout)
}
