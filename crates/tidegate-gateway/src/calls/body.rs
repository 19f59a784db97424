use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body as ResponseBody;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::call_end::CallEnd;
use super::ongoing_call::OngoingCall;

/// The body of a response to a caller, up to its end. Data passes unchanged. Trailers are dropped: no API of
/// a provider has any, and they would get around the checks of headers.
#[derive(Debug)]
pub(crate) struct RecordedBody {
    inner: ResponseBody,
    call: OngoingCall,
    /// The bytes that are left of a body with a known length. It may be dropped after the last of them.
    left: Option<u64>,
}

impl RecordedBody {
    /// Records the head of a response now, and the end of its body later.
    pub(crate) fn begin(mut response: Response<ResponseBody>, call: OngoingCall) -> Response<ResponseBody> {
        call.begin_response(&mut response);
        response.map(|inner| {
            let left = inner.size_hint().exact();
            let body = Self { inner, call, left };
            body.end_if_complete();
            // Boxed as it is: its errors need no conversion.
            ResponseBody::new(body.boxed_unsync())
        })
    }

    /// Records the end before the caller receives it.
    fn end_if_complete(&self) {
        if self.left == Some(0) || self.inner.is_end_stream() {
            self.call.end(CallEnd::Finished);
        }
    }
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = loop {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => {}
                frame => break frame,
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.call.add_bytes(length);
                self.left = self.left.map(|left| left.saturating_sub(length as u64));
                self.end_if_complete();
            }
            Some(Err(_)) => self.call.end(CallEnd::Cut),
            None => self.call.end(CallEnd::Finished),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
