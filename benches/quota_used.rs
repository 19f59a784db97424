//! Measures the share of a provider's quota that a limiter uses, and how often the provider rejects a
//! request.
//!
//!     cargo bench -p tidegate-benches --bench quota_used
//!
//! The load is half an hour in virtual time against a provider with a limit of 500 requests and 30 000 tokens
//! a minute. There are more calls than the provider accepts, in bursts and of all sizes, the same for each
//! limiter. Limiters that count only requests are given the limit of requests. governor by hand is also given
//! the cost of every call. `used` is the share of the scarcer unit's total quota.

#[path = "../crates/tidegate/tests/load/mod.rs"]
mod load;

use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use http::Request;
use load::{Load, LoadTally, MINUTE, REQUESTS, TOKENS, play, provider};
use tidegate::provider::Estimate;
use tidegate::providers::{PromptEstimate, Provider, ProviderClassifier};
use tidegate::{BoxError, ClassifyLayer, Payload, RateLimitLayer};
use tower::buffer::BufferLayer;
use tower::limit::RateLimitLayer as TowerRateLimitLayer;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

const MAX_WAIT: Duration = Duration::from_secs(120);

/// Tokio's clock, so that time can be virtual.
#[derive(Clone, Debug)]
struct VirtualClock;

impl Clock for VirtualClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Governor = RateLimiter<NotKeyed, InMemoryState, VirtualClock, NoOpMiddleware<Instant>>;

fn governor(per_minute: u32) -> Governor {
    RateLimiter::direct_with_clock(
        Quota::per_minute(NonZeroU32::new(per_minute).expect("not zero")),
        VirtualClock,
    )
}

/// Polls the limiter until it accepts, after each wait that it returns.
async fn wait_until_accepted(check: impl Fn() -> Result<(), NotUntil<Instant>>) {
    while let Err(not_yet) = check() {
        tokio::time::sleep(not_yet.wait_time_from(VirtualClock.now())).await;
    }
}

async fn bare(load: Load) -> LoadTally {
    play(load, provider(&load)).await
}

async fn tower_rate_limit(load: Load) -> LoadTally {
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(10_000))
        .layer(TowerRateLimitLayer::new(REQUESTS.into(), MINUTE))
        .service(provider(&load));
    play(load, service).await
}

async fn tower_resilience(load: Load) -> LoadTally {
    let limit = RateLimiterLayer::builder()
        .limit_for_period(REQUESTS as usize)
        .refresh_period(MINUTE)
        .window_type(WindowType::SlidingLog)
        .timeout_duration(MAX_WAIT)
        .build()
        .expect("a limit");
    let service = ServiceBuilder::new().map_err(BoxError::from).layer(limit).service(provider(&load));
    play(load, service).await
}

async fn governor_by_hand(load: Load, counts_tokens: bool) -> LoadTally {
    let (requests, tokens) = (Arc::new(governor(REQUESTS)), Arc::new(governor(TOKENS)));
    let provider = provider(&load);
    let service = service_fn(move |request: Request<Payload>| {
        let (requests, tokens, provider) = (Arc::clone(&requests), Arc::clone(&tokens), provider.clone());
        async move {
            let wait = async {
                if counts_tokens {
                    let body = request.body().bytes().expect("kept");
                    let estimated = PromptEstimate.estimate(request.headers(), body);
                    let cost =
                        u32::try_from(estimated.input + estimated.output(0)).ok().and_then(NonZeroU32::new);
                    wait_until_accepted(|| tokens.check_n(cost.expect("some")).expect("below the burst"))
                        .await;
                }
                wait_until_accepted(|| requests.check()).await;
            };
            tokio::time::timeout(MAX_WAIT, wait).await?;
            provider.oneshot(request).await
        }
    });
    play(load, service).await
}

async fn tidegate(load: Load, limit: RateLimitLayer) -> LoadTally {
    let classifier = ProviderClassifier::new(Provider::OpenAi);
    let service = ServiceBuilder::new()
        .layer(limit.classifier(classifier).max_wait(MAX_WAIT).max_waiting(10_000))
        .layer(ClassifyLayer::new(classifier))
        .service(provider(&load));
    play(load, service).await
}

fn row(name: &str, tally: LoadTally) {
    println!(
        "| {name} | {} | {} | {:.2} % | {:.1} % |",
        tally.succeeded,
        tally.limited,
        tally.share_limited() * 100.0,
        tally.share_used() * 100.0,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let loads = [
        ("scarce tokens", Load { prompt: (50, 600), output: (16, 200), calls: 100, seed: 1 }),
        ("scarce requests", Load { prompt: (1, 12), output: (1, 8), calls: 650, seed: 2 }),
    ];
    for (what, load) in loads {
        println!("\n| {what} | answered | 429 | of all attempts | used |\n|---|---|---|---|---|");
        let run = |name: &str, play: std::pin::Pin<Box<dyn Future<Output = LoadTally>>>| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            row(name, runtime.block_on(play));
            Ok::<_, std::io::Error>(())
        };
        run("no limiter", Box::pin(bare(load)))?;
        run("tower's RateLimit", Box::pin(tower_rate_limit(load)))?;
        run("tower-resilience, sliding log", Box::pin(tower_resilience(load)))?;
        run("governor by hand, requests", Box::pin(governor_by_hand(load, false)))?;
        run("governor by hand, requests and tokens", Box::pin(governor_by_hand(load, true)))?;
        let configured = || RateLimitLayer::new().quota(REQUESTS, MINUTE).tokens_per_minute(TOKENS.into());
        run("tidegate, configured", Box::pin(async move { tidegate(load, configured()).await }))?;
        run(
            "tidegate, learned from headers",
            Box::pin(async move { tidegate(load, RateLimitLayer::new()).await }),
        )?;
    }
    Ok(())
}
