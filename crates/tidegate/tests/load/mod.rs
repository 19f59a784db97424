//! Half an hour of calls in bursts of all sizes, with more demand than the limits of the provider allow.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tidegate::Payload;
use tidegate::provider::HttpService;
use tidegate_testkit::provider::InMemory;
use tidegate_testkit::{Provider, Reply};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

/// The limits of the provider, per minute.
pub(crate) const REQUESTS: u32 = 500;
pub(crate) const TOKENS: u32 = 30_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const DURATION: Duration = Duration::from_secs(30 * 60);

/// The calls of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The tokens of the prompts: from, to.
    pub(crate) prompt: (usize, usize),
    /// The largest number of output tokens of the calls: from, to.
    pub(crate) output: (usize, usize),
    /// Calls a minute, on average.
    pub(crate) calls: u32,
    pub(crate) seed: u64,
}

/// The results of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadTally {
    /// Successful responses of the provider.
    pub(crate) succeeded: u32,
    /// Responses of the provider with status 429.
    pub(crate) limited: u32,
    /// Calls that the rate limit rejected.
    pub(crate) rejected: u32,
    /// Tokens as the provider counts them.
    pub(crate) tokens: u64,
}

impl LoadTally {
    /// The share of attempts with status 429.
    pub(crate) fn share_limited(&self) -> f64 {
        f64::from(self.limited) / f64::from(self.succeeded + self.limited).max(1.0)
    }

    /// The used share of the available requests or tokens, whichever was scarcer: the refill of every minute
    /// and the initial burst.
    pub(crate) fn share_used(&self) -> f64 {
        let minutes = DURATION.as_secs_f64() / 60.0 + 1.0;
        let tokens = self.tokens as f64 / (f64::from(TOKENS) * minutes);
        let requests = f64::from(self.succeeded) / (f64::from(REQUESTS) * minutes);
        tokens.max(requests)
    }
}

/// A provider that enforces its limits, and responds after 0.2 to 4 seconds.
pub(crate) fn provider(load: &Load) -> InMemory {
    let mut chance = fastrand::Rng::with_seed(load.seed);
    let provider = Provider::openai().rate_limit(REQUESTS, MINUTE).token_limit(TOKENS, MINUTE).service();
    for _ in 0..load.calls * 31 {
        let latency = Duration::from_millis(chance.u64(200..4_000));
        provider.script().then(Reply::ok().tokens(chance.usize(1..=load.output.0)).latency(latency));
    }
    provider
}

/// Runs the load. Calls that still wait at the end are not counted.
pub(crate) async fn play<S>(load: Load, service: S) -> LoadTally
where
    S: HttpService<Payload, Body: Send, Future: Send, Error: Send> + Clone + Send + Sync + 'static,
    S::Body: http_body::Body<Data = Bytes>,
{
    let mut chance = fastrand::Rng::with_seed(load.seed ^ 1);
    let (start, mut calls, mut tally) = (Instant::now(), JoinSet::new(), LoadTally::default());
    while start.elapsed() < DURATION {
        let pause = Duration::from_millis(chance.u64(1_000..9_000));
        let burst = (f64::from(load.calls) * 5.0 / 60.0 * chance.f64() * 2.0) as u32;
        for _ in 0..burst {
            let prompt = chance.usize(load.prompt.0..=load.prompt.1);
            let output = chance.usize(load.output.0..=load.output.1);
            calls.spawn(call(service.clone(), prompt, output, start + DURATION));
        }
        tokio::time::sleep(pause).await;
        while let Some(one) = calls.try_join_next() {
            tally.add(one.expect("no call panics"));
        }
    }
    while let Some(one) = calls.join_next().await {
        tally.add(one.expect("no call panics"));
    }
    tally
}

impl LoadTally {
    fn add(&mut self, one: Option<Self>) {
        let Some(one) = one else { return };
        self.succeeded += one.succeeded;
        self.limited += one.limited;
        self.rejected += one.rejected;
        self.tokens += one.tokens;
    }
}

/// Makes one call and returns its result; `None` if it was not sent before the end.
async fn call<S>(service: S, prompt: usize, output: usize, end: Instant) -> Option<LoadTally>
where
    S: HttpService<Payload>,
{
    let text = "word".repeat(prompt);
    let body =
        format!(r#"{{"model":"m","max_tokens":{output},"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let tokens = (output + body.len().div_ceil(4)) as u64;
    let request =
        Request::post("http://provider/v1/chat/completions").body(Payload::from(body)).expect("a request");
    let result = tokio::time::timeout_at(end, service.oneshot(request)).await.ok()?;
    let none = LoadTally::default();
    let Ok(response) = result else { return Some(LoadTally { rejected: 1, ..none }) };
    let status = response.status();
    let _ = response.into_body().collect().await;
    Some(match status.as_u16() {
        429 => LoadTally { limited: 1, ..none },
        _ => LoadTally { succeeded: 1, tokens, ..none },
    })
}
