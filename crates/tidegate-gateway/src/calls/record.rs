use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use serde::Serialize;
use tidegate::provider::{Step, StreamOutcome, UsageMeter};
use tidegate::{Error, ErrorCode, Outcome, Trail};

use super::call_end::CallEnd;
use crate::call_trace::{CallTrace, TracedCall};
use crate::proxy::shortened;
use crate::sync::lock;
use crate::times::{as_millis, rfc3339};

/// What is known about one call, while it is in flight and afterwards.
#[derive(Debug)]
pub(crate) struct CallRecord {
    pub(crate) number: u64,
    pub(super) id: String,
    pub(super) path: &'static str,
    caller: Option<Arc<str>>,
    started: SystemTime,
    begun: Instant,
    trail: Trail,
    trace: Option<Arc<dyn CallTrace>>,
    /// The bytes of the response so far.
    pub(super) bytes: AtomicU64,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The `model` of the route.
    route: Option<Arc<str>>,
    meter: Option<UsageMeter>,
    stream_outcome: Option<StreamOutcome>,
    status: Option<u16>,
    code: Option<ErrorCode>,
    head_ms: Option<u64>,
    /// The failure of the body, once it is known.
    failure: Option<(CallEnd, ErrorCode)>,
    end: Option<CallEnd>,
    total_ms: Option<u64>,
}

/// What changes in a record, except for the bytes of the response. Two equal values mean that nothing has
/// happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallProgress {
    is_routed: bool,
    status: Option<u16>,
    pub(crate) end: Option<CallEnd>,
    steps: usize,
}

/// A record as `/calls` shows it.
#[derive(Debug, Serialize)]
pub(super) struct CallReport<'a> {
    #[serde(flatten)]
    summary: CallSummary<'a>,
    trail: &'a Trail,
}

/// The same without the trail.
#[derive(Debug, Serialize)]
pub(crate) struct CallSummary<'a> {
    pub(crate) id: &'a str,
    pub(crate) path: &'static str,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) caller: Option<&'a str>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) started: SystemTime,
    pub(crate) target: Option<Arc<str>>,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<ErrorCode>,
    pub(crate) head_ms: Option<u64>,
    pub(crate) total_ms: Option<u64>,
    /// `None` while the call is in flight.
    pub(crate) end: Option<CallEnd>,
    pub(crate) bytes: u64,
    tokens: Option<Tokens>,
}

/// The tokens of all attempts of a call.
#[derive(Debug, Serialize)]
struct Tokens {
    /// `None` if no provider has reported them.
    input: Option<u64>,
    output: u64,
    /// Of the prompts, those that the providers read from their caches, and those that they wrote there.
    cache_read: u64,
    cache_written: u64,
    /// Attempts with unknown output.
    unknown_attempts: u32,
}

impl CallRecord {
    pub(super) fn new(
        number: u64,
        id: String,
        path: &'static str,
        caller: Option<Arc<str>>,
        trace: Option<Arc<dyn CallTrace>>,
    ) -> Self {
        Self {
            number,
            id,
            path,
            caller,
            started: SystemTime::now(),
            begun: Instant::now(),
            trail: Trail::new(),
            trace,
            bytes: AtomicU64::new(0),
            progress: Mutex::default(),
        }
    }

    pub(crate) const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Sets the route, by its `model`, and the model of the request.
    pub(crate) fn set_route(&self, route: &Arc<str>, model: &str) {
        self.lock().route = Some(Arc::clone(route));
        if let Some(trace) = &self.trace {
            trace.set_model(&shortened(model));
        }
    }

    /// The trace, for the requests of the attempts of this call. `meter` counts their tokens.
    pub(crate) fn traced(&self, meter: &UsageMeter) -> Option<TracedCall> {
        let trace = Arc::clone(self.trace.as_ref()?);
        Some(TracedCall { trace, trail: self.trail.clone(), meter: meter.clone() })
    }

