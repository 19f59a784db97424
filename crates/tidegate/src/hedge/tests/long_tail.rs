//! What hedges do for users of a provider with a long tail, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Response;
use tower::service_fn;

use super::*;
use crate::BoxError;

const CALLS: usize = 4_000;

/// What the calls of a run took and cost.
struct Run {
    times: Vec<Duration>,
    requests: u64,
    tokens: u64,
}

/// A provider that takes about half a second, and ten seconds for three requests in a hundred.
async fn run(hedge: HedgeLayer, seed: u64) -> Run {
    let random = Arc::new(std::sync::Mutex::new(fastrand::Rng::with_seed(seed)));
    let (requests, tokens) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let provider = {
        let (requests, tokens) = (Arc::clone(&requests), Arc::clone(&tokens));
        service_fn(move |request: Request<Payload>| {
            let millis = {
                let mut random = random.lock().unwrap();
                if random.f64() < 0.03 { random.u64(8_000..12_000) } else { random.u64(300..700) }
            };
            requests.fetch_add(1, Ordering::Relaxed);
            let prompt = request.body().bytes().unwrap().len() as u64 / 4;
            let tokens = Arc::clone(&tokens);
            async move {
                // The prompt is billed, and the output of a request that is not cancelled.
                tokens.fetch_add(prompt, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                tokens.fetch_add(200, Ordering::Relaxed);
                let stream =
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n";
                let response = Response::builder().header("content-type", "text/event-stream");
                Ok::<_, BoxError>(response.body(Payload::from(stream)).unwrap())
            }
        })
    };
    let stack = ResilienceBuilder::new("openai/m").hedge(hedge).service(provider);
    let mut prompts = fastrand::Rng::with_seed(seed);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let prompt = "word ".repeat(prompts.usize(20..400));
        let request = chat_request(format!(
            r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        ));
        let stack = stack.clone();
        calls.spawn(async move {
            let start = clock::now();
            stack.send(request).await.unwrap();
            clock::now() - start
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut times = calls.join_all().await;
    times.sort_unstable();
    Run { times, requests: requests.load(Ordering::Relaxed), tokens: tokens.load(Ordering::Relaxed) }
}

#[tokio::test(start_paused = true)]
async fn hedges_cut_the_tail_by_more_than_forty_percent_for_less_than_five_percent_more() {
    for seed in 1..=3 {
        let (alone, hedged) = (run(HedgeLayer::disabled(), seed).await, run(HedgeLayer::new(), seed).await);
        let p99 = |run: &Run| run.times[CALLS * 99 / 100].as_secs_f64();
        let ratio = |with: u64, without: u64| with as f64 / without as f64;
        let (requests, tokens) = (ratio(hedged.requests, alone.requests), ratio(hedged.tokens, alone.tokens));
        println!(
            "seed {seed}: p99 {:.2}s -> {:.2}s, requests x {requests:.3}, tokens x {tokens:.3}",
            p99(&alone),
            p99(&hedged)
        );
        assert!(p99(&hedged) <= 0.6 * p99(&alone));
        assert!(requests <= 1.05 && tokens <= 1.05);
    }
}
