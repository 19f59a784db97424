//! Layers as they are configured.

use tidegate_testkit::strict::Answer;

use super::*;
use crate::testing::{request, strict};
use crate::{FallbackLayer, clock};

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_is_one_key() {
    for algorithm in ["aimd", "gradient", "vegas"] {
        let text =
            format!("backpressure = {{ adaptive = \"{algorithm}\", min_inflight = 4, max_inflight = 200 }}");
        let signals = ResilienceBuilder::from_config(&read(&text)).unwrap().build().signals();
        assert_eq!(
            signals.snapshot().max_inflight,
            Some(10),
            "half of 20, until an unloaded round trip was measured"
        );
    }
    let text = "backpressure = { adaptive = \"reno\" }";
    let error = toml::from_str::<ResilienceConfig>(text).unwrap_err().to_string();
    assert!(
        error.contains(
            "backpressure.adaptive: unknown value `reno`, expected one of `aimd`, `gradient`, `vegas`"
        ),
        "{error}"
    );
    let text = "backpressure = { order = \"newest_first_under_overload\" }";
    assert!(ResilienceBuilder::from_config(&read(text)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn token_quotas_are_read_and_header_following_can_be_turned_off() {
    use tower::Layer;
    let text = "rate_limiter = { tokens_per_second = 900, tokens_per_minute = 30_000, tokens_per_day = 9_000_000, \
                input_tokens_per_minute = 20_000, output_tokens_per_minute = 8_000, default_output_tokens = 100, \
                learn = false, adopt = false, on_limit = \"reject\" }";
    let config = read(text);
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&config).unwrap().name("openai/gpt-4o").build();
    let remaining = |layer: &crate::stack::ResilienceLayer| layer.signals().snapshot().tokens_remaining;
    assert_eq!(remaining(&layer), Some(900));
    provider.answer(200).header("x-ratelimit-remaining-tokens", "0").header("x-ratelimit-reset-tokens", "9s");
    // `{}` has no prompt, and the output is estimated at 100 tokens.
    let _response = crate::testing::call(&mut layer.layer(inner)).await.unwrap();
    assert_eq!(remaining(&layer), Some(800));
    let default = read("rate_limiter = {}").rate_limiter.unwrap();
    assert_eq!(
        (default.default_output_tokens, default.follow_headers, default.adopt_reported_quotas),
        (500, true, true)
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_request_a_second_is_one_in_two_seconds() {
    use tower::Layer;
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&read("rate_limiter = { requests_per_second = 0.5 }"))
        .unwrap()
        .build();
    let mut service = layer.layer(inner);
    for _ in 0..3 {
        crate::testing::complete(&mut service).await.unwrap();
    }
    let seen = provider.requests();
    let gap = seen[2].at - seen[1].at;
    assert!(gap >= secs(2) && gap <= Duration::from_millis(2_002), "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_has_the_configured_settings() {
    use tower::Layer;
    let (inner, provider) = crate::testing::strict();
    let config = read(
        "[circuit_breaker]\nfailure_threshold = 1000\nfailure_rate_threshold = 0.5\nminimum_throughput = 4\n\
         slow_call_threshold = \"5s\"\nslow_call_rate_threshold = 1\nsliding_window = \"1m\"\n\
         cooldown_growth = 2\nmax_cooldown = \"45s\"\ncooldown_jitter = 0\nramp_up = \"10s\"",
    );
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let layer = CircuitBreakerLayer::from_settings(config.circuit_breaker.unwrap()).unwrap();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    for status in [200, 503, 200, 503] {
        provider.answer(status);
        crate::testing::complete(&mut service).await.unwrap();
    }
    assert_eq!(circuit.cooldown_remaining(), Some(secs(30)), "opened by the failure rate");
    tokio::time::advance(secs(30)).await;
    provider.answer(200).after(secs(5));
    crate::testing::complete(&mut service).await.unwrap();
    assert_eq!(circuit.cooldown_remaining(), Some(secs(45)), "opened again by a slow probe, for longer");
    tokio::time::advance(secs(45)).await;
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(crate::testing::complete(&mut service).await.is_ok());
    }
    assert_eq!(passed, 2, "the probe, and the first call of the ramp");
}

#[test]
fn every_setting_of_every_layer_can_be_set_in_a_file() {
    let text = r#"
        [retry]
        enabled = false
        max_retries = 7
        max_attempts = 9
        strategy = "fibonacci"
        jitter = "equal"
        initial_delay = "2s"
        max_delay = "40s"
        backoff_multiplier = 3.0
        retry_on = ["E2001"]
        retry_rejections = true
        budget = { ratio = 0.5, floor = 3 }
        reserve_for_fallback = "4s"
        idempotency_key = true
        attempt_header = true
        body_cap = 1024

        [rate_limiter]
        enabled = false
        requests_per_second = 1.5
        requests_per_minute = 60.0
        requests_per_day = 900.0
        tokens_per_second = 10
        tokens_per_minute = 100
        tokens_per_day = 1000
        input_tokens_per_minute = 80
        output_tokens_per_minute = 20
        quotas = [{ unit = "output_tokens", amount = 50, period = "10s" }]
        burst_size = 4
        default_output_tokens = 100
        follow_headers = false
        adopt_reported_quotas = false
        default_retry_after = "3s"
        max_wait = "5s"
        max_waiting = 6
        on_limit = "reject"
        key_by = "tenant"
        max_keys = 100

        [circuit_breaker]
        enabled = false
        failure_threshold = 2
        max_attempts_counted_per_call = 6
        success_threshold = 3
        cooldown_seconds = "7s"
        half_open_max = 4
        failure_rate_threshold = 0.25
        slow_call_threshold = "9s"
        open_budget = { per_second = 2.0, per_success = 5.0 }
        slow_call_rate_threshold = 0.75
        slow_call_window_size = 20
        minimum_throughput = 5
        sliding_window_size = 50
        shared_window = true
        cooldown_growth = 1.5
        max_cooldown = "1m"
        cooldown_jitter = 0.1
        quota_cooldown = "2m"
        probe_lease = "20s"
        ramp_up = "30s"
        count_rate_limited = true
        shadow = true
        key_by = "header:x-user"
        max_keys = 100

        [backpressure]
        enabled = false
        max_inflight = 8
        max_queued = 9
        queue_timeout = "3s"
        order = "newest_first_under_overload"
        adaptive = "vegas"
        min_inflight = 2
        key_by = "host"
        max_keys = 100

        [timeout]
        total = "9m"
        header = "grpc-timeout"
        attempt = "8m"
        first_token = "7s"
        token_gap = "6s"
        frame_gap = "5s"
        byte_gap = "4s"

        [fallback]
        enabled = false
        on_context_length = true
        on_content_filter = true
        continue_streams = true
        max_wait = "5s"
        body_cap = 2048
        cache_by = "credential"

        [hedge]
        enabled = false
        percentile = 99.0
        min_samples = 100
        min_delay = "250ms"
        max_extra_requests = 0.02
        max_extra_tokens = 0.01
        same_target = false
    "#;
    let config = read(text);
    let written: toml::Table = toml::from_str(text).unwrap();
    assert_eq!(toml::Table::try_from(&config).unwrap(), written);
    let error = ResilienceBuilder::from_config(&config).unwrap_err();
    assert_eq!(error.key(), "circuit_breaker.shared_window", "it needs a store");
    let mut alone = config.clone();
    alone.circuit_breaker.as_mut().unwrap().shared_window = false;
    assert!(ResilienceBuilder::from_config(&alone).is_ok());
    let unwritten = |part: &str, names: &'static [&'static str]| {
        names.iter().copied().filter(|name| written[part].get(*name).is_none()).collect::<Vec<_>>()
    };
    assert!(unwritten("retry", field_names::<crate::retry::Settings>()).is_empty());
    assert!(unwritten("rate_limiter", field_names::<crate::rate_limit::Settings>()).is_empty());
    // A window of time excludes a window of a number of calls.
    let breaker = unwritten("circuit_breaker", field_names::<crate::circuit_breaker::Settings>());
    assert_eq!(breaker, ["sliding_window"]);
    assert!(unwritten("backpressure", field_names::<crate::backpressure::Settings>()).is_empty());
    assert!(unwritten("timeout", field_names::<crate::timeout::Settings>()).is_empty());
    assert!(unwritten("fallback", field_names::<crate::fallback::Settings>()).is_empty());
    assert!(unwritten("hedge", field_names::<crate::hedge::Settings>()).is_empty());
}

/// Regression: an attempt and the call had the same limit, so that no other target was called if the first did
/// not respond.
#[tokio::test(start_paused = true)]
async fn the_production_preset_leaves_time_for_the_next_target() {
    let ((first, hanging), (second, other)) = (strict(), strict());
    hanging.otherwise(Answer::hang());
    let stack = |name| ResilienceBuilder::from_config(&ResilienceConfig::production()).unwrap().name(name);
    let next = FallbackLayer::new().then_addressed("b/m", stack("b/m").service(second));
    let started = clock::now();
    let response = stack("a/m").fallback(next).service(first).send(request()).await.unwrap();
    assert_eq!((response.status().as_u16(), hanging.calls(), other.calls()), (200, 1, 1));
    assert_eq!((clock::now() - started).as_secs(), 480);
}

#[tokio::test(start_paused = true)]
async fn a_part_can_be_turned_off() {
    let config = read(
        "preset = \"production\"\nretry = { enabled = false }\nrate_limiter = { enabled = false, requests_per_day = 1, on_limit = \"reject\" }\n\
         circuit_breaker = { enabled = false, failure_threshold = 1 }\nbackpressure = { enabled = false, max_inflight = 1 }",
    );
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&config).unwrap().build();
    let signals = layer.signals();
    let mut service = tower::Layer::layer(&layer, inner);
    for _ in 0..3 {
        provider.answer(503);
        crate::testing::complete(&mut service).await.unwrap();
    }
    assert_eq!(provider.requests().len(), 3, "no retry, no open circuit, no quota");
    assert_eq!(signals.snapshot().max_inflight, None);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_layer_is_configured() {
    use tower::{Layer, ServiceExt};
    let config =
        read("rate_limiter = { requests_per_minute = 1, on_limit = \"reject\", key_by = \"header:x-user\" }");
    let (inner, provider) = crate::testing::strict();
    let mut service = ResilienceBuilder::from_config(&config).unwrap().build().layer(inner);
    let mut passes = async |user: &str| {
        let request = http::Request::builder().header("x-user", user);
        let request = request.body(crate::Payload::from("{}")).unwrap();
        (&mut service).oneshot(request).await.is_ok()
    };
    assert!(passes("a").await && !passes("a").await && passes("b").await);
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_any_period_is_configured() {
    use tower::Layer;
    let config = read("rate_limiter = { quotas = [{ unit = \"requests\", amount = 2, period = \"10s\" }] }");
    let (inner, provider) = crate::testing::strict();
    let mut service = ResilienceBuilder::from_config(&config).unwrap().build().layer(inner);
    for _ in 0..3 {
        crate::testing::complete(&mut service).await.unwrap();
    }
    let seen = provider.requests();
    let gap = seen[2].at - seen[1].at;
    assert!(gap >= secs(5) && gap <= Duration::from_millis(5_002), "{gap:?}");
}
