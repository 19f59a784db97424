use bytes::Bytes;
use http::response::Parts;

/// Knows how one model goes on where another one broke off.
///
/// Implementations know dialects and providers; the layers know only when to ask.
pub trait StreamContinuator: Send + Sync + 'static {
    /// Who follows the answer with this head, if it is a stream that could be continued.
    fn splicer(&self, head: &Parts) -> Option<Box<dyn StreamSplicer>>;
}

/// Follows one stream as it passes, and makes one stream of it and of those that continue it.
///
/// Sans-io, like [`Scan`](crate::Scan): bytes in, in any chunks, and bytes out. Only whole events come out, so
/// that what another stream adds is never read as part of an event that was cut.
pub trait StreamSplicer: Send {
    /// Takes the next bytes, and gives what may be passed on: as they came, or after
    /// [`go_on`](Self::go_on) in the words of the stream that broke.
    ///
    /// # Errors
    ///
    /// What came cannot be part of that stream. Never before `go_on`.
    fn push(&mut self, bytes: &Bytes) -> Result<Bytes, NotContinuable>;

    /// The body has ended as it should: what was kept back.
    fn finish(&mut self) -> Bytes;

    /// The stream broke and nobody goes on with it: what was kept back for that.
    fn abandon(&mut self) -> Bytes;

    /// The body of the request that asks `target` (`provider/model`) for the rest of the answer to `request`.
    /// `None` if it cannot be continued: a tool was called, or it is not understood.
    fn continuation_request(&self, target: &str, request: &[u8]) -> Option<Bytes>;

    /// What comes from here on is the stream in which `target` goes on. Gives what has to be said between the two;
    /// half an event that was kept back is gone.
    fn switch_to(&mut self, target: &str) -> Bytes;
}

/// What came cannot be part of the stream that is gone on with: another dialect, or an event without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotContinuable;

/// The body of this request is another one than the caller's: it asks for the rest of an answer, or for a simpler one.
/// An extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRewritten;
