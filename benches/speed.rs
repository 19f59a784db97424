//! Prints the cost of the layers beside tower, tower-resilience, and governor and recloser by hand, and the
//! throughput of two threads that share one state.
//!
//!     cargo bench -p tidegate-benches --bench speed
//!     cargo bench -p tidegate-benches --bench speed -- threads      prints the last table only
//!
//! Every round measures all rows one after the other, so that a change in the load of the machine meets all
//! of them, and the table has the medians of the rounds. Compare ratios and differences, not nanoseconds of
//! two machines. The base is measured twice, as two rows: as far as these differ, a difference between other
//! rows means nothing. A run in which they differ by too much is reported as too noisy and fails.
//!
//! What the peers do is less: none of them retries here, classifies an error body, or handles a stream, and
//! all release their permit at the response head.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Buf;
use governor::{Quota, RateLimiter};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use recloser::Recloser;
use tidegate::provider::HttpService;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, ResilienceBuilder,
};
use tidegate_benches::{
    Pace, ProviderResult, UNREACHED, bare_request, call, call_to_end, event, provider, runtime, stack,
    stream_request, streaming_provider, usual_request,
};
use tokio::runtime::Runtime;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer as TowerRateLimitLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer as PeerCircuitBreakerLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;

// Many short rounds: most of them are then over before the scheduler runs something else.
const ROUNDS: usize = 151;
const CALLS: u32 = 500;
const SCALING_ROUNDS: usize = 151;
const SCALING_CALLS: u32 = 2_000;
const EVENTS: u32 = 2_000;
const ANSWER_EVENTS: u32 = 10_000;
const LIMIT: usize = 50;
const HOUR: Duration = Duration::from_secs(3_600);

/// The two base rows may differ by this share, or by this many nanoseconds.
const MAX_NOISE: f64 = 0.05;
const MAX_NOISE_NANOS: f64 = 2.0;

/// Two threads that share nothing do at least this much of the work of one, if the machine has two idle
/// cores.
const MIN_BASE_SCALING: f64 = 1.8;

/// One row: repeats its work the given number of times. The first row of a table is its base, the second is
/// the base again.
type Row<'a> = (&'static str, Box<dyn FnMut(u32) + 'a>);

fn row<'a>(name: &'static str, mut work: impl FnMut() + 'a) -> Row<'a> {
    (name, Box::new(move |repetitions| (0..repetitions).for_each(|_| work())))
}

fn succeeds<'a, S, B>(name: &'static str, mut service: S, request: fn() -> Request<Payload>) -> Row<'a>
where
    S: Service<Request<Payload>, Response = Response<B>> + 'a,
{
    row(name, move || assert!(call(&mut service, request())))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures the rows in turn and prints their medians. Returns whether the base rows agree.
fn print_table(title: &str, repetitions: u32, mut rows: Vec<Row<'_>>, goals: &[(&str, f64)]) -> bool {
    let mut nanos = vec![Vec::with_capacity(ROUNDS); rows.len()];
    for round in 0..=ROUNDS {
        for ((_, work), nanos) in rows.iter_mut().zip(&mut nanos) {
            let start = Instant::now();
            work(repetitions);
            // The first round warms up.
            if round > 0 {
                nanos.push(1e9 * start.elapsed().as_secs_f64() / f64::from(repetitions));
            }
        }
    }
    let above =
        |row: usize| median(nanos[row].iter().zip(&nanos[0]).map(|(nanos, base)| nanos - base).collect());
    let reference = rows.iter().position(|(name, _)| *name == BY_HAND).map(above);
    println!("\n{title}\n{:44} {:>8} {:>11} {:>10} {:>8}", "", "ns", "above base", "of by hand", "goal");
    for (number, (name, _)) in rows.iter().enumerate() {
        let ratio = reference
            .filter(|_| number > 1)
            .map_or_else(String::new, |reference| format!("{:.2} x", above(number) / reference));
        let goal =
            goals.iter().find(|(of, _)| of == name).map_or_else(String::new, |(_, goal)| format!("{goal}"));
        println!(
            "{name:44} {:8.0} {:11.0} {ratio:>10} {goal:>8}",
            median(nanos[number].clone()),
            above(number)
        );
    }
    agree(median(nanos[0].clone()), median(nanos[1].clone()), MAX_NOISE_NANOS)
}

fn agree(base: f64, again: f64, tolerance: f64) -> bool {
    let difference = (again / base - 1.0).abs();
    let agree = difference <= MAX_NOISE || (again - base).abs() <= tolerance;
    if !agree {
        println!(
            "TOO NOISY: the two base rows differ by {:.0} %; measure again on a quiet machine",
            100.0 * difference
        );
    }
    agree
}

const BY_HAND: &str = "tower, governor and recloser by hand";

fn governor() -> governor::DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")))
}

