//! Measures the lookup of a cached answer among 100 000, and the storage of one more.
//!
//!     cargo bench -p tidegate-benches --bench answer_cache
//!
//! Prompts have 6 to 15 words with a natural frequency: few words are in most prompts, and most words are in
//! few. All prompts belong to one caller and one context, so that only the words distinguish them, and the
//! cache is as large as the answers. `nothing` is a call through the same chain with a static text as the
//! last resort. Subtract it to get the cost of the cache alone. The scan is a lower bound for a full
//! comparison: words that are already hashed and sorted, compared as the cache compares them, without writing
//! a response. Compare the ratios.

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
use tidegate::provider::HttpService;
use tidegate::{BoxError, FallbackLayer, Payload};
use tidegate_benches::ProviderResult;
use tower::Layer;

const ANSWERS: usize = 100_000;

/// Large enough for all answers.
const MAX_BYTES: u64 = 160 * 1024 * 1024;

/// A provider that responds with one sentence.
fn provider() -> impl HttpService<Payload, Body = Full<Bytes>> + Clone + Send + Sync + 'static {
    let text = "It depends. ".repeat(10);
    let body = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    let body = Bytes::from(body);
    tower::service_fn(move |_: Request<Payload>| {
        let response = Response::builder().header("content-type", "application/json");
        ready(response.body(Full::new(body.clone())).map_err(BoxError::from))
            as std::future::Ready<ProviderResult>
    })
}

/// A provider that refuses connections.
fn unreachable_provider() -> impl HttpService<Payload, Body = Full<Bytes>> + Clone + Send + Sync + 'static {
    tower::service_fn(|_: Request<Payload>| {
        ready(Err::<Response<Full<Bytes>>, BoxError>("connection refused".into()))
    })
}

/// Maps a number to letters.
fn word(mut number: usize) -> String {
    let mut word = String::new();
    while number > 0 || word.is_empty() {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

fn prompt(random: &mut Rng) -> Vec<String> {
    let length = random.usize(6..16);
    (0..length).map(|_| word(20_000f64.powf(random.f64()) as usize)).collect()
}

fn prompts() -> Vec<Vec<String>> {
    let mut random = Rng::with_seed(7);
    (0..ANSWERS).map(|_| prompt(&mut random)).collect()
}

fn request(prompt: &str) -> Request<Payload> {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let mut request = Request::new(Payload::from(body));
    *request.uri_mut() = http::Uri::from_static("/v1/chat/completions");
    request
}

/// Sends one request and reads the response to its end. Returns whether it came from the cache.
fn run<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else { return false };
    let similarity = response.extensions().get::<FallbackInfo>().and_then(FallbackInfo::similarity);
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame).ok();
    }
    similarity.is_some()
}

/// The resident memory of this process in MiB, or 0 if the system does not report it.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1024
}

