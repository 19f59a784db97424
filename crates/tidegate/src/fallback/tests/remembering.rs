//! What is put into the cache of answers, and when what was asked is read for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request, response};
use serde_json::json;
use tidegate_core::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};
use tidegate_providers::compose::Composer;

use super::resorts::{asking, chain, json_answer, question, read, said, strategy};
use crate::fallback::{AnswerCache, FallbackKind};
use crate::testing::{send, strict};

/// Counts how often a request is read.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl AnswerSynthesizer for Counting {
    fn question(&self, head: &request::Parts, body: &[u8]) -> Option<ChatQuestion> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Composer.question(head, body)
    }

    fn transcribe(&self, head: &response::Parts) -> Option<Box<dyn AnswerRecorder>> {
        Composer.transcribe(head)
    }

    fn answer(&self, question: &ChatQuestion, text: &str, now: SystemTime) -> Response<Bytes> {
        Composer.answer(question, text, now)
    }

    fn rephrase(&self, body: &[u8], prompt: Option<&str>, bounds: CompletionLimits) -> Option<Bytes> {
        Composer.rephrase(body, prompt, bounds)
    }
}

/// Every request was read as its answer began, pictures and all, whatever became of the answer.
#[tokio::test(start_paused = true)]
async fn what_was_asked_is_read_once_there_is_an_answer_to_remember() {
    let (cache, counting) = (AnswerCache::new(), Counting::default());
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

/// It was read anew for each target that was asked with less: megabytes of it, on a day on which nobody answers.
#[tokio::test(start_paused = true)]
async fn what_was_asked_is_read_once_for_all_last_resorts() {
    let (counting, (second, other)) = (Counting::default(), strict());
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
async fn the_answer_to_a_request_above_512_kib_is_not_remembered() {
    let after = |earlier: usize| {
        asking(json!({"model": "m", "messages": [
            {"role": "system", "content": "x".repeat(earlier)},
            {"role": "user", "content": "Is it?"},
        ]}))
    };
    let (cache, counting) = (AnswerCache::new(), Counting::default());
    let (first, _, mut service) = chain(|layer| layer.then_cached(cache.clone()).composer(counting.clone()));
    for (earlier, remembered) in [(512 * 1024, 0), (511 * 1024, 1)] {
        json_answer(&first, "yes");
        read(send(&mut service, after(earlier)).await).await;
        assert_eq!((cache.len(), counting.count()), (remembered, remembered));
    }
    first.answer(503);
    let (head, body) = read(send(&mut service, after(511 * 1024)).await).await;
    assert_eq!((strategy(&head), said(&body)), (Some(FallbackKind::CachedResponse), "yes".into()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_longer_than_the_caller_wants_is_not_served() {
    let (first, _, mut service) = chain(|layer| layer.then_cached(AnswerCache::new()));
    let within = |tokens: u64| {
        asking(json!({
            "model": "m",
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": "Tell me all."}],
        }))
    };
    json_answer(&first, &"all of it ".repeat(20));
    read(send(&mut service, within(100)).await).await;
    first.otherwise(tidegate_testkit::strict::Answer::status(503));
    for (tokens, status) in [(1, 503), (99, 503), (100, 200), (1_000, 200)] {
        assert_eq!(read(send(&mut service, within(tokens)).await).await.0.0, status, "{tokens}");
    }
    assert_eq!(read(send(&mut service, question("Tell me all.")).await).await.0.0, 200);
}