fn recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).open_wait(HOUR).build()
}

fn calls(title: &str, request: fn() -> Request<Payload>, goals: &[(&str, f64)]) -> bool {
    let (limiter, breaker) = (governor(), recloser());
    let mut limited = ConcurrencyLimitLayer::new(LIMIT).layer(provider());
    let by_hand = row(BY_HAND, || {
        assert!(limiter.check().is_ok());
        assert!(breaker.call(|| call(&mut limited, request()).then_some(()).ok_or(())).is_ok());
    });
    let tower = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(LIMIT))
        .layer(TowerRateLimitLayer::new(u64::from(UNREACHED), Duration::from_secs(1)))
        .service(provider());
    let bulkhead = BulkheadLayer::builder().max_concurrent_calls(LIMIT).reject_when_full();
    let peer_limit = RateLimiterLayer::builder()
        .limit_for_period(UNREACHED as usize)
        .refresh_period(Duration::from_secs(1));
    let peer_breaker = PeerCircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(HOUR)
        .failure_classifier(|result: &ProviderResult| {
            result.as_ref().map_or(true, |response| response.status().is_server_error())
        })
        .build()
        .expect("valid settings");
    let resilience = ServiceBuilder::new()
        .layer(bulkhead.build().expect("valid settings"))
        .layer(peer_limit.build().expect("valid settings"))
        .service(peer_breaker.layer(provider()));
    let rows = vec![
        succeeds("bare service", provider(), request),
        succeeds("bare service again", provider(), request),
        succeeds("tidegate, all parts off", ResilienceBuilder::new("").service(provider()), request),
        succeeds("tidegate, whole stack", stack().service(provider()), request),
        succeeds("tower: concurrency and rate limit", tower, request),
        by_hand,
        succeeds("tower-resilience: bulkhead, rate, breaker", resilience, request),
    ];
    print_table(title, CALLS, rows, goals)
}

fn failing() -> impl HttpService<Payload, Body = Payload, Response = Response<Payload>, Error = BoxError> {
    tower::service_fn(|_: Request<Payload>| {
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        std::future::ready(Ok::<_, BoxError>(response))
    })
}

fn rejections() -> bool {
    fn rejects<'a, S, B>(name: &'static str, mut service: S) -> Row<'a>
    where
        S: Service<Request<Payload>, Response = Response<B>> + 'a,
    {
        row(name, move || assert!(!call(&mut service, bare_request())))
    }
    let open = CircuitBreakerLayer::new().failure_threshold(1).cooldown(HOUR);
    assert!(!call(&mut open.layer(failing()), bare_request()));
    let breaker = recloser();
    (0..200).for_each(|_| assert!(breaker.call(|| Err::<(), _>(())).is_err()));
    let mut bare = provider();
    let by_hand = row(BY_HAND, move || {
        assert!(breaker.call(|| call(&mut bare, bare_request()).then_some(()).ok_or(())).is_err());
    });
    let rows = vec![
        row("a request, not sent", || drop(black_box(bare_request()))),
        row("a request, not sent, again", || drop(black_box(bare_request()))),
        rejects("tidegate, open circuit", open.layer(provider())),
        rejects(
            "tidegate, open circuit in the whole stack",
            stack().circuit_breaker(open).service(provider()),
        ),
        by_hand,
    ];
    print_table("rejection by an open circuit", CALLS, rows, &[("tidegate, open circuit", 50.0)])
}

