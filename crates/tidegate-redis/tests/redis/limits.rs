//! Several stores in one process stand for several processes: each has connections and leases of its own.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tidegate::rate_limit::OnLimit;
use tidegate::store::{OnUnavailable, Settings, Store};
use tidegate::{KeyBy, Payload, RateLimitLayer, Rejection, ResilienceBuilder};
use tidegate_redis::{RedisSettings, RedisStore};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};

use tidegate_testkit::RedisServer;

pub(crate) fn connection(server: &RedisServer) -> redis::Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until so many processes receive what the others publish.
pub(crate) async fn subscribed(server: &RedisServer, processes: usize) {
    let mut connection = connection(server);
    let mut subscribers = || {
        let (_, count): (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg("tidegate:events").query(&mut connection).unwrap();
        count
    };
    wait_until(|| subscribers() == processes).await;
}

/// The times at which a provider received requests.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Vec<Instant>>>);

impl Received {
    pub(crate) fn times(&self) -> Vec<Instant> {
        let mut times = self.0.lock().unwrap().clone();
        times.sort();
        times
    }
}

fn request() -> Request<Payload> {
    Request::new(Payload::from("{}"))
}

pub(crate) fn store(url: &str, settings: Settings) -> Store {
    let settings = RedisSettings { store: settings, ..RedisSettings::new(url) };
    Store::new(RedisStore::lazy(settings).unwrap())
}

/// Makes calls one after the other with so many callers until the time is up. Every call must be admitted.
pub(crate) fn spawn_callers(
    calls: &mut JoinSet<()>,
    layer: &RateLimitLayer,
    received: &Received,
    callers: usize,
    until: Instant,
) {
    let provider = {
        let received = received.clone();
        service_fn(move |_: Request<Payload>| {
            received.0.lock().unwrap().push(Instant::now());
            async { Ok::<_, Infallible>(Response::new(Payload::empty())) }
        })
    };
    let service = layer.layer(provider);
    for _ in 0..callers {
        let service = service.clone();
        calls.spawn(async move {
            while Instant::now() < until {
                let call = service.clone().oneshot(request()).await;
                if let Err(error) = call {
                    panic!("a caller got an error: {error}");
                }
            }
        });
    }
}

/// By how much a task is late that sleeps for a millisecond, at most. A call that is admitted on time is
/// received that much later, on a busy machine, so that a window of what is received may have the calls of
/// that time on top.
#[derive(Clone, Default)]
pub(crate) struct Lateness(Arc<Mutex<Duration>>);

impl Lateness {
    /// Measures until the runtime ends.
    pub(crate) fn measure() -> Self {
        let lateness = Self::default();
        let measured = lateness.clone();
        tokio::spawn(async move {
            loop {
                let due = Instant::now() + Duration::from_millis(1);
                tokio::time::sleep_until(due.into()).await;
                let late = due.elapsed();
                let mut most = measured.0.lock().unwrap();
                *most = late.max(*most);
            }
        });
        lateness
    }

    pub(crate) fn most(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// The most calls by which a window of any place and length exceeds `burst + rate * length`.
pub(crate) fn excess(times: &[Instant], rate: f64, burst: f64) -> f64 {
    // Calls i..=j are within a window if j - i + 1 <= burst + rate * (t[j] - t[i]).
    let start = times[0];
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for (index, time) in times.iter().enumerate() {
        let level = index as f64 - rate * (*time - start).as_secs_f64();
        least = least.min(level);
        most = most.max(level - least + 1.0 - burst);
    }
    most
}

/// What the tests of one quota have in common: three stores with so many callers each.
async fn run(
    url: String,
    settings: Settings,
    limit: impl Fn() -> RateLimitLayer,
    time: Duration,
) -> Vec<Instant> {
    let (received, mut calls) = (Received::default(), JoinSet::new());
    let until = Instant::now() + time;
    for _ in 0..3 {
        let layer = limit().name("provider/model").store(store(&url, settings.clone()));
        spawn_callers(&mut calls, &layer, &received, 100, until);
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    received.times()
}

/// A call at the end of its time waits for its turn, and is made afterwards.
pub(crate) fn within(times: &[Instant], time: Duration) -> f64 {
    times.iter().filter(|at| **at - times[0] < time).count() as f64
}

/// The bound of an outage: one burst, and what is leased.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_and_a_restarted_server_lose_no_call_and_overspend_within_the_bound() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    let (rate, burst, time) = (500, 100, Duration::from_secs(6));
    let url = server.url();
    let outages = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.pause().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.resume().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.restart().await.unwrap();
    };
    let limit = || RateLimitLayer::per_second(rate).burst_size(burst);
    // Patient, so that a busy machine is no outage.
    let settings = Settings { timeout: Duration::from_millis(200), ..Settings::default() };
    let lateness = Lateness::measure();
    let (times, ()) = tokio::join!(run(url, settings, limit, time), outages);
    let excess = excess(&times, rate.into(), burst.into());
    let used = within(&times, time);
    let late = f64::from(rate) * lateness.most().as_secs_f64();
    eprintln!("{used} of {}, {excess} above the quota, {late} by lateness", burst + 6 * rate);
    assert!(excess <= f64::from(burst) + late, "{excess} calls above the quota in one window");
    assert!(used >= 0.6 * f64::from(burst + 6 * rate), "{used} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_seen_by_one_closes_the_gate_for_all() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let layers: Vec<_> = (0..3)
        .map(|_| {
            let settings = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
            RateLimitLayer::per_second(100).name("provider/model").store(store(&server.url(), settings))
        })
        .collect();
    let provider = service_fn(async |request: Request<Payload>| {
        let status = if request.headers().contains_key("limited") { 429 } else { 200 };
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("retry-after", "20".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    for layer in &layers {
        layer.layer(provider).oneshot(request()).await.unwrap();
    }
    subscribed(&server, 3).await;
    let mut limited = request();
    limited.headers_mut().insert("limited", "1".parse().unwrap());
    layers[0].layer(provider).oneshot(limited).await.unwrap();
    let (seen, lateness) = (Instant::now(), Lateness::measure());
    for layer in &layers[1..] {
        while layer.handle().closed_for().is_none() {
            assert!(seen.elapsed() < Duration::from_secs(5), "the gate stays open");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let late = seen.elapsed();
        eprintln!("closed after {late:?}");
        assert!(late <= Duration::from_millis(50) + 4 * lateness.most(), "{late:?}");
        let closed_for = layer.handle().closed_for().unwrap();
        assert!((Duration::from_secs(19)..=Duration::from_secs(20)).contains(&closed_for), "{closed_for:?}");
        let error = layer.layer(provider).oneshot(request()).await.unwrap_err();
        assert!(Rejection::find(&*error).unwrap().retry_after().unwrap() > Duration::from_secs(19));
    }
    // A reset of one opens all, and the quota does not wait for the end of the closed time either.
    layers[0].handle().reset();
    let reset = Instant::now();
    for layer in layers.iter().cycle().take(9) {
        while layer.layer(provider).oneshot(request()).await.is_err() {
            assert!(reset.elapsed() < Duration::from_secs(5), "the gate stays closed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(layer.handle().closed_for(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_each_process_has_its_share_and_no_caller_gets_an_error() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    server.kill().unwrap();
    let settings = Settings { processes: Some(3), ..Settings::default() };
    let (time, lateness) = (Duration::from_secs(2), Lateness::measure());
    let times = run(server.url(), settings, || RateLimitLayer::per_second(300).burst_size(60), time).await;
    assert!(excess(&times, 300.0, 60.0) <= 300.0 * lateness.most().as_secs_f64());
    let (used, quota) = (within(&times, time), 60.0 + 300.0 * 2.0);
    assert!(used >= 0.8 * quota, "{used} of {quota}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_closed_mode_calls_wait_for_the_server() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    server.kill().unwrap();
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let layer = RateLimitLayer::per_second(100).max_wait(Duration::from_millis(600)).name("a/b");
    let layer = layer.store(store(&server.url(), settings));
    let provider =
        service_fn(async |_: Request<Payload>| Ok::<_, Infallible>(Response::new(Payload::empty())));
    let started = Instant::now();
    let error = layer.layer(provider).oneshot(request()).await.unwrap_err();
    let message = Rejection::find(&*error).unwrap().to_string();
    assert!(message.contains("shared store"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.restart().await.unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while layer.layer(provider).oneshot(request()).await.is_err() {
        assert!(Instant::now() < until, "no call passes");
    }
}

/// A token quota is reserved by the estimate and settled by the use, in all processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_a_call_did_not_use_are_there_for_other_processes() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider = service_fn(async |_: Request<Payload>| {
        let body = r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":40}}"#;
        Ok::<_, Infallible>(Response::new(Payload::from(body)))
    });
    let stack = |_| {
        let limit = RateLimitLayer::new().tokens_per_minute(1_000).on_limit(OnLimit::Reject);
        let stack = ResilienceBuilder::new("openai/gpt-4o").rate_limit(limit);
        let settings = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
        stack.store(store(&server.url(), settings)).service(provider)
    };
    let stacks: Vec<_> = (0..2).map(stack).collect();
    let mut calls = 0;
    let mut rejections = 0;
    // Each call reserves about 510 tokens and uses 50.
    while rejections < 2 && calls < 100 {
        let request = Request::post("http://provider/v1/chat/completions").body(Payload::from(
            r#"{"model":"gpt-4o","max_tokens":500,"messages":[{"role":"user","content":"hi"}]}"#,
        ));
        match stacks[calls % 2].clone().oneshot(request.unwrap()).await {
            Ok(response) => {
                response.into_body().collect().await.unwrap();
                (calls, rejections) = (calls + 1, 0);
            }
            Err(error) => {
                assert!(Rejection::find(&*error).is_some(), "{error}");
                rejections += 1;
            }
        }
        // What was not used is reported within one and a half leases.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // 1000 tokens less the last reservation, and about 4 a 250 ms have refilled.
    assert!((9..=14).contains(&calls), "{calls}");
}

/// The connection fails in the handshake, and no message contains the password.
#[tokio::test]
async fn a_server_without_tls_is_an_error_of_the_check_and_not_a_panic() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let url = server.url().replace("redis://", "rediss://user:s3cret@");
    let settings = RedisSettings {
        store: Settings { mode: OnUnavailable::Closed, ..Settings::default() },
        ..RedisSettings::new(&url)
    };
    let error = RedisStore::with_settings(settings).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1") && !error.contains("s3cret"), "{error}");
    for url in ["http://s3cret", "s3cret", "redis://"] {
        let error = RedisStore::connect(url).await.err().map(|error| error.to_string());
        assert!(error.as_ref().is_none_or(|error| !error.contains("s3cret")), "{error:?}");
    }
}

/// Two calls in flight get 429s with different waits, the shorter one last. A process that joins later has
/// the longer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_of_two_closing_times_holds_for_all() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider = service_fn(async |request: Request<Payload>| {
        let wait = &request.headers()["wait"];
        let time = if wait == "20" { 50 } else { 150 };
        tokio::time::sleep(Duration::from_millis(time)).await;
        let response = Response::builder().status(429).header("retry-after", wait);
        Ok::<_, Infallible>(response.body(Payload::empty()).unwrap())
    });
    let process = || {
        let settings = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
        RateLimitLayer::per_second(100).name("provider/model").store(store(&server.url(), settings))
    };
    let call = |layer: &RateLimitLayer, wait: &'static str| {
        let mut request = request();
        request.headers_mut().insert("wait", wait.parse().unwrap());
        layer.layer(provider).oneshot(request)
    };
    let (one, other) = (process(), process());
    let (first, second) = tokio::join!(call(&one, "20"), call(&other, "5"));
    assert_eq!(
        (first.unwrap().status(), second.unwrap().status()),
        (429.try_into().unwrap(), 429.try_into().unwrap())
    );
    let is_closed = |layer: &RateLimitLayer| layer.handle().closed_for() > Some(Duration::from_secs(13));
    wait_until(|| is_closed(&one) && is_closed(&other)).await;
    let late = process();
    let rejected = call(&late, "1").await.unwrap_err();
    let wait = Rejection::find(&*rejected).unwrap().retry_after().unwrap();
    assert!(wait > Duration::from_secs(13), "{wait:?}");
    for layer in [one, other, late] {
        let closed_for = layer.handle().closed_for().unwrap();
        assert!((Duration::from_secs(13)..=Duration::from_secs(20)).contains(&closed_for), "{closed_for:?}");
    }
}

/// The tighter one decides, whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_quotas_of_one_unit_and_period_are_two_quotas() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider =
        service_fn(async |_: Request<Payload>| Ok::<_, Infallible>(Response::new(Payload::empty())));
    let minute = Duration::from_secs(60);
    for (name, amounts) in [("a/b", [4, 900]), ("a/c", [900, 4])] {
        // Patient, so that a busy machine is no outage.
        let settings = Settings { leases: false, timeout: Duration::from_secs(1), ..Settings::default() };
        let limit = RateLimitLayer::new().quota(amounts[0], minute).quota(amounts[1], minute);
        let limit = limit.on_limit(OnLimit::Reject).name(name).store(store(&server.url(), settings));
        let mut admitted = 0;
        for _ in 0..20 {
            admitted += usize::from(limit.layer(provider).oneshot(request()).await.is_ok());
        }
        assert!((2..=4).contains(&admitted), "{admitted} with {amounts:?}");
    }
}

/// The quota of a key is that of all processes, and another key has its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_with_keys_is_shared_for_each_key() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider =
        service_fn(async |_: Request<Payload>| Ok::<_, Infallible>(Response::new(Payload::empty())));
    // Patient, so that a busy machine is no outage.
    let settings = Settings { leases: false, timeout: Duration::from_secs(1), ..Settings::default() };
    let services: Vec<_> = (0..2)
        .map(|_| {
            let limit = RateLimitLayer::per_minute(6).burst_size(6).on_limit(OnLimit::Reject);
            let limit = limit.key_by(KeyBy::header(HeaderName::from_static("tenant"))).name("provider/model");
            limit.store(store(&server.url(), settings.clone())).layer(provider)
        })
        .collect();
    let mut admitted = Vec::new();
    for tenant in ["a", "b"] {
        let mut of_tenant = 0;
        for call in 0..40 {
            let request = Request::builder().header("tenant", tenant).body(Payload::from("{}")).unwrap();
            let response = services[call % 2].clone().oneshot(request).await;
            of_tenant += usize::from(response.is_ok());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        admitted.push(of_tenant);
    }
    // What refills within a lease is held back, and nothing else refills in this time.
    assert!(admitted.iter().all(|calls| (4..=6).contains(calls)), "{admitted:?}");
}
