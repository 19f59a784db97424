//! The way back of one request, whichever the dialects.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
};
use http::response::Parts;
use serde_json::Value;
use tidegate_core::{BodyMode, ErrorCode, Failure, ResponseTranslator};

use super::chat_events::ChatEvents;
use super::error::Told;
use super::messages_events::MessagesEvents;
use super::{chat_answer, messages_answer};
use crate::Provider;
use crate::stream::{Dialect, End, Event, SseFramer, Trouble, is_cut, is_whole};

/// Tells a stream in one dialect what was heard in the other.
pub(super) trait Retell: Send {
    /// The answer begins, so many seconds after 1970.
    fn begin(&mut self, created: u64);
    /// A sign of life.
    fn ping(&mut self, out: &mut BytesMut);
    /// The last word of a stream that fails.
    fn fail(&mut self, error: Value, out: &mut BytesMut);
    /// Any other event.
    fn hear(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure>;
    /// The provider has said that this was all.
    fn stop(&mut self, out: &mut BytesMut);
    /// The stream has ended, and nobody has said so.
    fn end(&mut self, out: &mut BytesMut);
}

/// In which dialect the caller is answered.
pub(super) enum Tongue {
    Chat(ChatEvents),
    Messages(MessagesEvents),
}

/// Translates the answer to one request.
pub(super) struct Reply {
    tongue: Tongue,
    provider: Provider,
    framer: SseFramer,
    created: u64,
    /// The body of a failed answer is compressed.
    is_packed: bool,
    /// The stream has said its last word; what follows counts for nothing.
    is_over: bool,
}

/// One event, or one stream, holds more of something than anybody means.
pub(super) fn too_much(of: &str) -> Failure {
    Failure { provider_code: Some(format!("too_many_{of}").into()), ..unreadable() }
}

/// It is no answer in the target's dialect, or none that can be told in the other.
fn unreadable() -> Failure {
    // Not the provider's word, which there is none of: ours says what was in the way.
    Failure { provider_code: Some("unreadable_answer".into()), ..Failure::new(ErrorCode::ServerError) }
}

impl Tongue {
    /// The dialect that is heard.
    fn heard(&self) -> Dialect {
        match self {
            Self::Chat(_) => Dialect::Anthropic,
            Self::Messages(_) => Dialect::Chat,
        }
    }

    fn events(&mut self) -> &mut dyn Retell {
        match self {
            Self::Chat(events) => events,
            Self::Messages(events) => events,
        }
    }

    fn answer(&self, body: &[u8], created: u64) -> Option<Bytes> {
        match self {
            Self::Chat(_) => chat_answer::read(body, created).map(|answer| answer.to_string().into()),
            Self::Messages(events) => messages_answer::read(body, events.keeps_thoughts).map(Bytes::from),
        }
    }

    fn error(&self, told: &Told) -> Value {
        match self {
            Self::Chat(_) => told.as_chat(),
            Self::Messages(_) => told.as_messages(),
        }
    }

    /// Where the client that is answered looks for the number of its request, and where it stands now.
    fn request_id(&self) -> (HeaderName, HeaderName) {
        let (chat, messages) =
            (HeaderName::from_static("x-request-id"), HeaderName::from_static("request-id"));
        match self {
            Self::Chat(_) => (chat, messages),
            Self::Messages(_) => (messages, chat),
        }
    }
}

impl Reply {
    pub(super) fn new(tongue: Tongue, provider: Provider) -> Self {
        Self { tongue, provider, framer: SseFramer::new(), created: 0, is_packed: false, is_over: false }
    }
}

impl ResponseTranslator for Reply {
    fn head(&mut self, head: &mut Parts, now: SystemTime) -> Result<BodyMode, Failure> {
        if !head.status.is_success() && head.status.as_u16() < 400 || head.status == StatusCode::NO_CONTENT {
            return Ok(BodyMode::Untouched);
        }
        self.created = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.tongue.events().begin(self.created);
        let headers = &mut head.headers;
        let is_plain = text(headers, CONTENT_ENCODING).is_none_or(|it| it.eq_ignore_ascii_case("identity"));
        let media = text(headers, CONTENT_TYPE).and_then(|media| media.split(';').next()).unwrap_or_default();
        let is_stream = media.trim().eq_ignore_ascii_case("text/event-stream");
        if !is_plain && head.status.is_success() {
            return Err(Failure { provider_code: Some("content_encoding".into()), ..unreadable() });
        }
        // The status of a failed answer tells enough, and its body is another one then.
        self.is_packed = !is_plain;
        // They speak of bytes that nobody will see.
        for stale in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG] {
            headers.remove(stale);
        }
        let (here, there) = self.tongue.request_id();
        if let Some(id) = headers.get(there).cloned() {
            headers.entry(here).or_insert(id);
        }
        if is_stream && head.status.is_success() {
            return Ok(BodyMode::Events);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(BodyMode::Whole)
    }

    fn whole(&mut self, status: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
        if !status.is_success() {
            let body = if self.is_packed { &[] } else { body };
            let told = Told::read(self.provider, Some(status), body);
            return Ok(self.tongue.error(&told).to_string().into());
        }
        let answer = self.tongue.answer(body, self.created);
        answer.ok_or_else(|| Told::in_success(self.provider, body).unwrap_or_else(unreadable))
    }

    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        let mut result = Ok(());
        let mut framer = std::mem::take(&mut self.framer);
        framer.push(bytes, |event| {
            if let Err(failure) = self.retell(event, out) {
                (self.is_over, result) = (true, Err(failure));
            }
        });
        self.framer = framer;
        result
    }

    fn end(&mut self, out: &mut BytesMut) {
        std::mem::take(&mut self.framer).finish(|event| {
            // One that was cut in the middle is not an event, and nobody can be told of one that is too large any more;
            // nor is it an end.
            if is_whole(event.data) || is_cut(event.data) {
                self.is_over |= self.retell(event, out).is_err();
            }
        });
        if !self.is_over {
            self.tongue.events().end(out);
        }
    }
}

impl Reply {
    fn retell(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        if self.is_over {
            return Ok(());
        }
        // A comment, or a name without data.
        if event.data.is_empty() && !event.is_error {
            self.tongue.events().ping(out);
            return Ok(());
        }
        if is_cut(event.data) {
            return Err(too_much("bytes"));
        }
        let reading = self.tongue.heard().read(event);
        let trouble = reading.trouble.or(event.is_error.then_some(Trouble::Told));
        if let Some(trouble) = trouble {
            let told = match trouble {
                Trouble::Told => Told::read(self.provider, None, event.data),
                Trouble::Reason(_, code) => Told::of(Failure::new(code)),
            };
            let error = self.tongue.error(&told);
            self.tongue.events().fail(error, out);
            self.is_over = true;
            return Ok(());
        }
        self.tongue.events().hear(event, out)?;
        // As who judges the stream reads it: what has ended for one has ended for the other, and once.
        if reading.end == End::Said {
            self.is_over = true;
            self.tongue.events().stop(out);
        }
        Ok(())
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
