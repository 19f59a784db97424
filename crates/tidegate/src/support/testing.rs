//! Helpers that the tests of the layers share.

pub(crate) mod store;

use std::any::Any;
use std::convert::Infallible;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tidegate_testkit::strict::{self, Handle, Strict};
use tokio::runtime::{Builder, Runtime};
use tower::Layer;

pub(crate) use tidegate_testkit::calls::{call, complete, rejection, request, send};

use crate::{Deadline, Payload, Tenant, Trail, Verdict, clock};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = secs(1);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn strict() -> (Strict<Payload>, Handle) {
    strict::service()
}

/// The layer around a strict service, and the handle of that service.
pub(crate) fn strict_behind<L: Layer<Strict<Payload>>>(layer: &L) -> (L::Service, Handle) {
    let (inner, provider) = strict();
    (layer.layer(inner), provider)
}

/// A runtime whose time advances when it is idle.
pub(crate) fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// A small request with this extension.
pub(crate) fn request_with<T: Clone + Send + Sync + 'static>(extension: T) -> Request<Payload> {
    with(request(), extension)
}

/// The request with this extension in addition.
pub(crate) fn with<T, B>(mut request: Request<B>, extension: T) -> Request<B>
where
    T: Clone + Send + Sync + 'static,
{
    request.extensions_mut().insert(extension);
    request
}

/// Reads so many frames of a body, or up to its end, and drops it.
pub(crate) async fn read_frames(body: impl Body, frames: usize) {
    let mut body = pin!(body);
    for _ in 0..frames {
        if !matches!(body.frame().await, Some(Ok(_))) {
            break;
        }
    }
}

/// A streaming request with a prompt of a few tokens, of which up to 100 more are requested.
pub(crate) fn streaming_request() -> Request<Payload> {
    chat_request(
        r#"{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#,
    )
}

/// A request of the dialect of chat completions.
pub(crate) fn chat_request(body: impl ToString) -> Request<Payload> {
    Request::post("http://provider/v1/chat/completions").body(body.to_string().into()).unwrap()
}

pub(crate) fn of_tenant(name: &str) -> Request<Payload> {
    request_with(Tenant(name.into()))
}

pub(crate) fn with_deadline(mut request: Request<Payload>, time: Duration) -> Request<Payload> {
    Deadline::after(time, clock::now()).tighten(request.extensions_mut());
    request
}

pub(crate) fn verdicts(trail: &Trail) -> Vec<Verdict> {
    trail.steps().into_iter().map(|step| step.verdict).collect()
}

/// Checks the cases of a table that the scripts of a store are tested with as well. `begin` has the words of
/// the head of a case, and `decide` those of each step.
pub(crate) fn check_cases<T>(
    table: &str,
    begin: impl Fn(&[&str]) -> T,
    decide: impl Fn(&mut T, &[&str]) -> String,
) {
    let cases: Vec<_> = table.split("\ncase ").skip(1).collect();
    assert!(cases.len() >= 5, "{}", cases.len());
    for case in cases {
        let mut lines = case.lines().filter(|line| !line.is_empty());
        let head: Vec<_> = lines.next().unwrap().split(' ').collect();
        let mut state = begin(&head);
        for line in lines {
            let (step, expected) = line.split_once(" = ").unwrap();
            let step: Vec<_> = step.split(' ').collect();
            assert_eq!(decide(&mut state, &step), expected, "{}: {line}", head[0]);
        }
    }
}

/// The payload of the panics of scripted providers.
pub(crate) struct ScriptedPanic;

/// Panics without the panic hook, which would fill the log.
pub(crate) fn scripted_panic() -> ! {
    resume_unwind(Box::new(ScriptedPanic))
}

/// Ignores a [scripted panic](scripted_panic) and passes on any other.
pub(crate) fn expect_scripted(panic: Box<dyn Any + Send>) {
    if !panic.is::<ScriptedPanic>() {
        resume_unwind(panic);
    }
}

/// A request body without a frame and without an end.
pub(crate) struct StuckUpload;

impl Body for StuckUpload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
