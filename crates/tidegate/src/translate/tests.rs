use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, request, response};
use http_body_util::{BodyExt, Full};
use tidegate_core::{BodyMode, ResponseTranslator, Translation, Translator, Untranslatable};
use tidegate_testkit::contract;
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use super::TranslateLayer;
use crate::group::{Group, Member};
use crate::offload::LONG_DOCUMENT;
use crate::testing::{
    SECOND, StuckUpload, call, rejection, send, strict, strict_behind, with, with_deadline,
};
use crate::{
    ErrorCode, Failure, FailureKind, FallbackLayer, Gate, HttpService, Outcome, Payload, Rejection,
    ResilienceBuilder, RetryLayer, Trail, Verdict, clock,
};

/// Translates requests to upper case, and responses to lower case. The body of a request must not be
/// `whisper`.
#[derive(Clone, Copy)]
struct UppercaseTranslator(BodyMode);

struct LowercaseTranslator(BodyMode);

impl Translator for UppercaseTranslator {
    fn request(&self, head: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        if body == b"whisper" {
            return Err(Untranslatable::new("voice", "is too low"));
        }
        head.headers.insert("loud", HeaderValue::from_static("yes"));
        Ok(Translation {
            body: body.to_ascii_uppercase().into(),
            response: Box::new(LowercaseTranslator(self.0)),
        })
    }
}

impl ResponseTranslator for LowercaseTranslator {
    fn head(&mut self, head: &mut response::Parts, _: SystemTime) -> Result<BodyMode, Failure> {
        if head.headers.contains_key("content-encoding") {
            Err(Failure::new(ErrorCode::ServerError))
        } else {
            Ok(self.0)
        }
    }

    fn whole(&mut self, _: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
        Ok([b"(", &body.to_ascii_lowercase()[..], b")"].concat().into())
    }

    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        out.extend_from_slice(&bytes.to_ascii_lowercase());
        if bytes.ends_with(b"!") { Err(Failure::new(ErrorCode::ServerError)) } else { Ok(()) }
    }

    fn end(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b".");
    }
}

/// Buffers and parses like a translator, but leaves the bytes unchanged.
struct Verbatim(BodyMode);

impl Translator for Verbatim {
    fn request(&self, _: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        Ok(Translation { body: Bytes::copy_from_slice(body), response: Box::new(Self(self.0)) })
    }
}

impl ResponseTranslator for Verbatim {
    fn head(&mut self, _: &mut response::Parts, _: SystemTime) -> Result<BodyMode, Failure> {
        Ok(self.0)
    }

    fn whole(&mut self, _: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
        Ok(Bytes::copy_from_slice(body))
    }

    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, _: &mut BytesMut) {}
}

fn whole() -> TranslateLayer {
    TranslateLayer::new(UppercaseTranslator(BodyMode::Whole))
}

fn events() -> TranslateLayer {
    TranslateLayer::new(UppercaseTranslator(BodyMode::Events))
}

fn request_with(words: &'static str) -> Request<Payload> {
    Request::post("http://provider/").header("content-length", 1).body(Payload::from(words)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| TranslateLayer::disabled().layer(inner)).await;
    contract::check(|inner| TranslateLayer::new(Verbatim(BodyMode::Untouched)).layer(inner)).await;
}

