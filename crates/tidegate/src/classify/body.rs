use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{Held, Judged};
use crate::BoxError;

/// The body of an answer: untouched, held back until it had been judged, or a stream that is judged as it passes.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Untouched(#[pin] B),
    Held(#[pin] Held<B>),
    Stream(Box<Judged<B>>),
}

impl<B> ResponseBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self(Kind::Untouched(body))
    }

    pub(super) fn held(held: Held<B>) -> Self {
        Self(Kind::Held(held))
    }

    pub(super) fn stream(stream: Box<Judged<B>>) -> Self {
        Self(Kind::Stream(stream))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().0.project() {
            KindProj::Untouched(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProj::Held(held) => held.poll_frame(cx),
            KindProj::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Untouched(body) => body.is_end_stream(),
            Kind::Held(held) => held.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Untouched(body) => body.size_hint(),
            Kind::Held(held) => held.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}
