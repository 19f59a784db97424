//! Memory is bounded: the answers in a cache and all of its indexes stay within the configured size.

#![cfg(feature = "translate")]

use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tidegate::fallback::AnswerCache;
use tidegate::provider::HttpService;
use tidegate::{BoxError, FallbackLayer, Payload};
use tower::Layer;

/// Makes a call and reads its response to the end, so that it is cached.
fn call<S: HttpService<Payload>>(service: &mut S, prompt: &str) {
    let mut cx = Context::from_waker(Waker::noop());
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let request = Request::post("/v1/chat/completions").body(Payload::from(body)).unwrap();
    let mut call = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else { panic!("the response is immediate") };
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut cx) {}
}

fn completion(text: &str) -> Response<Full<Bytes>> {
    let body = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    Response::builder().header("content-type", "application/json").body(Full::from(body)).unwrap()
}

/// The number in letters.
fn letters(mut number: u32) -> String {
    let mut text = String::new();
    while number > 0 || text.is_empty() {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

/// Sends prompts with this many words, each with a response of `length` bytes, until the cache is full and
/// for as long again.
fn fill(cache: &AnswerCache, words: u32, length: usize) {
    let text = "x".repeat(length);
    let provider = tower::service_fn(move |_: Request<Payload>| ready(Ok::<_, BoxError>(completion(&text))));
    let mut service = FallbackLayer::new().then_cached(cache.clone()).layer(provider);
    let mut calls = 0u32;
    while (calls as usize) < 2 * cache.len() + 8 {
        calls += 1;
        let words = (0..words).map(|word| letters(calls * 5_003 + word));
        call(&mut service, &words.collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn a_cache_uses_its_bound_and_no_more() {
    const MAX_BYTES: u64 = 1024 * 1024;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    for (words, length) in [(1, 1), (8, 200), (60, 2_000), (2_000, 10), (4_000, 10), (1, 100_000)] {
        let cache = AnswerCache::new().max_bytes(MAX_BYTES);
        let held = measure(|| fill(&cache, words, length));
        let share = held.bytes_current as f64 / MAX_BYTES as f64;
        println!("{words} words, {length} bytes: {} answers in {share:.3} of the bound", cache.len());
        assert!((0.9..=1.0).contains(&share), "{words} words, {length} bytes: {share}");
        let left = measure(|| cache.clear());
        assert_eq!(left.bytes_current, -held.bytes_current, "clear releases all of it");
    }
}

/// The index of many answers needs more memory than the index of a few, and shrinks again.
#[test]
fn a_few_long_answers_after_many_short_ones_stay_within_the_bound() {
    // A few more short answers than a hash table of 2048 entries holds.
    const MAX_BYTES: u64 = 1280 * 1024;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let cache = AnswerCache::new().max_bytes(MAX_BYTES);
    let mut held = 0;
    for (words, length) in [(1, 1), (60, 2_000), (1, 100_000), (1, 1), (8, 200)] {
        held += measure(|| fill(&cache, words, length)).bytes_current;
        let share = held as f64 / MAX_BYTES as f64;
        println!("then {words} words, {length} bytes: {} answers in {share:.3} of the bound", cache.len());
        assert!((0.9..=1.0).contains(&share), "then {words} words, {length} bytes: {share}");
    }
}
