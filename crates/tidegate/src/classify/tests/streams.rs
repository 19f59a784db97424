//! Streams in a test dialect with one word per event: `open`, `ping`, `tok`, `err`, `filter`, `done`.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tidegate_core::{Scan, ScanProgress, StopReason, StreamState};
use tidegate_testkit::strict::{Answer, Handle, Strict};
use tower::{Layer, ServiceExt};
use tower_service::Service;

use crate::attempt::NoGate;
use crate::circuit_breaker::State;
use crate::classify::Classify;
use crate::testing::{SECOND, call, complete, request, request_with, send, strict};
use crate::{
    BoxError, CircuitBreakerLayer, Classifier, ClassifyLayer, Clock, Elapsed, Error, ErrorCode, Failure,
    FailureKind, FallbackLayer, Outcome, Payload, RetryLayer, Trail, classify::StreamClocks, clock,
};

struct WordClassifier;

impl Classifier for WordClassifier {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, head: &Parts, _: &[u8], now: SystemTime) -> Outcome {
        Outcome::of_head(head.status, &head.headers, now)
    }

    fn expects_stream(&self, headers: &HeaderMap, _: &[u8]) -> bool {
        headers.contains_key("stream")
    }

    fn scan(&self, _: &Parts) -> Option<Box<dyn Scan>> {
        Some(Box::new(WordScanner(StreamState::default())))
    }
}

struct WordScanner(StreamState);

impl Scan for WordScanner {
    fn push(&mut self, bytes: &[u8]) -> ScanProgress {
        let mut progress = ScanProgress::default();
        for word in std::str::from_utf8(bytes).unwrap().split_whitespace() {
            progress.events += 1;
            match word {
                ":" => progress.comments += 1,
                "tok" => {
                    progress.tokens += 1;
                    self.0.has_started = true;
                }
                "err" => self.0.failure = Some(Failure::new(ErrorCode::Overloaded)),
                "filter" => self.0.stop = Some(StopReason::ContentFilter),
                "done" => self.0.has_finished = true,
                _ => {}
            }
        }
        progress
    }

    fn finish(&mut self) -> ScanProgress {
        ScanProgress::default()
    }

    fn state(&self) -> &StreamState {
        &self.0
    }
}

fn wire(inner: Strict<Payload>, clocks: StreamClocks) -> Classify<Strict<Payload>> {
    ClassifyLayer::new(WordClassifier).clocks(clocks).layer(inner)
}

fn words(words: &[&'static str]) -> Answer {
    words.iter().fold(Answer::status(200), |answer, word| answer.frame(*word))
}

/// Reads a body to its end: the words, and the result of the end.
async fn read<B>(body: B) -> (String, Result<(), Error>)
where
    B: http_body::Body<Data = bytes::Bytes, Error = Error>,
{
    let mut body = Box::pin(body);
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text += &format!("{} ", std::str::from_utf8(&frame.into_data().unwrap()).unwrap()),
            Err(error) => return (text.trim().to_owned(), Err(error)),
        }
    }
    (text.trim().to_owned(), Ok(()))
}

fn failure_kind(result: Result<(), Error>) -> FailureKind {
    Outcome::of_error(&*result.unwrap_err()).failure().unwrap().kind
}

#[tokio::test(start_paused = true)]
async fn the_head_is_held_until_the_first_token_and_all_bytes_are_delivered_once_in_order() {
    let (inner, provider) = strict();
    provider.then(words(&["open", "ping"]).pause(SECOND).frame("tok").frame("tok tok").frame("done"));
    let start = clock::now();
    let response = call(&mut wire(inner, StreamClocks::new())).await.unwrap();
    assert_eq!((clock::now() - start, Outcome::of(&response)), (SECOND, Outcome::Success));
    let (text, end) = read(response.into_body()).await;
    assert_eq!((text.as_str(), end.is_ok()), ("open ping tok tok tok done", true));
}

