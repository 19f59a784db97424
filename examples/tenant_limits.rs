//! A rate limit and a bulkhead for each tenant, so that one tenant cannot use up the share of another.
//!
//!     cargo run --example tenant_limits
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use tidegate::rate_limit::OnLimit;
use tidegate::{
    BackpressureLayer, BoxError, Gate, KeyBy, Payload, RateLimitLayer, Rejection, ResilienceBuilder, Tenant,
};
use tidegate_testkit::{Provider, Reply};

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let second = Duration::from_secs(1);
    let provider = Provider::openai().otherwise(Reply::ok().latency(second)).service();
    let url = "http://provider.test/v1/chat/completions";

    let limit = RateLimitLayer::per_minute(3)
        .on_limit(OnLimit::Reject)
        .key_by(KeyBy::tenant())
        // Runs once for each tenant. A program would look up its plan here.
        .per_key(|head, default| match head.extensions.get::<Tenant>() {
            Some(Tenant(name)) if &**name == "globex" => {
                RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject)
            }
            _ => default,
        });
    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .rate_limit(limit.clone())
        .backpressure(BackpressureLayer::max_inflight(2).key_by(KeyBy::tenant()))
        .service(provider.clone());

    // The tenant is an extension of the request, so that no caller can choose it. The middleware that checks
    // the caller's credential sets it.
    let send = async |tenant: &str| {
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post(url)
            .header("content-type", "application/json")
            .extension(Tenant(tenant.into()))
            .body(Payload::from(body))?;
        match openai.send(request).await {
            // The permit is released when the last byte has arrived.
            Ok(response) => response.into_body().collect().await.map(|_| Ok(())),
            Err(error) => Rejection::find(&*error).cloned().map(Err).ok_or(error),
        }
    };

    for (tenant, admitted) in [("acme", 3), ("globex", 5)] {
        let start = tokio::time::Instant::now();
        let results = join_all((0..5).map(|_| send(tenant))).await;
        let results: Vec<Result<(), Rejection>> =
            results.into_iter().collect::<Result<_, tidegate::Error>>()?;
        let answered = results.iter().filter(|result| result.is_ok()).count();
        println!("{tenant}: {answered} of 5 calls answered, the last after {:?}", start.elapsed());
        assert_eq!(answered, admitted);
        // Two at a time: three calls take two seconds, and five take three.
        assert_eq!(start.elapsed(), second * u32::try_from(admitted.div_ceil(2))?);
        for rejection in results.into_iter().filter_map(Result::err) {
            println!("  rejected: {rejection}");
            assert_eq!(rejection.gate(), Gate::RateLimit);
        }
    }
    println!(
        "{} requests were sent, two at a time; {} limits are kept",
        provider.log().calls(),
        limit.handle().keys()
    );
    assert_eq!((provider.log().calls(), provider.log().max_in_flight(), limit.handle().keys()), (8, 2, 2));
    Ok(())
}