fn events() -> bool {
    fn stream<'a, S: HttpService<Payload> + 'a>(name: &'static str, mut service: S) -> Row<'a> {
        // One repetition is one event.
        (
            name,
            Box::new(move |events| assert_eq!(call_to_end(&mut service, stream_request()), Some(events + 2))),
        )
    }
    let rows = |pace| {
        vec![
            stream("bare body", streaming_provider(EVENTS, pace)),
            stream("bare body again", streaming_provider(EVENTS, pace)),
            stream("tidegate, whole stack", stack().service(streaming_provider(EVENTS, pace))),
        ]
    };
    let goal = [("tidegate, whole stack", 100.0)];
    let ready = print_table("event of a stream", EVENTS, rows(Pace::Ready), &goal);
    print_table("event of a stream, after a wait", EVENTS, rows(Pace::Pending), &goal) && ready
}

/// A provider on a socket, in threads of its own, that answers every request with a stream of `events`
/// tokens, one to a chunk.
fn streaming_server(events: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for left in (0..events + 2).rev() {
        let event = event(left);
        write!(answer, "{:x}\r\n{event}\r\n", event.len()).expect("a vector");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, answer) = (connection.expect("a connection"), answer.clone());
            std::thread::spawn(move || answer_all(connection, &answer));
        }
    });
    address
}

