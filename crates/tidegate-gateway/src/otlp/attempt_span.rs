use std::time::SystemTime;

use http::{StatusCode, Uri};
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tidegate::provider::{Step, UsageTotals, Verdict};
use tidegate::{ErrorCode, Trail};

use crate::endpoint::Endpoint;

/// The span of an attempt, until the call has ended. Its outcome is then in the trail.
#[derive(Debug)]
pub(super) struct AttemptSpan {
    span: Span,
    start: AttemptStart,
}

/// The state of a call when an attempt begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptStart {
    pub(super) at: SystemTime,
    /// The number of steps of the trail.
    pub(super) steps: usize,
    /// The tokens of the attempts before.
    pub(super) used: UsageTotals,
}

impl AttemptSpan {
    pub(super) fn begin(
        tracer: &SdkTracer,
        parent: &Context,
        path: &str,
        (uri, trail): (&Uri, &Trail),
        used: UsageTotals,
    ) -> Self {
        let target = trail.target();
        let (provider, model) = target.as_deref().and_then(|name| name.split_once('/')).unwrap_or_default();
        let steps = trail.steps().len();
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
        Self { span, start: AttemptStart { at, steps, used } }
    }

    pub(super) fn context(&self) -> &SpanContext {
        self.span.span_context()
    }

    pub(super) const fn start(&self) -> AttemptStart {
        self.start
    }

    pub(super) fn set_status(&mut self, status: StatusCode) {
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }

    /// Ends the span. `steps` are those of the call, the last of this attempt is before `last_step`; `used` are the tokens
    /// of the call up to the next attempt, which begins at `next`, or up to the end of the call. `body_failure` is in what
    /// its body ended.
    pub(super) fn end(
        mut self,
        steps: &[Step],
        last_step: usize,
        used: UsageTotals,
        next: SystemTime,
        body_failure: Option<ErrorCode>,
    ) {
        let own = steps.get(self.start.steps..last_step).unwrap_or_default();
        let verdict = own.iter().find(|step| matches!(step.verdict, Verdict::Succeeded | Verdict::Failed(_)));
        let broken = own.iter().find_map(|step| match step.verdict {
            Verdict::Continued { because, .. } => Some((because.unwrap_or(ErrorCode::Unknown), step.at)),
            _ => None,
        });
        let (code, at) = match (verdict.map(|step| (&step.verdict, step.at)), broken) {
            (Some((Verdict::Failed(code), at)), _) => (Some(*code), at),
            (_, Some((code, at))) => (Some(code), at),
            (Some(_), None) => (body_failure, next),
            // It was dropped before its result.
            (None, None) => (Some(body_failure.unwrap_or(ErrorCode::Cancelled)), next),
        };
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
    let tokens = [
        ("gen_ai.usage.input_tokens", after.input.saturating_sub(before.input)),
        ("gen_ai.usage.output_tokens", after.output.saturating_sub(before.output)),
    ];
    for (name, tokens) in tokens.into_iter().filter(|(_, tokens)| *tokens > 0) {
        span.set_attribute(KeyValue::new(name, i64::try_from(tokens).unwrap_or(i64::MAX)));
    }
}
