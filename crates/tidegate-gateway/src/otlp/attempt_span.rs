use std::time::SystemTime;

use http::{StatusCode, Uri};
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tidegate::hedge::HedgeUsage;
use tidegate::provider::UsageTotals;
use tidegate::{ErrorCode, Trail};

use super::attempt_end::AttemptOrigin;
use crate::endpoint::Endpoint;

/// The span of an attempt, until the call has ended. Its outcome is then in the trail.
#[derive(Debug)]
pub(super) struct AttemptSpan {
    span: Span,
    start: AttemptStart,
    /// The tokens of a hedge, which are not in order with those of the other attempts.
    hedge: Option<HedgeUsage>,
}

/// The state of a call when an attempt begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptStart {
    pub(super) at: SystemTime,
    pub(super) origin: AttemptOrigin,
    pub(super) is_hedge: bool,
    /// The tokens of the attempts before, without hedges; none for a hedge.
    pub(super) used: UsageTotals,
}

impl AttemptSpan {
    pub(super) fn begin(
        tracer: &SdkTracer,
        parent: &Context,
        path: &str,
        (uri, trail): (&Uri, &Trail),
        (used, hedge): (UsageTotals, Option<HedgeUsage>),
    ) -> Self {
        let target = trail.target();
        let (provider, model) = target.as_deref().and_then(|name| name.split_once('/')).unwrap_or_default();
        let operation = operation(path).unwrap_or("count_tokens");
        let at = SystemTime::now();
        let mut attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", provider.to_owned()),
            KeyValue::new("gen_ai.request.model", model.to_owned()),
        ];
        if let Some(host) = uri.host() {
            attributes.push(KeyValue::new("server.address", host.to_owned()));
        }
        if let Some(port) = uri.port_u16() {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
        let span = tracer
            .span_builder(format!("{operation} {model}"))
            .with_kind(SpanKind::Client)
            .with_start_time(at)
            .with_attributes(attributes)
            .start_with_context(tracer, parent);
        Self {
            span,
            start: AttemptStart { at, origin: AttemptOrigin::of(trail), is_hedge: hedge.is_some(), used },
            hedge,
        }
    }

    pub(super) fn context(&self) -> &SpanContext {
        self.span.span_context()
    }

    /// The tokens of the attempt, if it is a hedge.
    pub(super) fn hedge_usage(&self) -> Option<UsageTotals> {
        self.hedge.as_ref().map(HedgeUsage::read)
    }

    pub(super) const fn start(&self) -> AttemptStart {
        self.start
    }

    pub(super) fn set_status(&mut self, status: StatusCode) {
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }

    /// Ends the span at this time, in the failure with this code, if it was one. `used` are the tokens of the
    /// hedge, or those of the call without hedges up to the end of the attempt.
    pub(super) fn end(mut self, code: Option<ErrorCode>, used: UsageTotals, at: SystemTime) {
        if let Some(code) = code {
            self.span.set_attribute(KeyValue::new("error.type", code.code()));
            self.span.set_status(Status::error(code.name()));
        }
        set_usage(&mut self.span, self.start.used, used);
        self.span.end_with_timestamp(at);
    }
}

/// The name of the operation at a path of the gateway, if there is a common one.
pub(super) fn operation(path: &str) -> Option<&'static str> {
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)?;
    Some(match endpoint {
        Endpoint::Embeddings => "embeddings",
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
    })
}

/// Sets the tokens that were used between two readings, if there are any.
pub(super) fn set_usage(span: &mut Span, before: UsageTotals, after: UsageTotals) {
    let all_input = |used: UsageTotals| used.input.saturating_add(used.uncounted);
    let tokens = [
        ("gen_ai.usage.input_tokens", all_input(after).saturating_sub(all_input(before))),
        ("gen_ai.usage.output_tokens", after.output.saturating_sub(before.output)),
        ("gen_ai.usage.cache_read.input_tokens", after.cache_read.saturating_sub(before.cache_read)),
        (
            "gen_ai.usage.cache_creation.input_tokens",
            after.cache_written.saturating_sub(before.cache_written),
        ),
    ];
    for (name, tokens) in tokens.into_iter().filter(|(_, tokens)| *tokens > 0) {
        span.set_attribute(KeyValue::new(name, i64::try_from(tokens).unwrap_or(i64::MAX)));
    }
}
