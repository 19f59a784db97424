//! Half an hour, in virtual time, against a provider that enforces its limits and reports them.

mod load;

use std::time::Duration;

use load::{Load, LoadTally, MINUTE, REQUESTS, TOKENS, play, provider};
use tidegate::providers::{Provider, ProviderClassifier};
use tidegate::{ClassifyLayer, RateLimitLayer};
use tower::ServiceBuilder;

async fn through(limit: RateLimitLayer, load: Load) -> LoadTally {
    let classifier = ProviderClassifier::new(Provider::OpenAi);
    let service = ServiceBuilder::new()
        .layer(limit.classifier(classifier).max_wait(2 * MINUTE).max_waiting(10_000))
        .layer(ClassifyLayer::new(classifier))
        .service(provider(&load));
    play(load, service).await
}

/// One load at the token limit, and one at the request limit.
const LOADS: [Load; 2] = [
    Load { prompt: (50, 600), output: (16, 200), calls: 100, seed: 1 },
    Load { prompt: (1, 12), output: (1, 8), calls: 650, seed: 2 },
];

fn check(what: &str, tally: LoadTally) {
    println!(
        "{what}: {tally:?} {:.3} % limited, {:.1} % used",
        tally.share_limited() * 100.0,
        tally.share_used() * 100.0
    );
    assert!(tally.share_limited() <= 0.001, "{what}: {tally:?}");
    assert!(tally.share_used() >= 0.98, "{what}: {tally:?}");
}

#[tokio::test(start_paused = true)]
async fn a_configured_quota_is_used_up_with_almost_no_429() {
    for load in LOADS {
        let limit = RateLimitLayer::new().quota(REQUESTS, MINUTE).tokens_per_minute(TOKENS.into());
        check("configured", through(limit, load).await);
    }
}

/// No quota is configured: it is taken from the response headers.
#[tokio::test(start_paused = true)]
async fn a_reported_quota_is_used_up_with_almost_no_429() {
    for load in LOADS {
        check("reported", through(RateLimitLayer::new(), load).await);
    }
}

#[tokio::test(start_paused = true)]
async fn without_following_headers_the_limit_is_hit() {
    let limit =
        RateLimitLayer::per_minute(10 * REQUESTS).follow_headers(false).default_retry_after(Duration::ZERO);
    let tally = through(limit, LOADS[0]).await;
    assert!(tally.share_limited() > 0.05, "{tally:?}");
}
