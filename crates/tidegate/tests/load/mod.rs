//! Half an hour of calls that want more than the provider gives: in bursts, of all sizes.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tidegate::{HttpService, Payload};
use tidegate_testkit::provider::InMemory;
use tidegate_testkit::{Provider, Reply};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

/// What the provider gives a minute.
pub(crate) const REQUESTS: u32 = 500;
pub(crate) const TOKENS: u32 = 30_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const LASTS: Duration = Duration::from_secs(30 * 60);

/// Which calls come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tokens of the prompts, and the most of the answers: from, to.
    pub(crate) prompt: (usize, usize),
    pub(crate) answer: (usize, usize),
    /// So many calls a minute, on average.
    pub(crate) calls: u32,
    pub(crate) seed: u64,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Answered by the provider: well, and with 429.
    pub(crate) answered: u32,
    pub(crate) limited: u32,
    /// Refused by the limiter.
    pub(crate) refused: u32,
    /// As the provider counts them.
    pub(crate) tokens: u64,
}

impl Tally {
    /// The share of attempts that were answered with 429.
    pub(crate) fn share_limited(&self) -> f64 {
        f64::from(self.limited) / f64::from(self.answered + self.limited).max(1.0)
    }

    /// The share of what could have been had, in the currency that was scarcer: what came in every minute, and what was
    /// there at the start.
    pub(crate) fn share_used(&self) -> f64 {
        let minutes = LASTS.as_secs_f64() / 60.0 + 1.0;
        let tokens = self.tokens as f64 / (f64::from(TOKENS) * minutes);
        let requests = f64::from(self.answered) / (f64::from(REQUESTS) * minutes);
        tokens.max(requests)
    }
}

/// A provider that keeps its limits, and answers in a few hundred milliseconds to a few seconds.
pub(crate) fn provider(load: &Load) -> InMemory {
    let mut chance = fastrand::Rng::with_seed(load.seed);
    let provider = Provider::openai().rate_limit(REQUESTS, MINUTE).token_limit(TOKENS, MINUTE).service();
    for _ in 0..load.calls * 31 {
        let latency = Duration::from_millis(chance.u64(200..4_000));
        provider.script().then(Reply::ok().tokens(chance.usize(1..=load.answer.0)).latency(latency));
    }
    provider
}

/// Plays the load; whoever still waits at the end does not count.
pub(crate) async fn play<S>(load: Load, service: S) -> Tally
where
    S: HttpService<Payload, Body: Send, Future: Send, Error: Send> + Clone + Send + Sync + 'static,
    S::Body: http_body::Body<Data = Bytes>,
{
    let mut chance = fastrand::Rng::with_seed(load.seed ^ 1);
    let (start, mut calls, mut tally) = (Instant::now(), JoinSet::new(), Tally::default());
    while start.elapsed() < LASTS {
        let pause = Duration::from_millis(chance.u64(1_000..9_000));
        let burst = (f64::from(load.calls) * 5.0 / 60.0 * chance.f64() * 2.0) as u32;
        for _ in 0..burst {
            let prompt = chance.usize(load.prompt.0..=load.prompt.1);
            let answer = chance.usize(load.answer.0..=load.answer.1);
            calls.spawn(call(service.clone(), prompt, answer, start + LASTS));
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

impl Tally {
    fn add(&mut self, one: Option<Self>) {
        let Some(one) = one else { return };
        self.answered += one.answered;
        self.limited += one.limited;
        self.refused += one.refused;
        self.tokens += one.tokens;
    }
}

/// One call, and what came of it; nothing if it was not sent in time.
async fn call<S>(service: S, prompt: usize, answer: usize, end: Instant) -> Option<Tally>
where
    S: HttpService<Payload>,
{
    let text = "word".repeat(prompt);
    let body =
        format!(r#"{{"model":"m","max_tokens":{answer},"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let tokens = (answer + body.len().div_ceil(4)) as u64;
    let request =
        Request::post("http://provider/v1/chat/completions").body(Payload::from(body)).expect("a request");
    let result = tokio::time::timeout_at(end, service.oneshot(request)).await.ok()?;
    let none = Tally::default();
    let Ok(response) = result else { return Some(Tally { refused: 1, ..none }) };
    let status = response.status();
    let _ = response.into_body().collect().await;
    Some(match status.as_u16() {
        429 => Tally { limited: 1, ..none },
        _ => Tally { answered: 1, tokens, ..none },
    })
}