/// Answers every request of a connection.
fn answer_all(mut connection: TcpStream, answer: &[u8]) {
    let mut received = Vec::new();
    let mut chunk = [0; 4_096];
    while let Ok(read @ 1..) = connection.read(&mut chunk) {
        received.extend_from_slice(&chunk[..read]);
        // The whole request is here: its body is the only object.
        if received.ends_with(b"}") {
            received.clear();
            if connection.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// The events of one long answer over a connection of the local machine.
fn answers() -> bool {
    fn stream<'a, S>(name: &'static str, runtime: &'a Runtime, address: SocketAddr, service: S) -> Row<'a>
    where
        S: HttpService<Payload> + Clone + 'a,
    {
        let answer = move |events| {
            let (mut request, service) = (stream_request(), service.clone());
            *request.uri_mut() =
                format!("http://{address}/v1/chat/completions").parse().expect("a valid address");
            runtime.block_on(async {
                let response = service.oneshot(request).await.ok().expect("a response");
                let mut body = pin!(response.into_body());
                let mut bytes = 0;
                while let Some(frame) = body.frame().await {
                    bytes += frame.ok().expect("a whole answer").data_ref().map_or(0, Buf::remaining);
                }
                assert!(bytes > 100 * events as usize);
            });
        };
        (name, Box::new(answer))
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = streaming_server(ANSWER_EVENTS);
    let client = || Client::builder(TokioExecutor::new()).build_http::<Payload>();
    let rows = vec![
        stream("bare client", &runtime, address, client()),
        stream("bare client again", &runtime, address, client()),
        stream("tidegate, whole stack", &runtime, address, stack().service(client())),
    ];
    print_table("event of an answer of 10 000 events, over a connection", ANSWER_EVENTS, rows, &[])
}

/// One row of the table of two threads. Makes the caller of a thread, which shares state with the others.
struct Shared<'a> {
    name: &'static str,
    goal: Option<f64>,
    caller: Box<dyn Fn() -> Box<dyn FnMut() + 'a> + Sync + 'a>,
}

impl<'a> Shared<'a> {
    fn service<S>(name: &'static str, goal: Option<f64>, service: S) -> Self
    where
        S: HttpService<Payload> + Clone + Sync + 'a,
    {
        let caller = move || -> Box<dyn FnMut() + 'a> {
            let mut service = service.clone();
            Box::new(move || assert!(call_to_end(&mut service, bare_request()).is_some()))
        };
        Self { name, goal, caller: Box::new(caller) }
    }

    /// The time of as many calls on each of `threads` threads, from the first start to the last end, so that
    /// threads that ran one after the other do not look concurrent.
    fn time(&self, threads: usize) -> Duration {
        let waiting = AtomicUsize::new(threads);
        let run = || {
            let runtime = runtime();
            let _context = runtime.enter();
            let mut call = (self.caller)();
            (0..SCALING_CALLS / 10).for_each(|_| call());
            waiting.fetch_sub(1, Ordering::SeqCst);
            while waiting.load(Ordering::SeqCst) > 0 {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            (0..SCALING_CALLS).for_each(|_| call());
            (start, Instant::now())
        };
        let times: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let start = times.iter().map(|time| time.0).min().expect("a thread");
        times.iter().map(|time| time.1).max().expect("a thread") - start
    }
}

fn threads() -> bool {
    let rates = CircuitBreakerLayer::new().failure_rate_threshold(0.5).sliding_window_size(100);
    let limiter = governor();
    let by_hand = || -> Box<dyn FnMut()> {
        let mut bare = provider();
        let limiter = &limiter;
        Box::new(move || assert!(limiter.check().is_ok() && call_to_end(&mut bare, bare_request()).is_some()))
    };
    let rows = [
        Shared::service("bare service", None, provider()),
        Shared::service("bare service again", None, provider()),
        Shared::service(
            "tidegate, rate limit",
            Some(1.6),
            RateLimitLayer::per_second(UNREACHED).layer(provider()),
        ),
        Shared::service("tidegate, breaker with rates", Some(1.6), rates.clone().layer(provider())),
        Shared::service(
            "tidegate, backpressure",
            Some(1.5),
            BackpressureLayer::max_inflight(LIMIT).layer(provider()),
        ),
        Shared::service("tidegate, whole stack", Some(1.7), stack().service(provider())),
        Shared::service(
            "tidegate, whole stack, breaker with rates",
            None,
            stack().circuit_breaker(rates).service(provider()),
        ),
        Shared::service(
            "tower, concurrency limit",
            None,
            ConcurrencyLimitLayer::new(LIMIT).layer(provider()),
        ),
        Shared { name: "governor by hand", goal: None, caller: Box::new(by_hand) },
    ];
    let (mut alone, mut scaling) = (vec![Vec::new(); rows.len()], vec![Vec::new(); rows.len()]);
    for _ in 0..SCALING_ROUNDS {
        for (number, row) in rows.iter().enumerate() {
            let [one, two] = [1, 2].map(|threads| row.time(threads).as_secs_f64());
            alone[number].push(1e9 * one / f64::from(SCALING_CALLS));
            scaling[number].push(2.0 * one / two);
        }
    }
    println!("\ntwo threads on one state\n{:44} {:>8} {:>11} {:>19}", "", "ns alone", "of one", "goal");
    let scaling: Vec<_> = scaling.into_iter().map(median).collect();
    for ((row, alone), scaling) in rows.iter().zip(alone).zip(&scaling) {
        let goal = row.goal.map_or_else(String::new, |goal| format!("{goal} x"));
        println!("{:44} {:8.0} {scaling:9.2} x {goal:>19}", row.name, median(alone));
    }
    let is_idle = scaling[0] >= MIN_BASE_SCALING;
    if !is_idle {
        println!("TOO NOISY: no two cores are idle; measure again on a quiet machine");
    }
    agree(scaling[0], scaling[1], 0.0) && is_idle
}

fn main() -> ExitCode {
    let runtime = runtime();
    let _context = runtime.enter();
    if std::env::args().any(|argument| argument == "threads") {
        return if threads() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let is_quiet = [
        calls(
            "call, bare request",
            bare_request,
            &[("tidegate, all parts off", 60.0), ("tidegate, whole stack", 150.0)],
        ),
        calls("call, POST with six headers and 2 KiB", usual_request, &[]),
        rejections(),
        events(),
        answers(),
        threads(),
    ];
    if is_quiet.iter().all(|is_quiet| *is_quiet) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