/// Pitfall P22 (docs/pitfalls.md): an error event after the first event gets no fallback; the preamble is
/// sent twice after a retry.
#[tokio::test(start_paused = true)]
async fn an_error_before_the_first_token_is_an_ordinary_failure() {
    let (inner, provider) = strict();
    provider.then(words(&["open", "ping", "err"]));
    let response = call(&mut wire(inner.clone(), StreamClocks::new())).await.unwrap();
    let outcome = Outcome::of(&response);
    let failure = outcome.failure().unwrap();
    assert_eq!((failure.code, failure.kind), (ErrorCode::Overloaded, FailureKind::InBand));
    assert_eq!(read(response.into_body()).await.0, "open ping err");

    provider.then(words(&["open", "err"]));
    provider.then(words(&["open", "tok", "done"]));
    let retried = call(&mut RetryLayer::exponential().layer(wire(inner, StreamClocks::new()))).await.unwrap();
    assert_eq!(read(retried.into_body()).await.0, "open tok done");
}

/// Pitfall P21 (docs/pitfalls.md): a stream that was truncated before its terminator ended as a clean 200.
#[tokio::test(start_paused = true)]
async fn an_end_without_the_terminator_is_never_clean() {
    let (inner, provider) = strict();
    let mut service = wire(inner, StreamClocks::new());
    provider.then(words(&["open"]));
    assert_eq!(failure_kind(call(&mut service).await.map(drop)), FailureKind::Truncated);

    provider.then(words(&["open", "tok", "tok"]));
    let (text, end) = read(call(&mut service).await.unwrap().into_body()).await;
    assert_eq!((text.as_str(), failure_kind(end)), ("open tok tok", FailureKind::Truncated));

    provider.then(words(&["tok", "err"]));
    let (text, end) = read(call(&mut service).await.unwrap().into_body()).await;
    assert_eq!((text.as_str(), failure_kind(end)), ("tok err", FailureKind::InBand));

    provider.then(words(&["tok"]).break_off("connection reset"));
    let (text, end) = read(call(&mut service).await.unwrap().into_body()).await;
    assert_eq!((text.as_str(), failure_kind(end)), ("tok", FailureKind::Transport));
}

#[tokio::test(start_paused = true)]
async fn errors_and_stalls_after_the_terminator_are_ignored() {
    let (inner, provider) = strict();
    let mut service = wire(inner, StreamClocks::new());
    for answer in [words(&["tok", "done"]).break_off("connection reset"), words(&["tok", "done"]).stall()] {
        provider.then(answer);
        let (text, end) = read(call(&mut service).await.unwrap().into_body()).await;
        assert_eq!((text.as_str(), end.is_ok()), ("tok done", true));
    }
    provider.then(words(&["open", "done"]));
    assert_eq!(
        complete(&mut service).await.unwrap(),
        200,
        "a complete response without content is a success"
    );
}

