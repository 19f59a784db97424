//! Translates the response to one request, in either direction.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::response::Parts;
use serde_json::Value;
use tidegate_core::{BodyMode, ErrorBody, Failure, Outcome, ResponseTranslator, StreamOutcome};
use tidegate_providers::stream::{Dialect, EndSignal, Event, SseFramer, StreamError};
use tidegate_providers::{BodyFormat, Provider, has_too_many_nodes};

use super::chat_events::ChatEvents;
use super::encode_events::{DEFAULT_EVENT_CAP, EncodeEvents, too_many, unreadable};
use super::error::TranslatedError;
use super::messages_events::MessagesEvents;
use super::{chat_response, messages_response};

/// The encoder for the dialect of the caller.
pub(super) enum ResponseEncoder {
    Chat(ChatEvents),
    Messages(MessagesEvents),
}

/// Translates the response to one request.
pub(super) struct ResponseConverter {
    encoder: ResponseEncoder,
    provider: Provider,
    framer: SseFramer,
    created: u64,
    /// Whether the body of an error response is compressed.
    is_compressed: bool,
    /// The failure of the response, if the layers below have classified it.
    failure: Option<Failure>,
    /// The outcome of the stream, if the layers below classify it as it passes.
    outcome: Option<StreamOutcome>,
    /// The last event was written. Later events are ignored.
    has_ended: bool,
}

impl ResponseEncoder {
    /// The dialect of the target.
    fn source_dialect(&self) -> Dialect {
        match self {
            Self::Chat(_) => Dialect::Anthropic,
            Self::Messages(_) => Dialect::Chat,
        }
    }

    fn events(&mut self) -> &mut dyn EncodeEvents {
        match self {
            Self::Chat(events) => events,
            Self::Messages(events) => events,
        }
    }

    fn response(&self, body: &[u8], created: u64) -> Option<Bytes> {
        match self {
            Self::Chat(events) => chat_response::read(body, created, events.wants_json, events.tool_names())
                .map(|completion| completion.to_string().into()),
            Self::Messages(events) => {
                let (tool_names, stops) = (events.blocks.tool_names(), events.blocks.stops().clone());
                messages_response::read(body, events.omits_reasoning, tool_names, stops).map(Bytes::from)
            }
        }
    }

    fn error(&self, error: &TranslatedError) -> Value {
        match self {
            Self::Chat(_) => error.as_chat(),
            Self::Messages(_) => error.as_messages(),
        }
    }

    /// The header names of the request id: in the dialect of the caller, and in that of the target.
    fn request_id(&self) -> (HeaderName, HeaderName) {
        let (chat, messages) =
            (HeaderName::from_static("x-request-id"), HeaderName::from_static("request-id"));
        match self {
            Self::Chat(_) => (chat, messages),
            Self::Messages(_) => (messages, chat),
        }
    }
}

impl ResponseConverter {
    pub(super) fn new(encoder: ResponseEncoder, provider: Provider) -> Self {
        Self {
            encoder,
            provider,
            framer: SseFramer::with_cap(DEFAULT_EVENT_CAP),
            created: 0,
            is_compressed: false,
            failure: None,
            outcome: None,
            has_ended: false,
        }
    }
}

impl ResponseTranslator for ResponseConverter {
    fn head(&mut self, head: &mut Parts, now: SystemTime) -> Result<BodyMode, Failure> {
        if !head.status.is_success() && head.status.as_u16() < 400 || head.status == StatusCode::NO_CONTENT {
            return Ok(BodyMode::Untouched);
        }
        self.failure = head.extensions.get().and_then(Outcome::failure).cloned();
        self.outcome = head.extensions.get().cloned();
        self.created = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.encoder.events().begin(self.created);
        let headers = &mut head.headers;
        let format = BodyFormat::of(headers);
        // The compressed body of an error response is not read: the status is enough, and the translated body
        // replaces it.
        self.is_compressed = format == BodyFormat::Compressed;
        if self.is_compressed && head.status.is_success() && self.failure.is_none() {
            return Err(Failure { provider_code: Some("content_encoding".into()), ..unreadable() });
        }
        // These headers describe the original body, which is replaced.
        for stale in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG] {
            headers.remove(stale);
        }
        let (target_name, source_name) = self.encoder.request_id();
        if let Some(id) = headers.get(source_name).cloned() {
            headers.entry(target_name).or_insert(id);
        }
        if format == BodyFormat::Events && head.status.is_success() {
            return Ok(BodyMode::Events);
        }
        // The status was sent before the failure. Clients in the dialect of the caller read the body by it.
        if let Some(failure) = self.failure.as_ref().filter(|_| head.status.is_success()) {
            head.status = ErrorBody::of_error(failure).status();
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(BodyMode::Whole)
    }

