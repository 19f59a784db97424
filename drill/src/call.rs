//! The calls of a scenario, drawn before it starts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use tidegate::Tenant;

use crate::arrivals::arrivals;
use crate::random::generator;
use crate::scenario::{ProviderApi, Scenario};

/// The number of the call, which every attempt carries.
pub(crate) const CALL: &str = "x-drill-call";

/// The size of the answer that the provider generates, in tokens.
pub(crate) const OUTPUT: &str = "x-drill-output";

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct CallPlan {
    pub(crate) number: u32,
    pub(crate) tenant: Arc<str>,
    pub(crate) at: Duration,
    pub(crate) patience: Duration,
    /// After which time the caller leaves, if it does.
    pub(crate) leave_after: Option<Duration>,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
    pub(crate) max_tokens: u32,
    pub(crate) is_stream: bool,
}

/// All calls of a scenario, in the order of their arrival.
pub(crate) fn calls(scenario: &Scenario, seed: u64) -> Vec<CallPlan> {
    let mut calls = Vec::new();
    for (group, callers) in scenario.callers.iter().enumerate() {
        let tenant: Arc<str> = (&*callers.tenant).into();
        let random = &mut generator(seed, &[0, group as u64]);
        for at in arrivals(callers, scenario.duration, random) {
            calls.push(CallPlan {
                number: 0,
                tenant: Arc::clone(&tenant),
                at,
                patience: callers.patience.0,
                leave_after: (random.f64() < callers.leave).then(|| callers.leave_after.draw(random)),
                prompt: callers.prompt_tokens.draw(random),
                output: callers.output_tokens.draw(random),
                max_tokens: callers.max_tokens.unwrap_or(callers.output_tokens.to),
                is_stream: random.f64() < callers.streams,
            });
        }
    }
    calls.sort_by_key(|call| call.at);
    for (number, call) in calls.iter_mut().enumerate() {
        call.number = number as u32;
    }
    calls
}

impl CallPlan {
    /// The request to the provider at `authority`.
    pub(crate) fn request(&self, authority: &str, dialect: ProviderApi) -> Request<Bytes> {
        let path = match dialect {
            ProviderApi::Anthropic => "messages",
            ProviderApi::Openai | ProviderApi::Deepseek | ProviderApi::Mistral => "chat/completions",
        };
        let mut request = Request::new(Bytes::from(self.body(dialect)));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = format!("http://{authority}/v1/{path}").parse().expect("a name and a path");
        request.extensions_mut().insert(Tenant(Arc::clone(&self.tenant)));
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-tenant", HeaderValue::from_str(&self.tenant).expect("checked with the scenario"));
        headers.insert(CALL, HeaderValue::from(self.number));
        headers.insert(OUTPUT, HeaderValue::from(self.output));
        request
    }

    /// A body of as many tokens as the prompt has, by four bytes each.
    fn body(&self, dialect: ProviderApi) -> String {
        let Self { max_tokens, is_stream, .. } = self;
        let usage = match dialect {
            ProviderApi::Openai if *is_stream => r#","stream_options":{"include_usage":true}"#,
            _ => "",
        };
        let text = "word".repeat(self.prompt.saturating_sub(ENVELOPE) as usize);
        format!(
            r#"{{"model":"m","max_tokens":{max_tokens},"stream":{is_stream}{usage},"messages":[{{"role":"user","content":"{text}"}}]}}"#
        )
    }
}

/// The tokens of a request beside its text.
const ENVELOPE: u32 = 25;