    /// Ends the trace, if there is one. The end of the call is set.
    pub(super) fn end_trace(&self) {
        let body_failure = self.lock().failure.map(|(_, code)| code);
        if let Some(trace) = &self.trace {
            trace.end(self, body_failure);
        }
    }

    /// Sets the meter of the tokens of all attempts.
    pub(crate) fn set_meter(&self, meter: UsageMeter) {
        self.lock().meter = Some(meter);
    }

    /// Sets the outcome of the stream that is the response, if it is one.
    pub(crate) fn set_stream_outcome(&self, outcome: Option<StreamOutcome>) {
        self.lock().stream_outcome = outcome;
    }

    /// Sets the error in which the body of the response ends.
    pub(crate) fn fail(&self, error: &Error) {
        self.lock().failure.get_or_insert_with(|| CallEnd::of_error(error));
    }

    /// Sets the head of the response, and returns the milliseconds until then.
    pub(super) fn set_head(&self, status: u16, code: Option<ErrorCode>) -> u64 {
        let head_ms = as_millis(self.begun.elapsed());
        let mut progress = self.lock();
        (progress.status, progress.code, progress.head_ms) = (Some(status), code, Some(head_ms));
        head_ms
    }

    /// Sets how the call ended, if it has not ended before, and returns that. `end` is what the caller
    /// observes; a failure of the provider's body comes first.
    pub(super) fn set_end(&self, end: CallEnd) -> Option<CallEnd> {
        let mut progress = self.lock();
        if progress.end.is_some() {
            return None;
        }
        let outcome = progress.stream_outcome.take().and_then(|stream| stream.outcome().cloned());
        if let Some(Outcome::Failure(failure)) = &outcome {
            progress.failure.get_or_insert((CallEnd::of_failure(failure), failure.code));
        }
        let end = match (progress.failure, outcome) {
            (Some((failed, _)), _) => failed,
            (None, Some(Outcome::Success)) => CallEnd::Finished,
            (None, _) => end,
        };
        (progress.end, progress.total_ms) = (Some(end), Some(as_millis(self.begun.elapsed())));
        Some(end)
    }

    pub(super) fn code(&self) -> Option<ErrorCode> {
        let progress = self.lock();
        progress.code.or(progress.failure.map(|(_, code)| code))
    }

    /// How far the call has got: whether its route is known, the status, the end, and the number of steps of
    /// its trail.
    pub(crate) fn progress(&self) -> CallProgress {
        let steps = self.trail.steps().len();
        let progress = self.lock();
        CallProgress {
            is_routed: progress.route.is_some(),
            status: progress.status,
            end: progress.end,
            steps,
        }
    }

    /// The bytes of memory that the record occupies, approximately.
    pub(super) fn size(&self) -> usize {
        mem::size_of::<Self>() + self.id.len() + self.trail.steps().len() * mem::size_of::<Step>()
    }

    pub(super) fn report(&self) -> CallReport<'_> {
        CallReport { summary: self.summary(), trail: &self.trail }
    }

    pub(crate) fn summary(&self) -> CallSummary<'_> {
        let code = self.code();
        let progress = self.lock();
        let used = progress.meter.as_ref().map(UsageMeter::read).filter(|used| used.attempts > 0);
        CallSummary {
            id: &self.id,
            path: self.path,
            route: progress.route.clone(),
            caller: self.caller.as_deref(),
            started: self.started,
            target: self.trail.target(),
            status: progress.status,
            code,
            head_ms: progress.head_ms,
            total_ms: progress.total_ms,
            end: progress.end,
            bytes: self.bytes.load(Ordering::Relaxed),
            tokens: used.map(|used| Tokens {
                input: (used.input > 0).then_some(used.input),
                output: used.output,
                cache_read: used.cache_read,
                cache_written: used.cache_written,
                unknown_attempts: used.unknown,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }
}
