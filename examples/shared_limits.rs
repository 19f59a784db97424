//! Three processes with one account: they share its quota through a Redis server.
//!
//! The program starts a server of its own, which needs `redis-server` to be installed, and itself three times
//! more: `cargo run --example shared_limits`.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Request;
use tidegate::store::Store;
use tidegate::{Payload, RateLimitLayer, ReqwestService, ResilienceBuilder};
use tidegate_redis::RedisStore;
use tidegate_testkit::{Provider, RedisServer, Reply};
use tower::ServiceExt;

const TIME: Duration = Duration::from_secs(3);
const REDIS: &str = "EXAMPLE_REDIS_URL";
const PROVIDER: &str = "EXAMPLE_PROVIDER_URL";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match (std::env::var(REDIS), std::env::var(PROVIDER)) {
        (Ok(redis), Ok(provider)) => call_for(TIME, &redis, &provider).await,
        _ => start_three().await,
    }
}

/// One of the processes: calls as fast as the quota of all allows.
async fn call_for(time: Duration, redis: &str, provider: &str) -> Result<(), Box<dyn Error>> {
    let store = Store::new(RedisStore::connect(redis).await?);
    let client = ResilienceBuilder::new("openai/gpt-4o")
        .rate_limit(RateLimitLayer::per_second(20).burst_size(10))
        .store(store)
        .service(ReqwestService::new(reqwest::Client::new()));
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < time {
        let body = Payload::from(r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#);
        let request = Request::post(format!("{provider}/chat/completions")).body(body)?;
        client.clone().oneshot(request).await?;
        calls += 1;
    }
    println!("{calls} calls of one process");
    Ok(())
}

async fn start_three() -> Result<(), Box<dyn Error>> {
    let Some(server) = RedisServer::start().await? else { return Ok(()) };
    let provider = Provider::openai().otherwise(Reply::ok()).start().await?;
    let start = || {
        let mut process = Command::new(std::env::current_exe()?);
        process.env(REDIS, server.url()).env(PROVIDER, provider.base_url());
        process.stdout(Stdio::inherit()).spawn()
    };
    let processes = [start()?, start()?, start()?];
    for mut process in processes {
        tokio::task::spawn_blocking(move || process.wait()).await??;
    }
    println!("{} calls of all: 20 a second, and 10 at once at the start", provider.log().calls());
    Ok(())
}