/// Pitfall P23 (docs/pitfalls.md): pings reset the stall timer, or plain idle timers end legitimate
/// reasoning.
#[tokio::test(start_paused = true)]
async fn pings_reset_the_frame_gap_and_not_the_token_gap() {
    let pinged = || (0..30).fold(words(&["tok"]), |answer, _| answer.pause(SECOND).frame("ping"));
    let clocks = StreamClocks::new().frame_gap(3 * SECOND).byte_gap(3 * SECOND);
    for (token_gap, lives) in [(10 * SECOND, false), (60 * SECOND, true)] {
        let (inner, provider) = strict();
        provider.then(pinged().frame("tok").frame("done"));
        let start = clock::now();
        let response = call(&mut wire(inner, clocks.token_gap(token_gap))).await.unwrap();
        let (_, end) = read(response.into_body()).await;
        assert_eq!(end.is_ok(), lives);
        if let Err(error) = end {
            assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::TokenGap);
            assert_eq!(clock::now() - start, token_gap);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_timer_runs_out_independently() {
    let clocks = StreamClocks::new();
    for (clocks, answer, expected) in [
        (clocks.frame_gap(SECOND), words(&["tok"]).pause(5 * SECOND).frame("done"), Clock::FrameGap),
        (clocks.byte_gap(SECOND), words(&["tok"]).pause(5 * SECOND).frame("done"), Clock::ByteGap),
        (clocks.token_gap(SECOND), words(&["tok"]).pause(5 * SECOND).frame("done"), Clock::TokenGap),
    ] {
        let (inner, provider) = strict();
        provider.then(answer);
        let start = clock::now();
        let (_, end) = read(call(&mut wire(inner, clocks)).await.unwrap().into_body()).await;
        assert_eq!(end.unwrap_err().downcast_ref::<Elapsed>().unwrap().clock(), expected);
        assert_eq!(clock::now() - start, SECOND);
    }
}

/// The sleep of the timer that ran before would be longer.
#[tokio::test(start_paused = true)]
async fn a_timer_that_starts_later_and_is_shorter_runs_out_first() {
    let clocks = StreamClocks::new().first_token(100 * SECOND);
    for (clocks, answer, expected) in [
        (clocks.token_gap(2 * SECOND), Answer::status(200).pause(SECOND).frame("tok"), Clock::TokenGap),
        (clocks.byte_gap(2 * SECOND), words(&["open"]).after(SECOND), Clock::ByteGap),
        (clocks.frame_gap(2 * SECOND), words(&["open"]).after(SECOND), Clock::FrameGap),
    ] {
        let (inner, provider) = strict();
        provider.then(answer.stall());
        let mut request = request();
        request.headers_mut().insert("stream", "true".parse().unwrap());
        let start = clock::now();
        let error = match send(&mut wire(inner, clocks), request).await {
            Ok(response) => read(response.into_body()).await.1.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), expected);
        assert_eq!(clock::now() - start, 3 * SECOND, "{expected:?}");
    }
}

/// The first-token timer starts at the call and covers a slow head and a slow preamble.
#[tokio::test(start_paused = true)]
async fn the_first_token_timer_starts_at_the_call() {
    for answer in [Answer::hang(), words(&["tok"]).after(5 * SECOND), words(&["open"]).after(SECOND).stall()]
    {
        let (inner, provider) = strict();
        provider.then(answer);
        let mut request = request();
        request.headers_mut().insert("stream", "true".parse().unwrap());
        let start = clock::now();
        let clocks = StreamClocks::new().first_token(3 * SECOND);
        let error = send(&mut wire(inner, clocks), request).await.err().unwrap();
        assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::FirstToken);
        assert_eq!((clock::now() - start, provider.live_futures() + provider.live_bodies()), (3 * SECOND, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_held_beyond_the_limits() {
    let (inner, provider) = strict();
    let opens = (0..100).fold(Answer::status(200), |answer, _| answer.frame("open"));
    provider.then(opens.stall());
    let mut response = call(&mut wire(inner.clone(), StreamClocks::new())).await.unwrap();
    assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "open");
    provider.then(Answer::status(200).frame("x".repeat(300 * 1024)).stall());
    call(&mut wire(inner.clone(), StreamClocks::new())).await.unwrap();
    // Regression: frames of one byte were held without a limit of their number.
    provider.then((0..5_000).fold(Answer::status(200), |answer, _| answer.frame(" ")).stall());
    call(&mut wire(inner, StreamClocks::new())).await.unwrap();
}

/// Regression: a provider that sent many comments while it was busy was committed to before it had begun, so
/// that its failure reached the caller.
#[tokio::test(start_paused = true)]
async fn comments_do_not_commit_a_stream() {
    let (inner, provider) = strict();
    let comments = || (0..1_000).fold(Answer::status(200), |answer, _| answer.frame(":"));
    provider.then(comments().frame("err done"));
    let response = call(&mut wire(inner.clone(), StreamClocks::new())).await.unwrap();
    assert_eq!(Outcome::of(&response).failure().unwrap().code, ErrorCode::Overloaded);
    provider.then(comments().stall());
    let error = call(&mut wire(inner, StreamClocks::new())).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error}");
}

/// Regression: every frame kept the read buffer of its connection, 128 times the limit in bytes.
#[tokio::test(start_paused = true)]
async fn small_frames_that_are_held_do_not_keep_their_read_buffer() {
    let (inner, provider) = strict();
    let buffer = Bytes::from(vec![b' '; 8192]);
    let frames = (0..100).fold(Answer::status(200), |answer, at| answer.frame(buffer.slice(at..=at)));
    provider.then(frames.frame("tok").stall());
    let mut response = call(&mut wire(inner, StreamClocks::new())).await.unwrap();
    assert!(buffer.is_unique());
    for _ in 0..100 {
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), " ");
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_filter_before_the_first_token_may_trigger_a_fallback() {
    for act in [true, false] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.then(words(&["open", "filter", "done"]));
        other.then(words(&["tok", "done"]));
        let chain =
            FallbackLayer::new().then("other", wire(second, StreamClocks::new())).on_content_filter(act);
        let response = call(&mut chain.layer(wire(first, StreamClocks::new()))).await.unwrap();
        assert_eq!((response.status().as_u16(), other.calls()), (200, usize::from(act)));
        let expected = if act { "tok done" } else { "open filter done" };
        assert_eq!(read(response.into_body()).await.0, expected);
    }
}

/// A body that is never pending, with the same frame again and again. It fails the test after 10 000 frames.
struct NeverPending(&'static str, u32);

impl Body for NeverPending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.1 += 1;
        assert!(self.1 < 10_000, "polled without a pause");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.0.as_bytes())))))
    }
}

