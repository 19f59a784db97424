use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http_body::Body;
use tidegate_core::ResponseTranslator;
use tokio::time::Sleep;

use super::TooLong;
use crate::BoxError;

/// The most of a failed answer that is read: what says something stands at its beginning.
const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// The status of a failed answer has said the most important thing: the rest is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer that has to be whole to be translated.
///
/// What lies below is boxed, so that the future need not have room for it: one allocation per plain answer.
pub(super) struct Reading<B> {
    head: Parts,
    body: Pin<Box<B>>,
    read: BytesMut,
    answer: Box<dyn ResponseTranslator>,
    limit: usize,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Reading<B> {
    pub(super) fn new(head: Parts, body: B, answer: Box<dyn ResponseTranslator>, limit: usize) -> Self {
        Self { head, body: Box::pin(body), read: BytesMut::new(), answer, limit, patience: None }
    }

    fn is_good(&self) -> bool {
        self.head.status.is_success()
    }

    /// Reads to the end, or of a failed answer what there is within the limits.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let limit = if self.is_good() { self.limit } else { ERROR_BODY_LIMIT };
        loop {
            let Poll::Ready(next) = self.body.as_mut().poll_frame(cx) else {
                if self.is_good() {
                    return Poll::Pending;
                }
                let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                ready!(patience.as_mut().poll(cx));
                return Poll::Ready(Ok(()));
            };
            match next {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => {
                    // Trailers are about bytes that nobody will see.
                    self.read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    if self.read.len() > limit {
                        let too_long = || TooLong::new(limit).into();
                        return Poll::Ready(if self.is_good() { Err(too_long()) } else { Ok(()) });
                    }
                }
                Some(Err(error)) if self.is_good() => return Poll::Ready(Err(error.into())),
                Some(Err(_)) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// What was read, in the caller's dialect.
    pub(super) fn translate(self) -> Result<Response<Bytes>, BoxError> {
        let Self { mut head, read, mut answer, .. } = self;
        let end = read.len().min(if head.status.is_success() { usize::MAX } else { ERROR_BODY_LIMIT });
        let body = answer.whole(head.status, &read[..end])?;
        head.headers.insert(CONTENT_LENGTH, body.len().into());
        Ok(Response::from_parts(head, body))
    }
}
