//! What does it cost to find an answer that was given before among 100 000, and to remember one more?
//!
//!     cargo bench -p tidegate-benches --bench answer_cache
//!
//! Questions of 6 to 15 words as people ask them: few words are in most, most words in few. All are one caller's, in one
//! context, so that nothing but the words tells them apart; the cache is as large as the answers. `nothing` is a call down
//! the same chain whose last resort is a fixed text: take it off to see what the cache alone costs. The scan is the least
//! that a look at everything could cost: words that are hashed and sorted already, compared as the cache compares them,
//! and no answer written. Read the ratios.

use std::collections::hash_map::RandomState;
use std::future::{Future, ready};
use std::hash::BuildHasher;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tidegate::fallback::{AnswerCache, FallbackInfo};
use tidegate::{BoxError, FallbackLayer, HttpService, Payload};
use tower::Layer;

const ANSWERS: usize = 100_000;

/// Room for all of them.
const MAX_BYTES: u64 = 160 * 1024 * 1024;

type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A provider that answers in one sentence.
fn provider() -> impl HttpService<Payload, Body = Full<Bytes>> + Clone + Send + Sync + 'static {
    let text = "It depends. ".repeat(10);
    let body = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    let body = Bytes::from(body);
    tower::service_fn(move |_: Request<Payload>| {
        let answer = Response::builder().header("content-type", "application/json");
        ready(answer.body(Full::new(body.clone())).map_err(BoxError::from)) as std::future::Ready<Answer>
    })
}

/// One that is down.
fn nobody() -> impl HttpService<Payload, Body = Full<Bytes>> + Clone + Send + Sync + 'static {
    tower::service_fn(|_: Request<Payload>| {
        ready(Err::<Response<Full<Bytes>>, BoxError>("connection refused".into()))
    })
}

/// A word for a number.
fn word(mut number: usize) -> String {
    let mut word = String::new();
    while number > 0 || word.is_empty() {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

fn question(random: &mut Rng) -> Vec<String> {
    let length = random.usize(6..16);
    (0..length).map(|_| word(20_000f64.powf(random.f64()) as usize)).collect()
}

fn questions() -> Vec<Vec<String>> {
    let mut random = Rng::with_seed(7);
    (0..ANSWERS).map(|_| question(&mut random)).collect()
}

fn request(prompt: &str) -> Request<Payload> {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let mut request = Request::new(Payload::from(body));
    *request.uri_mut() = http::Uri::from_static("/v1/chat/completions");
    request
}

/// A call to the end of its answer; whether it came from the cache.
fn run<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = pin!(service.call(request));
    let Poll::Ready(Ok(answer)) = call.as_mut().poll(&mut cx) else { return false };
    let similarity = answer.extensions().get::<FallbackInfo>().and_then(FallbackInfo::similarity);
    let mut body = pin!(answer.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame).ok();
    }
    similarity.is_some()
}

/// The memory of this process, in MiB, where the system tells.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1024
}

fn filled(questions: &[Vec<String>]) -> AnswerCache {
    let before = resident();
    let cache = AnswerCache::new().max_bytes(MAX_BYTES);
    let mut remembering = FallbackLayer::new().then_cached(cache.clone()).layer(provider());
    for question in questions {
        run(&mut remembering, request(&question.join(" ")));
    }
    println!("{} answers in {} MiB of memory, of {} MiB", cache.len(), resident() - before, MAX_BYTES >> 20);
    cache
}