fn filled(prompts: &[Vec<String>]) -> AnswerCache {
    let before = resident();
    let cache = AnswerCache::new().max_bytes(MAX_BYTES);
    let mut storing = FallbackLayer::new().then_cached(cache.clone()).layer(provider());
    for prompt in prompts {
        run(&mut storing, request(&prompt.join(" ")));
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

/// The number of common words divided by the number of distinct words.
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
    let prompts = prompts();
    let cache = filled(&prompts);
    let mut group = c.benchmark_group("find among 100 000 answers");
    let mut index = 0;
    let mut next = || {
        index = (index + 7_919) % ANSWERS;
        &prompts[index]
    };
    let similar = |prompt: &[String]| {
        let mut similar = prompt.to_vec();
        similar.push("please".to_owned());
        similar
    };
    let other = |prompt: &[String]| prompt.iter().map(|word| format!("q{word}")).collect::<Vec<_>>();

    let mut fixed = FallbackLayer::new().then_static().layer(unreachable_provider());
    group.bench_function("nothing", |b| {
        b.iter_batched(
            || request(&next().join(" ")),
            |request| run(&mut fixed, request),
            BatchSize::SmallInput,
        )
    });
    let chain = FallbackLayer::new().then_cached(cache.clone());
    let mut cached = chain.clone().layer(unreachable_provider());
    group.bench_function("the same question", |b| {
        b.iter_batched(
            || request(&next().join(" ")),
            |request| assert!(run(&mut cached, request)),
            BatchSize::SmallInput,
        )
    });
    group.bench_function("a like question", |b| {
        b.iter_batched(
            || request(&similar(next()).join(" ")),
            |request| run(&mut cached, request),
            BatchSize::SmallInput,
        )
    });
    let mut then_fixed = chain.then_static().layer(unreachable_provider());
    group.bench_function("no such question, then a fixed text", |b| {
        b.iter_batched(
            || request(&other(next()).join(" ")),
            |request| assert!(!run(&mut then_fixed, request)),
            BatchSize::SmallInput,
        )
    });

    let secret = RandomState::new();
    let all: Vec<Vec<u64>> = prompts.iter().map(|prompt| words(prompt, &secret)).collect();
    let scan = |wanted: &[u64]| all.iter().map(|words| similarity(words, wanted)).max_by(f64::total_cmp);
    group.sample_size(20);
    group.bench_function("a like question, by a scan", |b| {
        b.iter_batched(|| words(&similar(next()), &secret), |wanted| scan(&wanted), BatchSize::SmallInput)
    });
    group.finish();

    let sample: Vec<_> = prompts.iter().step_by(97).map(|prompt| similar(prompt)).collect();
    let is_similar = |prompt: &&Vec<String>| scan(&words(prompt, &secret)).is_some_and(|best| best >= 0.8);
    let findable: Vec<_> = sample.iter().filter(is_similar).collect();
    let found = findable.iter().filter(|prompt| run(&mut cached, request(&prompt.join(" ")))).count();
    println!("{found} of {} similar prompts that a scan finds are found", findable.len());
}

/// The worst case: prompts of the largest length for which similar ones are looked up, of short words, and
/// many that are nearly the same.
fn longest(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let common: Vec<String> = (0..5_000).map(|number| word(number + 700)).collect();
    let common = &common.join(" ")[..16 * 1024 - 20];
    let cache = AnswerCache::new();
    let mut storing = FallbackLayer::new().then_cached(cache.clone()).layer(provider());
    for number in 0..300 {
        run(&mut storing, request(&format!("{common} {}", word(number + 20_000))));
    }
    let mut group = c.benchmark_group("a prompt of 16 KiB");
    let mut cached = FallbackLayer::new().then_cached(cache).layer(unreachable_provider());
    let prompt = format!("{common} zzzzzz");
    group.bench_function("among many that are like it", |b| {
        b.iter_batched(
            || request(&prompt),
            |request| assert!(run(&mut cached, request)),
            BatchSize::SmallInput,
        )
    });
    group.bench_function("is remembered", |b| {
        b.iter_batched(|| request(&prompt), |request| run(&mut storing, request), BatchSize::SmallInput)
    });
    group.finish();
}

fn store(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut random = Rng::with_seed(8);
    let mut group = c.benchmark_group("an answer passes");
    let mut alone = FallbackLayer::new().then_static().layer(provider());
    group.bench_function("and is not remembered", |b| {
        b.iter_batched(
            || request(&prompt(&mut random).join(" ")),
            |request| run(&mut alone, request),
            BatchSize::SmallInput,
        )
    });
    // The cache is full, so that every new answer evicts another one.
    let cache = AnswerCache::new().max_bytes(MAX_BYTES / 2);
    let layer = FallbackLayer::new().then_cached(cache);
    let mut storing = layer.clone().layer(provider());
    for prompt in prompts() {
        run(&mut storing, request(&prompt.join(" ")));
    }
    group.bench_function("and is remembered among as many as there is room for", |b| {
        b.iter_batched(
            || request(&prompt(&mut random).join(" ")),
            |request| run(&mut storing, request),
            BatchSize::SmallInput,
        )
    });
    let mut same = layer.clone().layer(provider());
    group.bench_function("and takes the place of the one before", |b| {
        b.iter_batched(|| request("how are you"), |request| run(&mut same, request), BatchSize::SmallInput)
    });
    group.bench_function("on two threads at once, and is remembered", |b| {
        b.iter_custom(|calls| on_two_threads(calls, || layer.clone().layer(provider())))
    });
    group.finish();
}

/// The time of `calls` calls on each of two threads.
fn on_two_threads<S: HttpService<Payload>>(calls: u64, make: impl Fn() -> S + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let work = |seed: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _context = runtime.enter();
        let mut random = Rng::with_seed(seed);
        let mut service = make();
        let requests: Vec<_> = (0..calls).map(|_| request(&prompt(&mut random).join(" "))).collect();
        barrier.wait();
        let start = Instant::now();
        for request in requests {
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

criterion_group!(benches, find, longest, store);
criterion_main!(benches);
