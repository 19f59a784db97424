pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod cohere;
pub(crate) mod gemini;
pub(crate) mod openai_chat;
pub(crate) mod openai_responses;
pub(crate) mod parsed_event;

use tidegate_core::StopReason;

use self::parsed_event::ParsedEvent;
use crate::event::{DONE, Event};
use crate::json::walk::{Leaf, walk};

/// The API format of a stream.
///
/// It does not follow from the provider: most providers support several dialects, and many support OpenAI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's chat completion chunks, ended by `[DONE]`; also Azure, Mistral, Groq, DeepSeek, OpenRouter,
    /// xAI and others.
    Chat,
    /// OpenAI's Responses API, ended by `response.completed` or `response.incomplete`.
    Responses,
    /// Anthropic's Messages API, ended by `message_stop`.
    Anthropic,
    /// Google's `GenerateContentResponse`, ended by the end of the body after a `finishReason`.
    Gemini,
    /// Cohere's Chat API, version 2, ended by `message-end`.
    Cohere,
    /// Bedrock's Converse API, ended by `messageStop`, with the usage after it.
    Converse,
}

/// The dialect of a stream, as far as one of its events shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectGuess {
    /// The event belongs to this dialect.
    Known(Dialect),
    /// The event may belong to any dialect: a ping, or an event that cannot be parsed.
    Undecided,
    /// The event belongs to no supported dialect.
    Unknown,
}

impl Dialect {
    /// Parses an event.
    #[must_use]
    pub fn read(self, event: Event<'_>) -> ParsedEvent {
        match self {
            Self::Chat => openai_chat::events::read(event),
            Self::Responses => openai_responses::events::read(event),
            Self::Anthropic => anthropic::events::read(event),
            Self::Gemini => gemini::events::read(event),
            Self::Cohere => cohere::events::read(event),
            Self::Converse => bedrock::events::read(event),
        }
    }

    /// The meaning of a stop reason; `None` if the dialect does not use `reason` as one.
    #[must_use]
    pub fn stop_reason(self, reason: &str) -> Option<StopReason> {
        match self {
            Self::Chat => openai_chat::events::stop(reason),
            Self::Responses => openai_responses::events::stop(reason),
            Self::Anthropic => anthropic::events::stop(reason),
            Self::Gemini => gemini::events::stop(reason),
            Self::Cohere => cohere::events::stop(reason),
            Self::Converse => bedrock::events::stop(reason),
        }
    }

    /// Whether an event with `data` contains generated content and nothing else. False if in doubt.
    pub(crate) fn is_content_only(self, data: &[u8]) -> bool {
        match self {
            Self::Chat => openai_chat::events::is_content_only(data),
            Self::Responses => openai_responses::events::is_content_only(data),
            Self::Anthropic => anthropic::events::is_content_only(data),
            Self::Cohere => cohere::events::is_content_only(data),
            // Every Gemini chunk contains a usage, and Bedrock's events are short.
            Self::Gemini | Self::Converse => false,
        }
    }
}

impl DialectGuess {
    /// The dialect that the name and the keys of `event` show.
    #[must_use]
    pub fn of(event: Event<'_>) -> Self {
        let data = event.data.trim_ascii();
        if data == DONE {
            return Self::Known(Dialect::Chat);
        }
        let mut kind = event.name;
        let (mut by_key, mut is_empty) = (None, true);
        let is_whole = walk(data, |path, leaf| {
            is_empty &= path.is_empty() && leaf == Leaf::Object;
            match (path, leaf) {
                (["type"], Leaf::Text(text)) => kind = text,
                (["choices"], Leaf::Array) | (["object"], Leaf::Text("error")) => {
                    by_key = Some(Dialect::Chat)
                }
                (["candidates"], Leaf::Array) | (["usageMetadata" | "promptFeedback"], Leaf::Object) => {
                    by_key = Some(Dialect::Gemini);
                }
                _ => {}
            }
        });
        match of_kind(kind).or(by_key) {
            Some(dialect) => Self::Known(dialect),
            None if matches!(kind, "ping" | "keepalive") => Self::Undecided,
            None => match data.first() {
                None => Self::Undecided,
                Some(b'{' | b'[') if is_empty || !is_whole => Self::Undecided,
                Some(_) => Self::Unknown,
            },
        }
    }
}