    fn whole(&mut self, status: StatusCode, body: &[u8]) -> Result<Bytes, Failure> {
        // The status may have been sent before the failure.
        if !status.is_success() || self.failure.is_some() {
            let body = if self.is_compressed { &[] } else { body };
            let error = match self.failure.take() {
                Some(failure) => TranslatedError::new(failure, body),
                None => TranslatedError::read(self.provider, Some(status), body),
            };
            return Ok(self.encoder.error(&error).to_string().into());
        }
        if has_too_many_nodes(body) {
            return Err(too_many("objects"));
        }
        let response = self.encoder.response(body, self.created);
        response.ok_or_else(|| {
            TranslatedError::failure_in_success(self.provider, body).unwrap_or_else(unreadable)
        })
    }

    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        let mut result = Ok(());
        let mut framer = std::mem::take(&mut self.framer);
        framer.push(bytes, |event| {
            if let Err(failure) = self.convert_event(event, out) {
                (self.has_ended, result) = (true, Err(failure));
            }
        });
        self.framer = framer;
        result
    }

    fn set_event_cap(&mut self, bytes: usize) {
        self.framer = SseFramer::with_cap(bytes);
        self.encoder.events().set_event_cap(bytes);
    }

    fn end(&mut self, out: &mut BytesMut) {
        let mut result = Ok(());
        std::mem::take(&mut self.framer).finish(|event| {
            // An incomplete event is ignored. After an oversized one the stream is truncated, whatever came
            // before.
            self.has_ended |= event.is_cut;
            if result.is_ok() && event.is_complete() {
                result = self.convert_event(event, out);
            }
        });
        if result.is_ok() && !self.has_ended {
            result = self.encoder.events().end_of_stream(out);
        }
        // A failure can no longer be returned here.
        if let Err(failure) = result {
            let error = self.encoder.error(&TranslatedError::from_failure(failure));
            self.encoder.events().fail(error, out);
        }
    }
}

impl ResponseConverter {
    fn convert_event(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        if self.has_ended {
            return Ok(());
        }
        // A comment, or an event name without data.
        if event.data.is_empty() && !event.is_error {
            self.encoder.events().ping(out);
            return Ok(());
        }
        if event.is_cut {
            return Err(too_many("bytes"));
        }
        if has_too_many_nodes(event.data) {
            return Err(too_many("objects"));
        }
        let parsed = self.encoder.source_dialect().read(event);
        let stream_error = parsed.error.or(event.is_error.then_some(StreamError::Event));
        if let Some(stream_error) = stream_error {
            let error = match stream_error.failure() {
                None => TranslatedError::read(self.provider, None, event.data),
                Some(failure) => TranslatedError::from_failure(Failure::new(failure.code)),
            };
            let error = self.encoder.error(&error);
            self.encoder.events().fail(error, out);
            self.has_ended = true;
            return Ok(());
        }
        self.encoder.events().encode(event, parsed.is_token, out)?;
        // The end is detected as the stream scanner detects it, so that both agree and the end is written
        // once. The scanner also detects errors in other forms, after which the end is none.
        if parsed.end == EndSignal::Final {
            self.has_ended = true;
            if !self.has_failed() {
                self.encoder.events().finish(out)?;
            }
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        let outcome = self.outcome.as_ref().and_then(StreamOutcome::outcome);
        outcome.is_some_and(|outcome| outcome.failure().is_some())
    }
}
