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

/// The most bytes of a failed response that are read: the relevant part is at its beginning.
const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// How long the body of a failed response is waited for: its status is the most important part.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A response that has to be complete before it is translated.
///
/// The body is boxed, so that it does not enlarge the future: one allocation per buffered response.
pub(super) struct BufferedResponse<B> {
    head: Parts,
    body: Pin<Box<B>>,
    bytes: BytesMut,
    translator: Box<dyn ResponseTranslator>,
    limit: usize,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> BufferedResponse<B> {
    pub(super) fn new(head: Parts, body: B, translator: Box<dyn ResponseTranslator>, limit: usize) -> Self {
        Self { head, body: Box::pin(body), bytes: BytesMut::new(), translator, limit, timeout: None }
    }

    fn is_success(&self) -> bool {
        self.head.status.is_success()
    }

    /// Reads a successful response to its end, and a failed one within the limits.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let limit = if self.is_success() { self.limit } else { ERROR_BODY_LIMIT };
        loop {
            let Poll::Ready(next) = self.body.as_mut().poll_frame(cx) else {
                if self.is_success() {
                    return Poll::Pending;
                }
                let timeout =
                    self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(ERROR_BODY_TIMEOUT)));
                ready!(timeout.as_mut().poll(cx));
                return Poll::Ready(Ok(()));
            };
            match next {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => {
                    // Trailers describe the original bytes, which are replaced.
                    self.bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    if self.bytes.len() > limit {
                        let too_long = || TooLong::new(limit).into();
                        return Poll::Ready(if self.is_success() { Err(too_long()) } else { Ok(()) });
                    }
                }
                Some(Err(error)) if self.is_success() => return Poll::Ready(Err(error.into())),
                Some(Err(_)) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The bytes that were read, translated into the caller's dialect.
    pub(super) fn translate(self) -> Result<Response<Bytes>, BoxError> {
        let Self { mut head, bytes, mut translator, .. } = self;
        let end = bytes.len().min(if head.status.is_success() { usize::MAX } else { ERROR_BODY_LIMIT });
        let body = translator.whole(head.status, &bytes[..end])?;
        head.headers.insert(CONTENT_LENGTH, body.len().into());
        Ok(Response::from_parts(head, body))
    }
}