/// Without the part of the contract about lengths and trailers, which describe the original bytes.
#[tokio::test(start_paused = true)]
async fn keeps_towers_contract_when_it_translates() {
    for mode in [BodyMode::Whole, BodyMode::Events] {
        contract::readiness(|inner| TranslateLayer::new(Verbatim(mode)).layer(inner)).await;
    }
    contract::drops(|inner| TranslateLayer::new(Verbatim(BodyMode::Events)).layer(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn a_buffered_response_is_translated_as_a_whole() {
    let (inner, provider) = strict();
    provider
        .answer(200)
        .header("content-length", "9")
        .extension(Outcome::Neutral)
        .frame("HIGH ")
        .frame("TIDE");
    let answer = send(&mut whole().layer(inner), request_with("when?")).await.unwrap();
    assert_eq!(
        (&answer.headers()["content-length"], answer.extensions().get()),
        (&"11".parse().unwrap(), Some(&Outcome::Neutral))
    );
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "(high tide)");
    let request = &provider.requests()[0];
    assert_eq!(
        (request.body.as_deref(), &request.headers["content-length"]),
        (Some(&b"WHEN?"[..]), &"5".parse().unwrap())
    );
    assert_eq!(request.headers["loud"], "yes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_translated_frame_by_frame_to_its_end() {
    let (inner, provider) = strict();
    provider.answer(200).header("content-length", "7").frame("HIGH ").frame("TIDE");
    let answer = call(&mut events().layer(inner)).await.unwrap();
    assert!(!answer.headers().contains_key("content-length"));
    let mut body = answer.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap().into_data().unwrap());
    }
    assert_eq!(frames, ["high ", "tide", "."]);
}

/// Pitfall P21 (docs/pitfalls.md): a broken stream must not end without an error.
#[tokio::test(start_paused = true)]
async fn a_broken_stream_ends_with_its_error() {
    let (inner, provider) = strict();
    provider.answer(200).frame("HIGH").break_off("connection reset");
    let mut body = call(&mut events().layer(inner)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "high");
    assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "connection reset");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_untranslatable_event_breaks_the_stream_after_the_events_before_it() {
    let (inner, provider) = strict();
    provider.answer(200).frame("HIGH!").frame("TIDE");
    let mut body = call(&mut events().layer(inner)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "high!");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Outcome::of_error(&*error), Failure::new(ErrorCode::ServerError).into());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_untranslatable_request_is_rejected_with_its_field_and_not_sent() {
    let (inner, provider) = strict();
    let trail = Trail::new();
    let request = with(request_with("whisper"), trail.clone());
    let error = send(&mut whole().layer(inner), request).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), Outcome::of_error(&*error)),
        ("`voice` is too low", Outcome::Neutral)
    );
    let rejected = Verdict::Rejected { gate: Gate::Translate, code: ErrorCode::InvalidRequest };
    assert_eq!((provider.calls(), &trail.steps()[0].verdict), (0, &rejected));
}

#[tokio::test(start_paused = true)]
async fn an_untranslatable_request_falls_back_to_the_next_target() {
    let ((first, _), (second, provider)) = (strict(), strict());
    provider.answer(200).body("sh");
    let mut chain = FallbackLayer::new().then("second", second).layer(whole().layer(first));
    let answer = send(&mut chain, request_with("whisper")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "sh");
    assert_eq!(provider.requests()[0].body.as_deref(), Some(&b"whisper"[..]), "in the caller's own words");
}

#[tokio::test(start_paused = true)]
async fn a_buffered_response_is_read_up_to_a_limit() {
    let (mut service, provider) = strict_behind(&whole().answer_cap(10));
    provider.answer(200).frame("TEN ").frame("BYTES.");
    let answer = call(&mut service).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "(ten bytes.)");
    provider.answer(200).frame("TEN BYTES.").frame("AND MORE").stall();
    let error = call(&mut service).await.unwrap_err();
    assert_eq!(error.to_string(), "answer of more than 10 bytes cannot be translated");
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().code, ErrorCode::ServerError);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_buffered_response_ends_with_its_error() {
    let (inner, provider) = strict();
    provider.answer(200).frame("HALF").break_off("connection reset");
    let error = call(&mut whole().layer(inner)).await.unwrap_err();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().kind, FailureKind::Transport);
}

/// The status is the most important part of a failed response.
#[tokio::test(start_paused = true)]
async fn the_part_of_a_failed_response_that_arrives_in_time_is_translated() {
    let (mut service, provider) = strict_behind(&whole());
    provider.answer(503).frame("FULL").break_off("connection reset");
    provider.answer(503).frame("FULL").stall();
    for expected in [Duration::ZERO, Duration::from_secs(5)] {
        let start = clock::now();
        let answer = call(&mut service).await.unwrap();
        assert_eq!((answer.status().as_u16(), clock::now() - start), (503, expected));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "(full)");
    }
    // Many small frames count as a long body.
    provider.then((0..5_000).fold(Answer::status(500), |answer, _| answer.frame("X")));
    let answer = call(&mut service).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1_025 + 2);
    provider.answer(500).frame("X".repeat(100 * 1024));
    let answer = call(&mut service).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 64 * 1024 + 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_response_is_a_failure() {
    let (inner, provider) = strict();
    provider.answer(200).header("content-encoding", "gzip").frame("\u{1f}");
    let error = call(&mut events().layer(inner)).await.unwrap_err();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().code, ErrorCode::ServerError);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_request_body_is_read_first_and_rejected_if_too_long() {
    let (service, provider) = strict_behind(&whole().body_cap(8));
    let send_streamed = async |words: &'static str| {
        let request = Request::new(Full::new(Bytes::from_static(words.as_bytes())));
        service.clone().oneshot(request).await
    };
    send_streamed("eight...").await.unwrap();
    assert_eq!(provider.requests()[0].body.as_deref(), Some(&b"EIGHT..."[..]));
    let error = send_streamed("nine.....").await.unwrap_err();
    assert_eq!(Rejection::find(&*error).unwrap().code(), ErrorCode::RequestTooLarge);
    let kept = send(&mut service.clone(), request_with("nine.....")).await.unwrap_err();
    assert_eq!(Rejection::find(&*kept).unwrap().gate(), Gate::Translate);
    assert_eq!(provider.calls(), 1);
}

