use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, StatusCode, Uri};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tidegate::hedge::HedgeUsage;
use tidegate::provider::{UsageMeter, UsageTotals};
use tidegate::{ErrorCode, Trail};

use super::attempt_end::{SpanResult, attempt_ends};
use super::attempt_span::{AttemptSpan, operation, set_usage};
use crate::call_trace::CallTrace;
use crate::calls::CallRecord;
use crate::sync::lock;

/// The span of a call and those of its attempts, which all end with the call.
#[derive(Debug)]
pub(super) struct CallSpans {
    tracer: SdkTracer,
    /// The parent of the attempts.
    context: SpanContext,
    path: &'static str,
    /// `None` once the call has ended.
    open: Mutex<Option<OpenSpans>>,
}

#[derive(Debug)]
struct OpenSpans {
    call: Span,
    attempts: Vec<AttemptSpan>,
    /// The meter of the call, once an attempt has begun.
    meter: Option<UsageMeter>,
}

impl OpenSpans {
    /// The tokens of the call, without those of its hedges.
    fn used_without_hedges(&self) -> UsageTotals {
        let mut used = self.meter.as_ref().map(UsageMeter::read).unwrap_or_default();
        for hedge in self.attempts.iter().filter_map(AttemptSpan::hedge_usage) {
            used.input = used.input.saturating_sub(hedge.input);
            used.output = used.output.saturating_sub(hedge.output);
            used.uncounted = used.uncounted.saturating_sub(hedge.uncounted);
            used.cache_read = used.cache_read.saturating_sub(hedge.cache_read);
            used.cache_written = used.cache_written.saturating_sub(hedge.cache_written);
        }
        used
    }
}

impl CallSpans {
    /// Begins the span of a call, below that of the caller if it has sent one.
    pub(super) fn begin(tracer: &SdkTracer, path: &'static str, headers: &HeaderMap) -> Self {
        let extractor = HeaderExtractor(headers);
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &extractor);
        let attributes = [KeyValue::new("http.request.method", "POST"), KeyValue::new("http.route", path)];
        let mut call = tracer
            .span_builder(format!("POST {path}"))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(tracer, &parent);
        if let Some(operation) = operation(path) {
            call.set_attribute(KeyValue::new("gen_ai.operation.name", operation));
        }
        Self {
            tracer: tracer.clone(),
            context: call.span_context().clone(),
            path,
            open: Mutex::new(Some(OpenSpans { call, attempts: Vec::new(), meter: None })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OpenSpans>> {
        lock(&self.open)
    }
}

impl CallTrace for CallSpans {
    fn set_model(&self, model: &str) {
        if let Some(spans) = &mut *self.lock() {
            spans.call.set_attribute(KeyValue::new("gen_ai.request.model", model.to_owned()));
        }
    }

    fn begin_attempt(
        &self,
        uri: &Uri,
        headers: &mut HeaderMap,
        trail: &Trail,
        meter: &UsageMeter,
        hedge: Option<&HedgeUsage>,
    ) -> Option<usize> {
        let mut open = self.lock();
        let spans = open.as_mut().filter(|spans| spans.attempts.len() < Trail::MAX_STEPS)?;
        let index = spans.attempts.len();
        let parent = Context::new().with_remote_span_context(self.context.clone());
        let used = match hedge {
            Some(_) => UsageTotals::default(),
            None => {
                spans.meter.get_or_insert_with(|| meter.clone());
                spans.used_without_hedges()
            }
        };
        let usage = (used, hedge.cloned());
        let attempt = AttemptSpan::begin(&self.tracer, &parent, self.path, (uri, trail), usage);
        inject(attempt.context(), headers);
        spans.attempts.push(attempt);
        Some(index)
    }

    fn set_attempt_status(&self, attempt: usize, status: StatusCode) {
        if let Some(attempt) = self.lock().as_mut().and_then(|spans| spans.attempts.get_mut(attempt)) {
            attempt.set_status(status);
        }
    }

    fn end(&self, record: &CallRecord, body_failure: Option<ErrorCode>) {
        let Some(spans) = self.lock().take() else { return };
        let now = SystemTime::now();
        let used_without_hedges = spans.used_without_hedges();
        let OpenSpans { mut call, attempts, meter } = spans;
        let used = meter.map(|meter| meter.read()).unwrap_or_default();
        let starts: Vec<_> = attempts.iter().map(AttemptSpan::start).collect();
        let origins: Vec<_> = starts.iter().map(|start| start.origin).collect();
        let ends = attempt_ends(&origins, &record.trail().steps());
        for (index, (attempt, end)) in attempts.into_iter().zip(ends).enumerate() {
            let used = attempt.hedge_usage().unwrap_or_else(|| {
                let next = starts.iter().skip(index + 1).find(|start| !start.is_hedge);
                next.map_or(used_without_hedges, |next| next.used)
            });
            let next = end.next.and_then(|next| starts.get(next)).map(|next| next.at);
            let (code, at) = match end.result {
                Some(SpanResult::Failed { code, at }) => (Some(code), at),
                // The attempt lasted to the next one, or to the end of the call.
                Some(SpanResult::Succeeded) => (body_failure.filter(|_| next.is_none()), next.unwrap_or(now)),
                // The attempt was dropped before its result.
                None => {
                    let code = body_failure.filter(|_| next.is_none());
                    (Some(code.unwrap_or(ErrorCode::Cancelled)), next.unwrap_or(now))
                }
            };
            attempt.end(code, used, at);
        }
        set_usage(&mut call, Default::default(), used);
        end_call(call, record, now);
    }
}

/// Sets the outcome of a call, and ends its span.
fn end_call(mut call: Span, record: &CallRecord, now: SystemTime) {
    let summary = record.summary();
    let optional = [
        ("tidegate.route", summary.route.as_deref()),
        ("tidegate.caller", summary.caller),
        ("tidegate.target", summary.target.as_deref()),
        ("tidegate.end", summary.end.map(|end| end.name())),
        ("error.type", summary.code.map(ErrorCode::code)),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned())));
    call.set_attributes(optional.map(|(name, value)| KeyValue::new(name, value)));
    call.set_attribute(KeyValue::new("tidegate.call", summary.id.to_owned()));
    call.set_attribute(KeyValue::new("tidegate.attempts", i64::from(record.trail().attempts())));
    if let Some(status) = summary.status {
        call.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    // An error of the caller is none of the server.
    let is_of_server = summary.status.is_none_or(|status| !(400..500).contains(&status));
    if let Some(code) = summary.code.filter(|_| is_of_server) {
        call.set_status(Status::error(code.name()));
    }
    call.end_with_timestamp(now);
}

/// Makes the span the parent of those of the provider.
fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let context = Context::new().with_remote_span_context(context.clone());
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    // The standard has no empty state.
    let state = HeaderName::from_static("tracestate");
    if headers.get(&state).is_some_and(|value| value.is_empty()) {
        headers.remove(state);
    }
}
