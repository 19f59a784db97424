use bytes::BytesMut;
use serde_json::Value;
use tidegate_core::{ErrorCode, Failure};
use tidegate_providers::stream::Event;

/// Encodes the events of a stream of one dialect in the other.
pub(super) trait EncodeEvents: Send {
    /// Starts the response. `created` is in seconds since 1970.
    fn begin(&mut self, created: u64);
    /// Bounds the content that is kept for later: to the size that one event may have.
    fn set_event_cap(&mut self, bytes: usize);
    /// Writes a keep-alive.
    fn ping(&mut self, out: &mut BytesMut);
    /// Writes the error event that ends a failed stream.
    fn fail(&mut self, error: Value, out: &mut BytesMut);
    /// Encodes any other event. If it contains generated content (`is_token`), either some of it is encoded
    /// or omitted on purpose, or the event is an error, so that no response is empty by mistake.
    fn encode(&mut self, event: Event<'_>, is_token: bool, out: &mut BytesMut) -> Result<(), Failure>;
    /// Ends a stream after its terminator was received.
    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Failure>;
    /// Ends a stream that ended without a terminator.
    fn end_of_stream(&mut self, out: &mut BytesMut) -> Result<(), Failure>;
}

/// The maximum size of one event, unless it is set.
pub(super) const DEFAULT_EVENT_CAP: usize = 32 * 1024 * 1024;

/// The failure of an event or a stream that exceeds a limit.
pub(super) fn too_many(what: &str) -> Failure {
    Failure { provider_code: Some(format!("too_many_{what}").into()), ..unreadable() }
}

/// The failure of a response that is not in the target's dialect or cannot be translated.
pub(super) fn unreadable() -> Failure {
    // The provider sent no error code. This one names the problem.
    Failure { provider_code: Some("unreadable_answer".into()), ..Failure::new(ErrorCode::ServerError) }
}
