use std::any::Any;

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

/// The body as a payload, which is streamed if `body` is not one yet.
#[inline]
pub(crate) fn as_payload<B>(body: B) -> Payload
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut slot = Some(body);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<Payload>>() {
        Some(payload) => payload.take().expect("filled above"),
        None => Payload::streamed(slot.expect("filled above")),
    }
}
