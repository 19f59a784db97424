//! Which answers are cached, and when the request is parsed for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};
use serde_json::json;
use tidegate_core::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};
use tidegate_translate::Composer;

use super::last_resorts::{chain, content, json_answer, question, read, strategy};
use crate::fallback::{AnswerCache, FallbackKind, Uncached};
use crate::testing::{chat_request, send, strict, with};

/// Counts how often a request is parsed.
#[derive(Clone, Default)]
struct CountingComposer(Arc<AtomicUsize>);

impl CountingComposer {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl AnswerSynthesizer for CountingComposer {
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Composer.question(head, body)
    }

    fn recorder(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>> {
        Composer.recorder(head)
    }

    fn synthesize(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes> {
        Composer.synthesize(question, text, now)
    }

    fn rewrite_request(&self, body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
        Composer.rewrite_request(body, prompt, bounds)
    }
}

/// Regression: every request was parsed when its response began, including its images, whatever the outcome
/// of the response.
#[tokio::test(start_paused = true)]
async fn the_request_is_parsed_when_an_answer_is_stored() {
    let (cache, counting) = (AnswerCache::new(), CountingComposer::default());
    let (first, _, mut service) = chain(|layer| layer.then_cached(cache.clone()).composer(counting.clone()));
    json_answer(&first, "yes");
    let response = send(&mut service, question("a")).await;
    assert_eq!(counting.count(), 0, "its answer has only begun");
    read(response).await;
    assert_eq!((counting.count(), cache.len()), (1, 1));
    json_answer(&first, "");
    read(send(&mut service, question("b")).await).await;
    first.answer(200).header("content-type", "application/json").break_off("reset");
    drop(send(&mut service, question("c")).await);
    assert_eq!((counting.count(), cache.len()), (1, 1));
}

/// Regression: the request was parsed again for each target that was sent the simplified prompt, which could
/// be megabytes per call while no target responds.
#[tokio::test(start_paused = true)]
async fn the_request_is_parsed_once_for_all_last_resorts() {
    let (counting, (second, other)) = (CountingComposer::default(), strict());
    let (first, _, mut service) = chain(|layer| {
        let layer = layer.then("b/two", second).then_cached(AnswerCache::new());
        layer.then_simplified().then_static().composer(counting.clone())
    });
    first.otherwise(tidegate_testkit::strict::Answer::status(503));
    other.otherwise(tidegate_testkit::strict::Answer::status(503));
    let (head, _) = read(send(&mut service, question("a\nb\nc\nd")).await).await;
    assert_eq!((strategy(&head), first.calls(), other.calls()), (Some(FallbackKind::StaticResponse), 2, 2));
    assert_eq!(counting.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_request_above_512_kib_is_not_cached() {
    let after = |earlier: usize| {
        chat_request(json!({"model": "m", "messages": [
            {"role": "system", "content": "x".repeat(earlier)},
            {"role": "user", "content": "Is it?"},
        ]}))
    };
    let (cache, counting) = (AnswerCache::new(), CountingComposer::default());
    let (first, _, mut service) = chain(|layer| layer.then_cached(cache.clone()).composer(counting.clone()));
    for (earlier, cached) in [(512 * 1024, 0), (511 * 1024, 1)] {
        json_answer(&first, "yes");
        read(send(&mut service, after(earlier)).await).await;
        assert_eq!((cache.len(), counting.count()), (cached, cached));
    }
    first.answer(503);
    let (head, body) = read(send(&mut service, after(511 * 1024)).await).await;
    assert_eq!((strategy(&head), content(&body)), (Some(FallbackKind::CachedResponse), "yes".into()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_above_the_token_limit_is_not_returned() {
    let (first, _, mut service) = chain(|layer| layer.then_cached(AnswerCache::new()));
    let with_max_tokens = |tokens: u64| {
        chat_request(json!({
            "model": "m",
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": "Tell me all."}],
        }))
    };
    json_answer(&first, &"all of it ".repeat(20));
    read(send(&mut service, with_max_tokens(100)).await).await;
    first.otherwise(tidegate_testkit::strict::Answer::status(503));
    for (tokens, status) in [(1, 503), (99, 503), (100, 200), (1_000, 200)] {
        assert_eq!(read(send(&mut service, with_max_tokens(tokens)).await).await.0.0, status, "{tokens}");
    }
    assert_eq!(read(send(&mut service, question("Tell me all.")).await).await.0.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_uncached_request_is_neither_stored_nor_answered_from_the_cache() {
    let cache = AnswerCache::new();
    let (first, _, mut service) = chain(|layer| layer.then_cached(cache.clone()));
    let uncached = || with(question("a"), Uncached);
    json_answer(&first, "yes");
    read(send(&mut service, uncached()).await).await;
    assert!(cache.is_empty());
    json_answer(&first, "yes");
    read(send(&mut service, question("a")).await).await;
    assert_eq!(cache.len(), 1);
    first.answer(503);
    assert_eq!(read(send(&mut service, uncached()).await).await.0.0, 503);
    first.answer(503);
    let (head, _) = read(send(&mut service, question("a")).await).await;
    assert_eq!(strategy(&head), Some(FallbackKind::CachedResponse));
}
