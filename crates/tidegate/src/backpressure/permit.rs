use std::sync::Arc;
use std::time::Instant;

use http_body::Body;

use super::Handle;
use super::adaptive::{Sample, SampleOutcome};
use super::bulkhead::Bulkhead;
use crate::guarded_body::BodyGuard;
use crate::{BoxError, ErrorCode, Outcome, clock};

/// One of the calls in flight; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    bulkhead: Option<Arc<Bulkhead>>,
    /// What an adaptive limit will want to know; nothing under a fixed one, or once all is said. Boxed: an
    /// allocation for a call under an adaptive limit, and a pointer in the bodies of all others.
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
    /// Where there is no limit.
    pub(super) const fn unlimited() -> Self {
        Self { bulkhead: None, call: None }
    }

    /// Of a slot that has been taken.
    pub(super) const fn holding(bulkhead: Arc<Bulkhead>) -> Self {
        Self { bulkhead: Some(bulkhead), call: None }
    }

    /// The call begins, with this body. A fixed limit asks neither the clock nor the body.
    #[inline]
    pub(super) fn begin(&mut self, handle: &Handle, body: &impl Body) {
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

    /// The head of the answer is here, or an error in its place.
    #[inline]
    pub(super) fn on_head(&mut self, outcome: impl FnOnce() -> Outcome) {
        let Some(call) = &self.call else { return };
        match outcome() {
            // A body may still end badly: the call is kept for it.
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

/// The permit is given back by being dropped; an answer that breaks off is a loss besides.
impl BodyGuard for Permit {
    fn on_end(self, end: Result<(), &BoxError>) {
        if let Err(error) = end
            && self.call.is_some()
            && let Outcome::Failure(failure) = Outcome::of_error(&**error)
            && (is_overload(failure.code) || failure.code.counts_against_health())
        {
            self.record(SampleOutcome::Loss);
        }
    }
}

/// Whether a refusal says that we ask for too much at once. A 500 does not: it fails for whoever asks.
fn is_overload(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::RateLimited | ErrorCode::Overloaded | ErrorCode::Timeout)
}
