//! The calls of a scenario, drawn before it starts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use tidegate::Tenant;
use tidegate::config::ConfigError;

use crate::arrivals::arrivals;
use crate::random::generator;
use crate::scenario::{DrawnWork, ProviderApi, Scenario};

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
///
/// # Errors
///
/// With this seed they are too many, or too large.
pub(crate) fn calls(scenario: &Scenario, seed: u64) -> Result<Vec<CallPlan>, ConfigError> {
    let (mut calls, mut work) = (Vec::new(), DrawnWork::default());
    for (group, callers) in scenario.callers.iter().enumerate() {
        let tenant: Arc<str> = (&*callers.tenant).into();
        let random = &mut generator(seed, &[0, group as u64]);
        for at in arrivals(callers, scenario.duration, random) {
            let call = CallPlan {
                number: 0,
                tenant: Arc::clone(&tenant),
                at,
                patience: callers.patience.0,
                leave_after: (random.f64() < callers.leave).then(|| callers.leave_after.draw(random)),
                prompt: callers.prompt_tokens.draw(random),
                output: callers.output_tokens.draw(random),
                max_tokens: callers.max_tokens.unwrap_or(callers.output_tokens.to),
                is_stream: random.f64() < callers.streams,
            };
            let drawn = work.add(callers, call.prompt, call.output);
            drawn.map_err(|error| error.within(&format!("callers[{group}]")))?;
            calls.push(call);
        }
    }
    calls.sort_by_key(|call| call.at);
    for (number, call) in calls.iter_mut().enumerate() {
        call.number = number as u32;
    }
    Ok(calls)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Arrivals, DrawnRange};

    /// The means of this file are within the bounds, but a burst may be twice as large.
    const BURSTS: &str = "title = \"t\"\nduration = \"1m\"\n[[callers]]\narrivals = \"bursts\"\nburst = 10_000\n\
                          per_minute = 6_000\nprompt_tokens = 16_000\n[[providers]]\nname = \"one\"";

    #[test]
    fn what_is_drawn_has_a_bound_for_each_seed() {
        let scenario = Scenario::parse("bursts", BURSTS).unwrap();
        let (mut drawn, mut rejected) = (0, 0);
        for seed in 0..20 {
            match calls(&scenario, seed) {
                Ok(calls) => {
                    let tokens: u64 = calls.iter().map(|call| u64::from(call.prompt)).sum();
                    assert!(tokens <= 200_000_000, "seed {seed}: {tokens}");
                    drawn += 1;
                }
                Err(error) => {
                    let expected = "callers[0].prompt_tokens: expected at most 200000000 tokens in the prompts of all calls, \
                                    found more with this seed";
                    assert_eq!(error.to_string(), expected, "seed {seed}");
                    rejected += 1;
                }
            }
        }
        assert!(drawn > 0 && rejected > 0, "{drawn} {rejected}");
    }

    /// A scenario that was made without a file, and so was not checked, needs no more memory.
    #[test]
    fn an_unchecked_scenario_has_the_same_bound() {
        let scenario = Scenario::parse("bursts", BURSTS).unwrap();
        for (arrivals, key) in [
            (Arrivals::Bursts, "per_minute"),
            (Arrivals::Once, "burst"),
            (Arrivals::Poisson, "per_minute"),
            (Arrivals::Even, "per_minute"),
        ] {
            let mut scenario = scenario.clone();
            let callers = &mut scenario.callers[0];
            (callers.arrivals, callers.burst, callers.per_minute) = (arrivals, Some(u32::MAX), Some(1e12));
            callers.prompt_tokens = DrawnRange::new(1, 1);
            let error = calls(&scenario, 1).unwrap_err().to_string();
            let expected =
                format!("callers[0].{key}: expected at most 200000 calls of all groups, found more");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
