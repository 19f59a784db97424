use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use tidegate_core::{Scan, Usage};

use super::{BufferedBody, ScannedBody};
use crate::body::UnchangedBody;
use crate::metrics::AttemptMetrics;
use crate::timeout::{AttemptTimer, TimedBody};
use crate::{AttemptUsage, BoxError, Error};

/// A response body that can be classified.
pub trait ClassifiableBody: Body<Data = Bytes, Error: Into<BoxError>> {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> ClassifiableBody for B {}

/// The response body: complete in one piece, with its usage scanned as it passes if a meter is set, or a
/// stream that is classified as it passes. In a stack it ends with the time of its attempt.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B: Body> {
    #[pin]
    kind: BodyKind<B>,
    metrics: AttemptMetrics,
}

#[pin_project(project = BodyKindProj)]
enum BodyKind<B: Body> {
    Whole {
        #[pin]
        body: TimedBody<WholeBody<B>>,
        scanner: Option<Box<UsageScanner>>,
    },
    Stream(Box<ScannedBody<B>>),
}

/// A response body in one piece.
#[pin_project(project = WholeBodyProj)]
pub(super) enum WholeBody<B: Body> {
    /// The unchanged body.
    Untouched(#[pin] UnchangedBody<B>),
    /// A body that was held back until it was classified.
    Buffered(Box<BufferedBody<B>>),
    /// A body that replaces that of the provider.
    Own(Bytes),
}

impl<B: ClassifiableBody> WholeBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self::Untouched(UnchangedBody::new(body))
    }

    /// Whether nothing more is awaited from the provider.
    pub(super) fn has_arrived(&self) -> bool {
        match self {
            Self::Untouched(_) => false,
            Self::Buffered(buffered) => buffered.has_ended(),
            Self::Own(_) => true,
        }
    }
}

impl<B: Body> ResponseBody<B> {
    /// A body in one piece, of which `scanner` scans the usage.
    pub(super) fn whole(
        body: WholeBody<B>,
        scanner: Option<UsageScanner>,
        timer: AttemptTimer,
        metrics: AttemptMetrics,
    ) -> Self {
        let kind = BodyKind::Whole { body: TimedBody::new(body, timer), scanner: scanner.map(Box::new) };
        Self { kind, metrics }
    }

    pub(super) fn stream(stream: Box<ScannedBody<B>>, metrics: AttemptMetrics) -> Self {
        Self { kind: BodyKind::Stream(stream), metrics }
    }
}

impl<B: Body> BodyKind<B> {
    /// The usage that the provider has reported, if the request has a meter.
    fn usage(&self) -> Option<Usage> {
        match self {
            Self::Whole { scanner, .. } => scanner.as_ref()?.usage(),
            Self::Stream(stream) => stream.metered_usage(),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        let frame = ready!(this.kind.as_mut().poll_frame(cx));
        if let Some(usage) = this.kind.usage() {
            this.metrics.on_usage(&usage);
        }
        if let Some(Err(error)) = &frame {
            this.metrics.on_body_error(error);
        }
        Poll::Ready(frame)
    }

    forward_end!(kind);
}

/// Many clients leave at an error event, before the connection reports the end of the body.
#[pinned_drop]
impl<B: Body> PinnedDrop for ResponseBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let BodyKindProj::Stream(stream) = this.kind.project()
            && let Some(failure) = stream.failure()
        {
            this.metrics.on_body_failure(&failure);
        }
    }
}

impl<B: Body<Data = Bytes>> Body for BodyKind<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project() {
            BodyKindProj::Whole { mut body, scanner } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                if let Some(scanner) = scanner {
                    scanner.on_frame(frame.as_ref(), body.is_end_stream());
                }
                Poll::Ready(frame)
            }
            BodyKindProj::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { body, .. } => body.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, .. } => body.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for WholeBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project() {
            WholeBodyProj::Untouched(body) => body.poll_frame(cx),
            WholeBodyProj::Buffered(buffered) => Pin::new(&mut **buffered).poll_frame(cx),
            WholeBodyProj::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched(body) => body.is_end_stream(),
            Self::Buffered(buffered) => buffered.is_end_stream(),
            Self::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched(body) => body.size_hint(),
            Self::Buffered(buffered) => buffered.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            BodyKind::Whole { .. } => "whole",
            BodyKind::Stream(_) => "stream",
        };
        f.debug_struct("ResponseBody").field("kind", &kind).finish_non_exhaustive()
    }
}

/// Scans a whole response body as it passes, for the usage that the provider reports.
pub(super) struct UsageScanner {
    scanner: Box<dyn Scan>,
    attempt_usage: AttemptUsage,
}

impl UsageScanner {
    pub(super) fn new(scanner: Box<dyn Scan>, attempt_usage: AttemptUsage) -> Self {
        Self { scanner, attempt_usage }
    }

    /// The usage that the provider has reported so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.scanner.state().usage
    }

    /// Scans a frame, or the end of the body. A server may not poll the body again once it has read the
    /// announced length, so the last frame is treated as the end, too.
    pub(super) fn on_frame(&mut self, frame: Option<&Result<Frame<Bytes>, Error>>, is_last: bool) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.scanner.push(data);
                }
            }
            Some(Err(_)) => return,
            None => drop(self.scanner.finish()),
        }
        if is_last {
            self.scanner.finish();
        }
        if let Some(usage) = self.scanner.state().usage {
            self.attempt_usage.set_usage(usage, true);
        }
    }
}

partial_debug!([] UsageScanner, "UsageScanner", attempt_usage);
