use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http_body::Body;
use tidegate_core::ResponseTranslator;

use crate::buffered_body::BufferedBody;
use crate::offload::DocumentWork;
use crate::{BoxError, Error, ErrorCode, Failure};

/// A response that has to be complete before it is translated.
pub(super) struct BufferedResponse<B: Body> {
    head: Parts,
    body: BufferedBody<B>,
    translator: Box<dyn ResponseTranslator>,
    /// The longest body of a successful response.
    limit: usize,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> BufferedResponse<B> {
    pub(super) fn new(head: Parts, body: B, translator: Box<dyn ResponseTranslator>, limit: usize) -> Self {
        // The relevant part of a failed response is at its beginning.
        let body =
            if head.status.is_success() { BufferedBody::up_to(body, limit) } else { BufferedBody::new(body) };
        Self { head, body, translator, limit }
    }

    /// Reads a successful response to its end, and a failed one within the limits for error bodies.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.head.status.is_success() {
            return self.body.poll_read_error_body(cx).map(Ok);
        }
        ready!(self.body.poll_read(cx));
        Poll::Ready(match self.body.take_error() {
            Some(error) => Err(error),
            None if !self.body.is_whole() => Err(Error::new(TooLong::new(self.limit))),
            None => Ok(()),
        })
    }

    /// The bytes that were read, translated into the caller's dialect.
    pub(super) fn translate(self) -> DocumentWork<Response<Bytes>> {
        let Self { mut head, body, mut translator, .. } = self;
        let bytes = body.into_bytes();
        DocumentWork::new(bytes.len(), move || {
            // Trailers describe the original bytes, which are replaced.
            let body = translator.whole(head.status, &bytes)?;
            head.headers.insert(CONTENT_LENGTH, body.len().into());
            Ok(Response::from_parts(head, body))
        })
    }
}

/// A buffered response exceeded the size that can be translated. The layers classify it as a failure with
/// E3001.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer of more than {limit} bytes cannot be translated")]
pub struct TooLong {
    limit: usize,
    #[source]
    failure: Failure,
}

impl TooLong {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, failure: Failure::new(ErrorCode::ServerError) }
    }
}