/// Pitfall P03 (docs/pitfalls.md): a response that is dropped releases everything it holds.
#[tokio::test(start_paused = true)]
async fn a_dropped_future_or_body_releases_the_response() {
    let (inner, provider) = strict();
    let mut service = whole().layer(inner.clone());
    provider.answer(200).frame("HALF").stall();
    let waiting = tokio::time::timeout(Duration::from_secs(1), call(&mut service)).await;
    assert!(waiting.is_err());
    provider.answer(200).frame("HALF").stall();
    let mut streaming = call(&mut events().layer(inner)).await.unwrap();
    streaming.body_mut().frame().await.unwrap().unwrap();
    drop(streaming);
    assert_eq!((provider.live_bodies(), provider.live_futures()), (0, 0));
}

/// Records the thread on which it is called.
struct ThreadRecorder(std::sync::mpsc::Sender<std::thread::ThreadId>);

impl Translator for ThreadRecorder {
    fn request(&self, _: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        self.0.send(std::thread::current().id()).unwrap();
        Ok(Translation {
            body: Bytes::copy_from_slice(&body[..1]),
            response: Box::new(LowercaseTranslator(BodyMode::Whole)),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_is_translated_on_another_thread_and_one_above_the_cap_is_rejected() {
    let (record, threads) = std::sync::mpsc::channel();
    let (inner, target) = strict();
    target.otherwise(Answer::status(200).body("X"));
    let service = TranslateLayer::new(ThreadRecorder(record)).layer(inner).body_cap(1024 * 1024);
    let here = std::thread::current().id();
    for (length, is_here) in [(1, true), (1024 * 1024, false)] {
        for is_buffered in [true, false] {
            let bytes = Bytes::from(vec![b'x'; length]);
            let response = if is_buffered {
                service.clone().oneshot(Request::new(Payload::from(bytes))).await
            } else {
                service.clone().oneshot(Request::new(Payload::streamed(Full::new(bytes)))).await
            };
            let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "(x)", "{length}");
            assert_eq!(threads.try_recv().unwrap() == here, is_here, "{length}");
        }
    }
    let long = Payload::from(vec![b'x'; 1024 * 1024 + 1]);
    let error = service.oneshot(Request::new(long)).await.expect_err("too long");
    assert_eq!(error.rejection().map(Rejection::code), Some(ErrorCode::RequestTooLarge));
    assert!(threads.try_recv().is_err(), "not translated");
}

#[tokio::test(start_paused = true)]
async fn a_large_buffered_response_is_translated_on_another_thread() {
    /// Records the thread on which a response is translated.
    struct Recorder(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Translator for Recorder {
        fn request(&self, _: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
            let (body, response) = (Bytes::copy_from_slice(body), Box::new(Self(self.0.clone())));
            Ok(Translation { body, response })
        }
    }

    impl ResponseTranslator for Recorder {
        fn head(&mut self, _: &mut response::Parts, _: SystemTime) -> Result<BodyMode, Failure> {
            Ok(BodyMode::Whole)
        }

        fn whole(&mut self, _: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
            self.0.send(std::thread::current().id()).unwrap();
            Ok(body.len().to_string().into())
        }

        fn events(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), Failure> {
            Ok(())
        }

        fn end(&mut self, _: &mut BytesMut) {}
    }

    let (record, threads) = std::sync::mpsc::channel();
    let (mut service, provider) = strict_behind(&TranslateLayer::new(Recorder(record)));
    for (length, is_here) in [(LONG_DOCUMENT - 1, true), (LONG_DOCUMENT, false)] {
        // In frames, of which the last one is short.
        let body = vec![b'x'; length];
        provider
            .then(body.chunks(100_000).fold(Answer::status(200), |answer, part| answer.frame(part.to_vec())));
        let response = call(&mut service).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), length.to_string());
        assert_eq!(threads.try_recv().unwrap() == std::thread::current().id(), is_here, "{length}");
    }
}

/// Regression: a request that was still being uploaded at its deadline was awaited for ever.
#[tokio::test(start_paused = true)]
async fn an_upload_that_does_not_end_is_rejected_at_the_deadline() {
    let (inner, provider) = strict();
    let stack = |name: &str| ResilienceBuilder::new(name).service(inner.clone());
    let group = Group::new("group", ["a", "b"].map(|name| Member::new(name, inner.clone()))).unwrap();
    rejects_at_the_deadline(whole().layer(inner.clone())).await;
    rejects_at_the_deadline(RetryLayer::exponential().layer(inner.clone())).await;
    rejects_at_the_deadline(group).await;
    rejects_at_the_deadline(FallbackLayer::new().then("b", stack("b")).layer(stack("a"))).await;
    rejects_at_the_deadline(FallbackLayer::new().layer(whole().layer(inner.clone()))).await;
    assert_eq!(provider.calls(), 0);
}

async fn rejects_at_the_deadline<S: HttpService<Payload>>(mut service: S) {
    let start = clock::now();
    let request = with_deadline(Request::post("/").body(Payload::streamed(StuckUpload)).unwrap(), SECOND);
    let response = tokio::time::timeout(60 * SECOND, send(&mut service, request)).await;
    let rejected = rejection(response.expect("rejected before"));
    assert_eq!((rejected.gate(), clock::now() - start), (Gate::Deadline, SECOND));
}

/// Blocks in the translation of a request, or of a response, until the sender of the channel is dropped.
#[derive(Clone)]
struct BlockedTranslator {
    of_request: bool,
    end: std::sync::Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl BlockedTranslator {
    fn wait(&self) {
        assert!(self.end.lock().unwrap().recv().is_err());
    }
}

impl Translator for BlockedTranslator {
    fn request(&self, _: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        if self.of_request {
            self.wait();
        }
        Ok(Translation { body: Bytes::copy_from_slice(body), response: Box::new(self.clone()) })
    }
}

impl ResponseTranslator for BlockedTranslator {
    fn head(&mut self, _: &mut response::Parts, _: SystemTime) -> Result<BodyMode, Failure> {
        Ok(BodyMode::Whole)
    }

    fn whole(&mut self, _: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
        self.wait();
        Ok(Bytes::copy_from_slice(body))
    }

    fn events(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), Failure> {
        Ok(())
    }

    fn end(&mut self, _: &mut BytesMut) {}
}

/// Regression: with many long documents at once a call waited for its translation beyond its deadline.
#[tokio::test(start_paused = true)]
async fn a_translation_that_takes_long_ends_at_the_deadline() {
    for of_request in [true, false] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(200).body(vec![b'x'; LONG_DOCUMENT]));
        let (_end, ended) = std::sync::mpsc::channel();
        let end = std::sync::Arc::new(std::sync::Mutex::new(ended));
        let mut service = TranslateLayer::new(BlockedTranslator { of_request, end }).layer(inner);
        let body = Payload::from(vec![b'x'; if of_request { LONG_DOCUMENT } else { 1 }]);
        let trail = Trail::new();
        let request = with(Request::post("/").body(body).unwrap(), trail.clone());
        let request = with_deadline(request, SECOND);
        let mut call = tokio_test::task::spawn(send(&mut service, request));
        assert!(call.poll().is_pending());
        tokio::time::advance(SECOND - Duration::from_millis(1)).await;
        assert!(call.poll().is_pending(), "{of_request}");
        tokio::time::advance(Duration::from_millis(1)).await;
        let std::task::Poll::Ready(response) = call.poll() else {
            panic!("{of_request}: not at the deadline")
        };
        let error = response.expect_err("the deadline has passed");
        let gate = error.rejection().map(Rejection::gate);
        assert_eq!(gate, of_request.then_some(Gate::Deadline));
        assert_eq!(
            (provider.calls(), trail.steps().len()),
            (usize::from(!of_request), usize::from(of_request))
        );
    }
}