/// The words of a prompt, hashed and sorted.
fn words(question: &[String], secret: &RandomState) -> Vec<u64> {
    let mut words: Vec<u64> = question.iter().map(|word| secret.hash_one(word)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The words that both have, as a share of those that either has.
fn similarity(one: &[u64], other: &[u64]) -> f64 {
    let (mut a, mut b, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (one.get(a), other.get(b)) {
        shared += usize::from(x == y);
        (a, b) = (a + usize::from(x <= y), b + usize::from(y <= x));
    }
    shared as f64 / (one.len() + other.len() - shared) as f64
}

fn find(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let questions = questions();
    let cache = filled(&questions);
    let mut group = c.benchmark_group("find among 100 000 answers");
    let mut place = 0;
    let mut next = || {
        place = (place + 7_919) % ANSWERS;
        &questions[place]
    };
    let like = |question: &[String]| {
        let mut like = question.to_vec();
        like[3] = "zzzz".to_owned();
        like
    };
    let other = |question: &[String]| question.iter().map(|word| format!("q{word}")).collect::<Vec<_>>();

    let mut fixed = FallbackLayer::new().then_static().layer(nobody());
    group.bench_function("nothing", |b| {
        b.iter_batched(|| request(&next().join(" ")), |asked| run(&mut fixed, asked), BatchSize::SmallInput)
    });
    let chain = FallbackLayer::new().then_cached(cache.clone());
    let mut cached = chain.clone().layer(nobody());
    group.bench_function("the same question", |b| {
        b.iter_batched(
            || request(&next().join(" ")),
            |asked| assert!(run(&mut cached, asked)),
            BatchSize::SmallInput,
        )
    });
    group.bench_function("a like question", |b| {
        b.iter_batched(
            || request(&like(next()).join(" ")),
            |asked| run(&mut cached, asked),
            BatchSize::SmallInput,
        )
    });
    let mut then_fixed = chain.then_static().layer(nobody());
    group.bench_function("no such question, then a fixed text", |b| {
        b.iter_batched(
            || request(&other(next()).join(" ")),
            |asked| assert!(!run(&mut then_fixed, asked)),
            BatchSize::SmallInput,
        )
    });

    let secret = RandomState::new();
    let all: Vec<Vec<u64>> = questions.iter().map(|question| words(question, &secret)).collect();
    let scan = |asked: &[u64]| all.iter().map(|words| similarity(words, asked)).max_by(f64::total_cmp);
    group.sample_size(20);
    group.bench_function("a like question, by a scan", |b| {
        b.iter_batched(|| words(&like(next()), &secret), |asked| scan(&asked), BatchSize::SmallInput)
    });
    group.finish();

    let sample: Vec<_> = questions.iter().step_by(97).map(|question| like(question)).collect();
    let is_alike = |asked: &&Vec<String>| scan(&words(asked, &secret)).is_some_and(|best| best >= 0.8);
    let alike: Vec<_> = sample.iter().filter(is_alike).collect();
    let found = alike.iter().filter(|asked| run(&mut cached, request(&asked.join(" ")))).count();
    println!("{found} of {} like questions that a scan finds are found", alike.len());
}

/// The most that anybody can make it do: prompts as long as like ones are looked for, of short words, and many that
/// are nearly the same.
fn longest(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let common: Vec<String> = (0..5_000).map(|number| word(number + 700)).collect();
    let common = &common.join(" ")[..16 * 1024 - 20];
    let cache = AnswerCache::new();
    let mut remembering = FallbackLayer::new().then_cached(cache.clone()).layer(provider());
    for number in 0..300 {
        run(&mut remembering, request(&format!("{common} {}", word(number + 20_000))));
    }
    let mut group = c.benchmark_group("a prompt of 16 KiB");
    let mut cached = FallbackLayer::new().then_cached(cache).layer(nobody());
    let asked = format!("{common} zzzzzz");
    group.bench_function("among many that are like it", |b| {
        b.iter_batched(|| request(&asked), |asked| assert!(run(&mut cached, asked)), BatchSize::SmallInput)
    });
    group.bench_function("is remembered", |b| {
        b.iter_batched(|| request(&asked), |asked| run(&mut remembering, asked), BatchSize::SmallInput)
    });
    group.finish();
}

fn remember(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut random = Rng::with_seed(8);
    let mut group = c.benchmark_group("an answer passes");
    let mut alone = FallbackLayer::new().then_static().layer(provider());
    group.bench_function("and is not remembered", |b| {
        b.iter_batched(
            || request(&question(&mut random).join(" ")),
            |asked| run(&mut alone, asked),
            BatchSize::SmallInput,
        )
    });
    // Full, so that for each that comes another one goes.
    let cache = AnswerCache::new().max_bytes(MAX_BYTES / 2);
    let layer = FallbackLayer::new().then_cached(cache);
    let mut remembering = layer.clone().layer(provider());
    for question in questions() {
        run(&mut remembering, request(&question.join(" ")));
    }
    group.bench_function("and is remembered among as many as there is room for", |b| {
        b.iter_batched(
            || request(&question(&mut random).join(" ")),
            |asked| run(&mut remembering, asked),
            BatchSize::SmallInput,
        )
    });
    let mut same = layer.clone().layer(provider());
    group.bench_function("and takes the place of the one before", |b| {
        b.iter_batched(|| request("how are you"), |asked| run(&mut same, asked), BatchSize::SmallInput)
    });
    group.bench_function("on two threads at once, and is remembered", |b| {
        b.iter_custom(|calls| on_two_threads(calls, || layer.clone().layer(provider())))
    });
    group.finish();
}

/// The time for `calls` calls on each of two threads.
fn on_two_threads<S: HttpService<Payload>>(calls: u64, make: impl Fn() -> S + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let work = |seed: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _context = runtime.enter();
        let mut random = Rng::with_seed(seed);
        let mut service = make();
        let asked: Vec<_> = (0..calls).map(|_| request(&question(&mut random).join(" "))).collect();
        barrier.wait();
        let start = Instant::now();
        for request in asked {
            run(&mut service, request);
        }
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(fastrand::u64(..)));
        let own = work(fastrand::u64(..));
        own.max(other.join().unwrap_or_default())
    })
}

criterion_group!(benches, find, longest, remember);
criterion_main!(benches);
