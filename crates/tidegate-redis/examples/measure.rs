//! Decisions per second, and the time that a decision adds to a call, beside two plain limiters on the same
//! server: `cargo run --release -p tidegate-redis --example measure`.
//!
//! The quota is never used up. In the first measurement 64 callers decide as fast as they can; in the second
//! one 10 000 calls a second arrive, ten every millisecond, and the time of each decision is taken. All
//! limiters share one connection. The circuits see one failure in ten calls; with a shared window these are
//! reported to the server.

use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use http::{Request, Response};
use redis::aio::MultiplexedConnection;
use redis::{Client, Script};
use tidegate::store::{Settings, Store};
use tidegate::{CircuitBreakerLayer, Payload, RateLimitLayer};
use tidegate_redis::{RedisSettings, RedisStore};
use tidegate_testkit::RedisServer;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tower::{Layer, ServiceExt, service_fn};

const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(3);
const PER_MILLISECOND: usize = 10;
const QUOTA: u32 = 10_000_000;

/// A counter for each second.
const FIXED_WINDOW: &str = "
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], 1000) end
return count <= tonumber(ARGV[1]) and 1 or 0";

/// The cell rate algorithm in one script, as redis-cell has it in one command.
const CELL: &str = "
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + tonumber(ARGV[1])
if arrival - now > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], string.format('%.17g', arrival), 'PX', 2000)
return 1";

/// A limiter whose decisions are measured.
#[derive(Clone)]
enum Limiter {
    Tidegate(RateLimitLayer),
    Circuit(CircuitBreakerLayer),
    Script(&'static str, Script, MultiplexedConnection),
}

impl Limiter {
    async fn decide(&mut self) {
        match self {
            Self::Tidegate(layer) => {
                let service = layer.layer(service_fn(respond));
                service.oneshot(Request::new(Payload::empty())).await.expect("room in the quota");
            }
            Self::Circuit(layer) => {
                let service = layer.layer(service_fn(respond_or_fail));
                service.oneshot(Request::new(Payload::empty())).await.expect("a closed circuit");
            }
            Self::Script(key, script, connection) => {
                let mut call = script.key(*key);
                let call = match *key {
                    "cell" => call.arg(1e6 / f64::from(QUOTA)).arg(1_000_000),
                    _ => call.arg(QUOTA),
                };
                assert_eq!(call.invoke_async::<i64>(connection).await.expect("a reply"), 1);
            }
        }
    }
}

async fn respond(_: Request<Payload>) -> Result<Response<Payload>, Infallible> {
    Ok(Response::new(Payload::empty()))
}

async fn respond_or_fail(_: Request<Payload>) -> Result<Response<Payload>, Infallible> {
    let status = if fastrand::u8(..10) == 0 { 500 } else { 200 };
    Ok(Response::builder().status(status).body(Payload::empty()).expect("a status"))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(server) = RedisServer::start().await? else { return Ok(()) };
    let layer = |leases| -> Result<Limiter, Box<dyn Error>> {
        let store = Settings { leases, timeout: Duration::from_secs(1), ..Settings::default() };
        let settings = RedisSettings { store, ..RedisSettings::new(&server.url()) };
        let layer = RateLimitLayer::per_second(QUOTA).max_waiting(100_000).name("measured");
        Ok(Limiter::Tidegate(layer.store(Store::new(RedisStore::lazy(settings)?))))
    };
    let circuit = |is_shared| -> Result<Limiter, Box<dyn Error>> {
        let store = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
        let settings = RedisSettings { store, ..RedisSettings::new(&server.url()) };
        let layer = CircuitBreakerLayer::new().failure_threshold(100).failure_rate_threshold(0.5);
        let layer = layer.sliding_window(Duration::from_secs(60)).shared_window(is_shared).name("measured");
        Ok(Limiter::Circuit(layer.store(Store::new(RedisStore::lazy(settings)?))))
    };
    let connection = Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let script = |key, code| Limiter::Script(key, Script::new(code), connection.clone());
    println!("{:34} {:>12} {:>10} {:>10}", "limiter", "decisions/s", "p50", "p99 at 10 000/s");
    for (name, limiter) in [
        ("tidegate, one process, no store", Limiter::Tidegate(RateLimitLayer::per_second(QUOTA))),
        ("tidegate, leases", layer(true)?),
        ("tidegate, no leases", layer(false)?),
        ("fixed window, INCR", script("window", FIXED_WINDOW)),
        ("GCRA in one script", script("cell", CELL)),
        ("circuit, local window", circuit(false)?),
        ("circuit, shared window", circuit(true)?),
    ] {
        server.clear().await?;
        let rate = decisions_per_second(&limiter).await;
        let mut times = times_at_a_rate(&limiter).await;
        times.sort_unstable();
        let [median, late] = [0.5, 0.99].map(|part| times[(times.len() as f64 * part) as usize]);
        println!("{name:34} {rate:>12.0} {median:>10.1?} {late:>10.1?}");
    }
    Ok(())
}

async fn decisions_per_second(limiter: &Limiter) -> f64 {
    let (mut callers, start) = (JoinSet::new(), Instant::now());
    for _ in 0..CALLERS {
        let mut limiter = limiter.clone();
        callers.spawn(async move {
            let mut decisions = 0_u64;
            while start.elapsed() < TIME {
                limiter.decide().await;
                decisions += 1;
                // Decisions that need no wait leave the other tasks their turn.
                if decisions.is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
            }
            decisions
        });
    }
    callers.join_all().await.into_iter().sum::<u64>() as f64 / start.elapsed().as_secs_f64()
}

async fn times_at_a_rate(limiter: &Limiter) -> Vec<Duration> {
    let (mut calls, mut ticks) = (JoinSet::new(), interval(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..TIME.as_millis() {
        ticks.tick().await;
        for _ in 0..PER_MILLISECOND {
            let mut limiter = limiter.clone();
            calls.spawn(async move {
                let start = Instant::now();
                limiter.decide().await;
                start.elapsed()
            });
        }
    }
    calls.join_all().await
}
