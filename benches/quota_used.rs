//! How much of a provider's limit is used, and how often it is run into?
//!
//!     cargo bench -p tidegate-benches --bench quota_used
//!
//! Half an hour in virtual time against a provider that keeps 500 requests and 30 000 tokens a minute, with more calls
//! than it can take, in bursts and of all sizes: the same for each limiter. Those that know only requests are told the
//! limit of requests; governor by hand is told what every call will take, too. `used` is of all that could have been had
//! in the currency that was scarcer.

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
use load::{Load, MINUTE, REQUESTS, TOKENS, Tally, play, provider};
use tidegate::providers::{PromptEstimate, Provider, ProviderClassifier};
use tidegate::{BoxError, ClassifyLayer, Estimate, Payload, RateLimitLayer};
use tower::buffer::BufferLayer;
use tower::limit::RateLimitLayer as TowerRateLimitLayer;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

const PATIENCE: Duration = Duration::from_secs(120);

/// Tokio's, so that time can be virtual.
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

/// Asks again when it is told to, until it may.
async fn until(may: impl Fn() -> Result<(), NotUntil<Instant>>) {
    while let Err(not_yet) = may() {
        tokio::time::sleep(not_yet.wait_time_from(VirtualClock.now())).await;
    }
}

async fn bare(load: Load) -> Tally {
    play(load, provider(&load)).await
}

async fn tower_rate_limit(load: Load) -> Tally {
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(10_000))
        .layer(TowerRateLimitLayer::new(REQUESTS.into(), MINUTE))
        .service(provider(&load));
    play(load, service).await
}

async fn tower_resilience(load: Load) -> Tally {
    let limit = RateLimiterLayer::builder()
        .limit_for_period(REQUESTS as usize)
        .refresh_period(MINUTE)
        .window_type(WindowType::SlidingLog)
        .timeout_duration(PATIENCE)
        .build()
        .expect("a limit");
    let service = ServiceBuilder::new().map_err(BoxError::from).layer(limit).service(provider(&load));
    play(load, service).await
}

async fn governor_by_hand(load: Load, counts_tokens: bool) -> Tally {
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
                    until(|| tokens.check_n(cost.expect("some")).expect("below the burst")).await;
                }
                until(|| requests.check()).await;
            };
            tokio::time::timeout(PATIENCE, wait).await?;
            provider.oneshot(request).await
        }
    });
    play(load, service).await
}

async fn tidegate(load: Load, limit: RateLimitLayer) -> Tally {
    let classifier = ProviderClassifier::new(Provider::OpenAi);
    let service = ServiceBuilder::new()
        .layer(limit.classifier(classifier).max_wait(PATIENCE).max_waiting(10_000))
        .layer(ClassifyLayer::new(classifier))
        .service(provider(&load));
    play(load, service).await
}

fn row(name: &str, tally: Tally) {
    println!(
        "| {name} | {} | {} | {:.2} % | {:.1} % |",
        tally.answered,
        tally.limited,
        tally.share_limited() * 100.0,
        tally.share_used() * 100.0,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let loads = [
        ("scarce tokens", Load { prompt: (50, 600), answer: (16, 200), calls: 100, seed: 1 }),
        ("scarce requests", Load { prompt: (1, 12), answer: (1, 8), calls: 650, seed: 2 }),
    ];
    for (what, load) in loads {
        println!("\n| {what} | answered | 429 | of all attempts | used |\n|---|---|---|---|---|");
        let run = |name: &str, play: std::pin::Pin<Box<dyn Future<Output = Tally>>>| {
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
        run("tidegate, heard of", Box::pin(async move { tidegate(load, RateLimitLayer::new()).await }))?;
    }
    Ok(())
}