/// The attempt ends with its time although the stream is never pending, before the first token and after it.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_never_pending_yields_and_ends_with_its_attempt() {
    let send = |word| {
        let inner = tower::service_fn(move |_: Request<Payload>| {
            ready(Ok::<_, BoxError>(Response::new(NeverPending(word, 0))))
        });
        let wire = ClassifyLayer::new(WordClassifier).wire().within(3 * SECOND);
        Classify::with_wire(inner, NoGate, wire).call(request())
    };
    let mut held = tokio_test::task::spawn(send(""));
    assert!(held.poll().is_pending() && held.is_woken());
    tokio::time::advance(4 * SECOND).await;
    let error = match held.poll() {
        Poll::Ready(Err(error)) => error,
        _ => panic!("still held after the time of the attempt"),
    };
    assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::Attempt);

    let mut body = Box::pin(send("tok").await.unwrap().into_body());
    body.frame().await.unwrap().unwrap();
    tokio::time::advance(4 * SECOND).await;
    let error = loop {
        if let Err(error) = body.frame().await.unwrap() {
            break error;
        }
    };
    assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::Attempt);
}

/// Three truncated streams open a circuit with a threshold of 3; fifty cancelled calls do not.
/// Seed item 16.
#[tokio::test(start_paused = true)]
async fn broken_streams_open_the_circuit_and_cancelled_calls_do_not() {
    let broken: [fn(&Handle); 4] = [
        |provider| drop(provider.then(words(&["open", "tok"]))),
        |provider| drop(provider.then(words(&["open", "tok", "err"]))),
        |provider| drop(provider.then(words(&["open", "tok"]).stall())),
        |provider| drop(provider.then(words(&["open", "err"]))),
    ];
    for break_off in broken {
        let (inner, provider) = strict();
        let breaker = CircuitBreakerLayer::new().failure_threshold(3);
        let mut service = breaker.layer(wire(inner, StreamClocks::new()));
        for _ in 0..50 {
            provider.then(words(&["open", "tok"]).stall());
            drop(call(&mut service).await.unwrap());
        }
        for _ in 0..3 {
            assert_eq!(breaker.handle().state(), State::Closed);
            break_off(&provider);
            let _ = complete(&mut service).await;
        }
        assert_eq!(breaker.handle().state(), State::Open);
    }
}