fn of_kind(kind: &str) -> Option<Dialect> {
    Some(match kind {
        kind if kind.starts_with("response.") => Dialect::Responses,
        "message_start"
        | "message_delta"
        | "message_stop"
        | "content_block_start"
        | "content_block_delta"
        | "content_block_stop" => Dialect::Anthropic,
        "message-start" | "message-end" | "content-start" | "content-delta" | "content-end"
        | "tool-plan-delta" | "tool-call-start" | "tool-call-delta" | "tool-call-end" => Dialect::Cohere,
        "messageStart" | "messageStop" | "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" => {
            Dialect::Converse
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::SseFramer;

    /// Covers every event of every fixture.
    #[test]
    fn the_fast_path_agrees_with_the_full_parser() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            SseFramer::new().push(&bytes, |event| {
                let DialectGuess::Known(dialect) = DialectGuess::of(event) else { return };
                if dialect.is_content_only(event.data) {
                    let text = String::from_utf8_lossy(event.data);
                    assert_eq!(dialect.read(event), ParsedEvent::token(), "{dialect:?}: {text}");
                    seen += 1;
                }
            });
        }
        assert!(seen > 80, "{seen}");
    }

    #[test]
    fn an_event_with_anything_beside_content_is_not_content_only() {
        let plain = [
            (Dialect::Chat, r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}],"usage":null}"#),
            (Dialect::Chat, r#"{"error" : null, "choices" : [ { "delta" : { "content" : "x" } } ] }"#),
            (Dialect::Chat, r#"{"choices":[{"delta":{"content":null,"reasoning_content":"x"}}]}"#),
            (Dialect::Chat, r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#),
            (Dialect::Responses, r#"{"type":"response.output_text.delta","delta":"x"}"#),
            (
                Dialect::Anthropic,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#,
            ),
            (Dialect::Cohere, r#"{"type":"content-delta","delta":{"message":{"content":{"text":"x"}}}}"#),
        ];
        for (dialect, data) in plain {
            assert!(dialect.is_content_only(data.as_bytes()), "{data}");
            let event = Event { data: data.as_bytes(), ..Event::default() };
            assert_eq!(dialect.read(event), ParsedEvent::token(), "{data}");
        }
        for data in [
            r#"{"choices":[{"delta":{"content":""}}]}"#,
            r#"{"choices":[{"message":{"content":"x"}}]}"#,
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"x"}}],"x_groq":{"usage":{"prompt_tokens":1}}}"#,
            r#"{"choices":[{"delta":{"content":"x"}}],"error":{}}"#,
        ] {
            assert!(!Dialect::Chat.is_content_only(data.as_bytes()), "{data}");
        }
    }

    #[test]
    fn only_an_event_that_belongs_to_a_dialect_determines_it() {
        let guess =
            |name, data: &str| DialectGuess::of(Event { name, data: data.as_bytes(), is_error: false });
        for (data, expected) in [
            ("[DONE]", DialectGuess::Known(Dialect::Chat)),
            (r#"{"choices":[]}"#, DialectGuess::Known(Dialect::Chat)),
            (r#"{"type":"response.created"}"#, DialectGuess::Known(Dialect::Responses)),
            (r#"{"type":"ping"}"#, DialectGuess::Undecided),
            ("{}", DialectGuess::Undecided),
            ("", DialectGuess::Undecided),
            (r#"{"a":1"#, DialectGuess::Undecided),
            (r#"{"a":1}"#, DialectGuess::Unknown),
            ("hello", DialectGuess::Unknown),
            ("7", DialectGuess::Unknown),
        ] {
            assert_eq!(guess("", data), expected, "{data}");
        }
        assert_eq!(guess("message_start", "{"), DialectGuess::Known(Dialect::Anthropic));
        assert_eq!(guess("keepalive", r#"{"at":1}"#), DialectGuess::Undecided);
    }
}
