//! Shared parts of the benches: requests, providers that respond at once, the stack that is measured, and one
//! call.

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, ResilienceBuilder, RetryLayer,
};
use tower::Service;
use tower::util::ServiceFn;

/// A limit that no bench reaches.
pub const UNREACHED: u32 = 1_000_000_000;

/// The result of the benchmark provider.
pub type ProviderResult = Result<Response<Full<Bytes>>, BoxError>;

/// The result of the benchmark provider of streams.
pub type StreamResult = Result<Response<EventStream>, BoxError>;

/// A provider that responds at once with a complete body, and to a POST with its media type, as every
/// provider does. Its future is [`Ready`] and its response body [`Full`].
#[must_use]
pub fn provider() -> ServiceFn<fn(Request<Payload>) -> Ready<ProviderResult>> {
    tower::service_fn(|request: Request<Payload>| {
        let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
        if request.method() == Method::POST {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        ready(Ok(response))
    })
}

/// A provider that responds at once with a stream of `tokens` tokens.
#[must_use]
pub fn streaming_provider(
    tokens: u32,
    pace: Pace,
) -> ServiceFn<impl Fn(Request<Payload>) -> Ready<StreamResult> + Clone> {
    tower::service_fn(move |_| {
        let response = Response::builder().header("content-type", "text/event-stream");
        ready(response.body(EventStream { left: tokens + 2, pace, paused: false }).map_err(BoxError::from))
    })
}

/// All policies, with limits that are not reached.
pub fn stack() -> ResilienceBuilder {
    ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential())
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(UNREACHED))
        .circuit_breaker(CircuitBreakerLayer::new())
}

/// A request without headers and with a small body.
#[must_use]
pub fn bare_request() -> Request<Payload> {
    Request::new(Payload::from("{}"))
}

/// A request as a client library sends it: six headers, and a JSON body with 2 KiB of prompt.
#[must_use]
pub fn usual_request() -> Request<Payload> {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| {
        let prompt = "The tide rises, the tide falls. ".repeat(64);
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{prompt}"}}]}}"#).into()
    });
    post(Payload::from(BODY.clone()))
}

/// A request for a stream.
#[must_use]
pub fn stream_request() -> Request<Payload> {
    post(Payload::from(r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"tides?"}]}"#))
}

fn post(body: Payload) -> Request<Payload> {
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("authorization", "Bearer of-a-key-that-is-not-one")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("user-agent", "tidegate-bench/1")
        .header("x-request-id", "6b1f1c3e-0001")
        .header("openai-organization", "org-example")
        .body(body)
        .expect("a valid request")
}

const ANSWER: &[u8] =
    br#"{"choices":[{"index":0,"message":{"role":"assistant","content":"moon"},"finish_reason":"stop"}]}"#;

/// Whether an [`EventStream`] is pending before each event, as a connection is, or always ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every event is there when the stream is polled.
    Ready,
    /// The stream is pending once before every event.
    Pending,
}

/// A response body of server-sent events, one to a frame: tokens, then a stop reason and the terminator.
#[derive(Clone, Debug)]
pub struct EventStream {
    left: u32,
    pace: Pace,
    paused: bool,
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.paused = self.pace == Pace::Pending && !self.paused;
        if self.paused {
            return Poll::Pending;
        }
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(event(left).as_bytes())))))
    }
}

/// The event of a stream that `left` others follow: a token, or at the end the stop reason and the
/// terminator.
#[must_use]
pub const fn event(left: u32) -> &'static str {
    match left {
        0 => "data: [DONE]\n\n",
        1 => concat!(
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795000000,"#,
            r#""model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "\n\n"
        ),
        _ => concat!(
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795000000,"#,
            r#""model":"gpt-4o","choices":[{"index":0,"delta":{"content":" tide"},"finish_reason":null}]}"#,
            "\n\n"
        ),
    }
}

/// Polls one call by hand to the head of its response and drops the body. There is no runtime in the
/// measurement. Returns whether the response has a successful status.
pub fn call<S, B>(service: &mut S, request: Request<Payload>) -> bool
where
    S: Service<Request<Payload>, Response = Response<B>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    head(service, request, &mut cx).is_some_and(|response| black_box(response).status().is_success())
}

/// Polls one call by hand to the end of its response. Returns the number of frames, or `None` if the call
/// failed.
pub fn call_to_end<S, B>(service: &mut S, request: Request<Payload>) -> Option<u32>
where
    S: Service<Request<Payload>, Response = Response<B>>,
    B: Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    let response = head(service, request, &mut cx)?;
    response.status().is_success().then_some(())?;
    let mut body = pin!(response.into_body());
    let (mut frames, mut pending) = (0, 0);
    while pending < POLLS {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                black_box(frame);
                (frames, pending) = (frames + 1, 0);
            }
            Poll::Ready(None) => return Some(frames),
            Poll::Ready(Some(Err(_))) => return None,
            Poll::Pending => pending += 1,
        }
    }
    None
}

/// How often a call is polled. It is pending more than once only in a peer that waits for a lock.
const POLLS: u32 = 1_000_000;

// Inlined, so that the response is not moved once more.
#[inline(always)]
fn head<S, B>(service: &mut S, request: Request<Payload>, cx: &mut Context<'_>) -> Option<Response<B>>
where
    S: Service<Request<Payload>, Response = Response<B>>,
{
    let _ = black_box(service.poll_ready(cx));
    let mut call = pin!(service.call(request));
    for _ in 0..POLLS {
        match call.as_mut().poll(cx) {
            Poll::Ready(response) => return response.ok(),
            Poll::Pending => std::hint::spin_loop(),
        }
    }
    None
}

/// A runtime for the timers of the services. It is not driven.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}