/// Neither retry nor fallback acts once the first token has been delivered.
#[tokio::test(start_paused = true)]
async fn no_request_is_repeated_after_the_commit_point() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.then(words(&["open", "tok", "err"]));
    let retried = RetryLayer::exponential().layer(wire(first, StreamClocks::new()));
    let mut chain = FallbackLayer::new().then("other", wire(second, StreamClocks::new())).layer(retried);
    let response = call(&mut chain).await.unwrap();
    assert_eq!(failure_kind(read(response.into_body()).await.1), FailureKind::InBand);
    assert_eq!((primary.calls(), other.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_before_its_first_token_is_recorded_as_failed() {
    let (inner, provider) = strict();
    provider.then(words(&["open", "err"]));
    provider.then(words(&["open"]));
    provider.then(words(&["open", "tok", "done"]));
    let trail = Trail::new();
    let request = request_with(trail.clone());
    let mut service = RetryLayer::exponential().layer(wire(inner, StreamClocks::new()));
    send(&mut service, request).await.unwrap();
    assert_eq!(trail.attempts(), 3);
    let failed =
        trail.steps().iter().filter(|step| matches!(step.verdict, crate::Verdict::Failed(_))).count();
    assert_eq!(failed, 2);
}

/// Regression: the attempt timeout ended a stream with an error if the provider left it open after the
/// terminator; after an error event, the caller and the permit waited for the whole token gap.
#[tokio::test(start_paused = true)]
async fn a_stream_left_open_after_its_last_event_ends_after_a_grace_period() {
    for (last, is_good) in [("done", true), ("err", false)] {
        let (inner, provider) = strict();
        provider.then(words(&["tok"]).frame(last).stall());
        let start = clock::now();
        let response = call(&mut wire(inner, StreamClocks::new())).await.unwrap();
        let (_, end) = read(response.into_body()).await;
        assert_eq!((end.is_ok(), clock::now() - start), (is_good, SECOND), "{last}");
        assert_eq!(provider.live_bodies(), 0);
    }
}

/// Pitfall P23 (docs/pitfalls.md): a reader paused for longer than the token gap, and the provider was taken
/// for idle.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_does_not_make_the_stream_idle() {
    let clocks = StreamClocks::new().token_gap(SECOND);
    for is_silent in [false, true] {
        let (inner, provider) = strict();
        let pinged = words(&["tok"]).pause(SECOND / 10).frame("ping");
        provider.then(if is_silent {
            pinged.stall()
        } else {
            pinged.pause(SECOND / 10).frame("tok").frame("done")
        });
        let mut body = call(&mut wire(inner, clocks)).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        // The reader polls once, and then does not poll for half a minute.
        assert!(tokio_test::task::spawn(body.frame()).poll().is_pending());
        tokio::time::advance(30 * SECOND).await;
        let back = clock::now();
        let (text, end) = read(body).await;
        assert_eq!((text.starts_with("ping"), end.is_err()), (true, is_silent), "{text}");
        // A provider that is really idle is still detected, a little later.
        assert!(clock::now() - back <= SECOND + Duration::from_millis(2));
    }
}

/// Regression: callers that read slowly had the attempts of a healthy provider counted as timeouts.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_does_not_make_the_attempt_a_failure_of_the_provider() {
    let pinged = || (0..20).fold(words(&["tok"]), |answer, _| answer.pause(SECOND).frame("ping"));
    for (answer, reader_pause, expected) in [
        (pinged(), SECOND / 10, FailureKind::Timeout),
        (pinged(), 2 * SECOND, FailureKind::CallerTimeout),
        (pinged(), 60 * SECOND, FailureKind::CallerTimeout),
        // The provider is silent while the reader pauses.
        (words(&["tok"]).stall(), 60 * SECOND, FailureKind::Timeout),
    ] {
        let (inner, provider) = strict();
        provider.then(answer);
        let wire = ClassifyLayer::new(WordClassifier).wire().within(21 * SECOND / 2);
        let mut body = call(&mut Classify::with_wire(inner, NoGate, wire)).await.unwrap().into_body();
        let error = loop {
            match tokio_test::task::spawn(body.frame()).poll() {
                Poll::Pending => tokio::time::advance(reader_pause).await,
                Poll::Ready(frame) => {
                    if let Err(error) = frame.expect("it ends with its attempt") {
                        break error;
                    }
                }
            }
        };
        assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::Attempt);
        assert_eq!(failure_kind(Err(error)), expected, "{reader_pause:?}");
    }
}

/// Regression: a call that was first polled when its time had passed failed before it was sent.
#[tokio::test(start_paused = true)]
async fn the_timers_start_at_the_first_poll() {
    let clocks = StreamClocks::new().first_token(3 * SECOND);
    for (limit, clock, time) in [(60, Clock::FirstToken, 3), (2, Clock::Attempt, 2)] {
        let (inner, provider) = strict();
        provider.hang();
        let mut request = request();
        request.headers_mut().insert("stream", "true".parse().unwrap());
        let wire = ClassifyLayer::new(WordClassifier).clocks(clocks).wire().within(limit * SECOND);
        let mut service = Classify::with_wire(inner, NoGate, wire);
        let future = service.ready().await.unwrap().call(request);
        tokio::time::advance(100 * SECOND).await;
        let start = clock::now();
        let error = future.await.err().unwrap();
        assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), clock);
        assert_eq!(clock::now() - start, time * SECOND);
    }
}

/// Regression: a short gap between events ended the wait for the head, which has a timer of its own.
#[tokio::test(start_paused = true)]
async fn the_timers_of_events_and_bytes_start_at_the_head() {
    let (inner, provider) = strict();
    provider.then(words(&["tok", "done"]).after(5 * SECOND));
    let mut request = request();
    request.headers_mut().insert("stream", "true".parse().unwrap());
    let clocks = StreamClocks::new().frame_gap(SECOND).byte_gap(SECOND);
    assert!(send(&mut wire(inner, clocks), request).await.is_ok());
}
