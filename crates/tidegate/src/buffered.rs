use std::any::Any;

use http::Request;
use http_body::Body;

use crate::{BoxError, Payload};

/// The payload, if `body` is one that is already buffered; otherwise the body as it is.
///
/// The same as [`Payload::in_request`] without moving the head of the request.
#[inline]
pub(crate) fn buffered<B: 'static>(body: B) -> Result<Payload, B> {
    let mut slot = Some(body);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Payload>>() {
        Some(Some(payload)) if payload.is_replayable() => Ok(std::mem::take(payload)),
        _ => Err(slot.expect("filled above")),
    }
}

/// The request with a payload as its body, which is streamed if it is not one yet.
#[inline]
pub(crate) fn with_payload<B>(request: Request<B>) -> Request<Payload>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut slot = Some(request);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Request<Payload>>>() {
        Some(request) => request.take().expect("filled above"),
        None => slot.expect("filled above").map(Payload::streamed),
    }
}
