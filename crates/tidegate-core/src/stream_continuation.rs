use bytes::Bytes;
use http::response::Parts;

/// Lets one model continue a stream that broke off at another one.
///
/// Implementations contain the knowledge about dialects and providers; the layers decide when a stream is
/// continued.
pub trait StreamContinuator: Send + Sync + 'static {
    /// A splicer for the response with this head, if it is a stream that could be continued.
    fn splicer(&self, head: &Parts) -> Option<Box<dyn StreamSplicer>>;
}

/// Joins one stream and the streams that continue it into one stream.
///
/// Implementations do no I/O, like [`Scan`](crate::Scan): they take bytes in chunks of any size and return
/// bytes. They return whole events only, so that an event of the next stream is never appended to a truncated
/// event.
pub trait StreamSplicer: Send + Sync {
    /// Takes the next bytes, and returns the bytes that may be forwarded. They are unchanged, or after
    /// [`switch_to`](Self::switch_to) in the format of the first stream.
    ///
    /// # Errors
    ///
    /// The bytes cannot be part of the first stream. This never happens before `switch_to`.
    fn push(&mut self, bytes: &Bytes) -> Result<Bytes, NotContinuable>;

    /// Called when the body has ended without an error. Returns the bytes that were held back.
    fn finish(&mut self) -> Bytes;

    /// Called when the stream broke off and no other target continues it. Returns the bytes that were held
    /// back.
    fn abandon(&mut self) -> Bytes;

    /// The body of the request with which `target` (`provider/model`) continues the response to `request`.
    /// `None` if the response cannot be continued: a tool was called, or the request or the stream cannot be
    /// parsed.
    fn continuation_request(&self, target: &str, request: &[u8]) -> Option<Bytes>;

    /// Switches to the stream of `target`: the following bytes belong to it. Returns the bytes that have to
    /// be sent between the two streams. An incomplete event that was held back is discarded.
    fn switch_to(&mut self, target: &str) -> Bytes;
}

/// The bytes cannot continue the first stream: they are of another dialect, or an event has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotContinuable;

/// Marks a request with a body that differs from the caller's, because it continues a response or requests a
/// simpler one. It is an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRewritten;
