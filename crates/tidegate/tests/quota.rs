//! Half an hour against a provider that keeps its limits and tells of them, in virtual time.

mod load;

use std::time::Duration;

use load::{Load, MINUTE, REQUESTS, TOKENS, Tally, play, provider};
use tidegate::providers::{Provider, ProviderClassifier};
use tidegate::{ClassifyLayer, RateLimitLayer};
use tower::ServiceBuilder;

async fn through(limit: RateLimitLayer, load: Load) -> Tally {
    let classifier = ProviderClassifier::new(Provider::OpenAi);
    let service = ServiceBuilder::new()
        .layer(limit.classifier(classifier).max_wait(2 * MINUTE).max_waiting(10_000))
        .layer(ClassifyLayer::new(classifier))
        .service(provider(&load));
    play(load, service).await
}

/// At the limit of tokens, and at the limit of requests.
const LOADS: [Load; 2] = [
    Load { prompt: (50, 600), answer: (16, 200), calls: 100, seed: 1 },
    Load { prompt: (1, 12), answer: (1, 8), calls: 650, seed: 2 },
];

fn check(what: &str, tally: Tally) {
    println!(
        "{what}: {tally:?} {:.3} % limited, {:.1} % used",
        tally.share_limited() * 100.0,
        tally.share_used() * 100.0
    );
    assert!(tally.share_limited() <= 0.001, "{what}: {tally:?}");
    assert!(tally.share_used() >= 0.98, "{what}: {tally:?}");
}

#[tokio::test(start_paused = true)]
async fn a_configured_quota_is_used_up_and_next_to_nobody_is_refused_by_the_provider() {
    for load in LOADS {
        let limit = RateLimitLayer::new().quota(REQUESTS, MINUTE).tokens_per_minute(TOKENS.into());
        check("configured", through(limit, load).await);
    }
}

/// Nobody told it anything: it listens.
#[tokio::test(start_paused = true)]
async fn a_quota_that_was_only_heard_of_is_used_up_as_well() {
    for load in LOADS {
        check("heard of", through(RateLimitLayer::new(), load).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_heard_is_run_into() {
    let limit =
        RateLimitLayer::per_minute(10 * REQUESTS).follow_headers(false).default_retry_after(Duration::ZERO);
    let tally = through(limit, LOADS[0]).await;
    assert!(tally.share_limited() > 0.05, "{tally:?}");
}
