//! The dialects: the API formats of the providers.
//!
//! Each dialect is a folder. Its `RULES` ([`rules::DialectRules`]) are what the parsers outside of this
//! folder use, and its files hold what differs from the other dialects:
//!
//! - `events.rs`: the events of its streams, and `framing.rs` if they are not server-sent events;
//! - `convert.rs`: the conversion between a stream and one JSON document;
//! - `response.rs`: its JSON responses, and the names of the numbers in its usage;
//! - `limits.rs`: its headers about limits;
//! - `error.rs`: an error code outside of the body.
//!
//! Error bodies are not divided by dialect: the providers copied their fields and codes from each other, so
//! that one parser and one table of codes ([`crate::error`]) read all of them.

mod anthropic;
pub(crate) mod bedrock;
mod cohere;
mod event_merge;
pub(crate) mod gemini;
pub(crate) mod limit_header;
mod openai_chat;
pub(crate) mod openai_responses;
pub(crate) mod parsed_event;
pub(crate) mod probe_result;
pub(crate) mod rules;
pub(crate) mod usage_field;

use tidegate_core::StopReason;

use self::parsed_event::ParsedEvent;
use self::rules::DialectRules;
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
    /// OpenAI's Responses API, ended by `response.completed` or `response.incomplete`. Some servers end it
    /// with `response.done`.
    Responses,
    /// Anthropic's Messages API, ended by `message_stop`, which some other servers omit.
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

/// The dialects and their rules. A new dialect is a folder with its rules, a variant of [`Dialect`], and a
/// line here.
static DIALECTS: [(Dialect, DialectRules); 6] = [
    (Dialect::Chat, openai_chat::RULES),
    (Dialect::Responses, openai_responses::RULES),
    (Dialect::Anthropic, anthropic::RULES),
    (Dialect::Gemini, gemini::RULES),
    (Dialect::Cohere, cohere::RULES),
    (Dialect::Converse, bedrock::RULES),
];

/// All dialects with their rules.
pub(crate) fn all_dialects() -> impl Iterator<Item = (Dialect, &'static DialectRules)> {
    DIALECTS.iter().map(|(dialect, rules)| (*dialect, rules))
}

/// The rules of all dialects.
pub(crate) fn all_rules() -> impl Iterator<Item = &'static DialectRules> {
    DIALECTS.iter().map(|(_, rules)| rules)
}

impl Dialect {
    /// Parses an event.
    #[must_use]
    pub fn read(self, event: Event<'_>) -> ParsedEvent {
        (self.rules().read)(event)
    }

    /// The meaning of a stop reason; `None` if the dialect does not use `reason` as one.
    #[must_use]
    pub fn stop_reason(self, reason: &str) -> Option<StopReason> {
        (self.rules().stop_reason)(reason)
    }

    pub(crate) fn rules(self) -> &'static DialectRules {
        let known = DIALECTS.iter().find(|(dialect, _)| *dialect == self);
        known.map_or(&DialectRules::UNKNOWN, |(_, rules)| rules)
    }

    fn find(has_rule: impl Fn(&DialectRules) -> bool) -> Option<Self> {
        DIALECTS.iter().find(|(_, rules)| has_rule(rules)).map(|&(dialect, _)| dialect)
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
        let (mut by_leaf, mut is_empty) = (None, true);
        let is_whole = walk(data, |path, leaf| {
            is_empty &= path.is_empty() && leaf == Leaf::Object;
            match (path, leaf) {
                (["type"], Leaf::Text(text)) => kind = text,
                _ => by_leaf = Dialect::find(|rules| (rules.is_own_leaf)(path, leaf)).or(by_leaf),
            }
        });
        match Dialect::find(|rules| (rules.is_own_type)(kind)).or(by_leaf) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parsed_event::EndSignal;
    use crate::stream::sse::SseFramer;

    /// Covers every event of every fixture.
    #[test]
    fn the_fast_path_agrees_with_the_full_parser() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            SseFramer::new().push(&bytes, |event| {
                let DialectGuess::Known(dialect) = DialectGuess::of(event) else { return };
                if (dialect.rules().is_content_only)(event.data) {
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
            assert!((dialect.rules().is_content_only)(data.as_bytes()), "{data}");
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
            assert!(!(Dialect::Chat.rules().is_content_only)(data.as_bytes()), "{data}");
        }
    }

    #[test]
    fn every_dialect_has_rules_that_recognise_its_events() {
        let events = [
            (Dialect::Chat, r#"{"choices":[]}"#),
            (Dialect::Responses, r#"{"type":"response.created"}"#),
            (Dialect::Anthropic, r#"{"type":"content_block_stop"}"#),
            (Dialect::Gemini, r#"{"candidates":[]}"#),
            (Dialect::Cohere, r#"{"type":"content-end"}"#),
            (Dialect::Converse, r#"{"type":"contentBlockStop"}"#),
        ];
        assert_eq!(events.len(), DIALECTS.len());
        let citations = [r#"{"type":"citation-start","delta":{}}"#, r#"{"type":"citation-end"}"#];
        for (dialect, data) in events.into_iter().chain(citations.map(|data| (Dialect::Cohere, data))) {
            let event = Event { data: data.as_bytes(), ..Event::default() };
            assert_eq!(DialectGuess::of(event), DialectGuess::Known(dialect), "{data}");
            assert_ne!(dialect.read(event), (DialectRules::UNKNOWN.read)(event), "{data}");
        }
    }

    /// An event that is no token may be followed by a retry.
    #[test]
    fn every_kind_of_content_is_a_token() {
        for (dialect, name, data, is_token) in [
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"reasoning":"x"}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"reasoning_text":"x"}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"thinking":"x"}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"refusal":"x"}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"content":[{"type":"text","text":"x"}]}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"tool_calls":[{"custom":{"input":"x"}}]}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"reasoning_details":[{"summary":"x"}]}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"audio":{"transcript":"x"}}}]}"#, true),
            (Dialect::Chat, "", r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, false),
            (Dialect::Responses, "", r#"{"type":"response.queued","response":{"status":"queued"}}"#, false),
            (Dialect::Responses, "", r#"{"type":"response.refusal.delta","delta":"x"}"#, true),
            (Dialect::Responses, "", r#"{"type":"response.refusal.done","refusal":"x"}"#, false),
            (
                Dialect::Responses,
                "",
                r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"x"}"#,
                true,
            ),
            (Dialect::Responses, "", r#"{"type":"response.output_item.added","item":{"name":"f"}}"#, true),
            (Dialect::Anthropic, "", r#"{"type":"content_block_start","content_block":{"data":"x"}}"#, true),
            (Dialect::Anthropic, "", r#"{"type":"content_block_delta","delta":{"content":"x"}}"#, true),
            (Dialect::Anthropic, "", r#"{"type":"content_block_delta","delta":{"signature":"x"}}"#, false),
            (
                Dialect::Gemini,
                "",
                r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"x"}}]}}]}"#,
                true,
            ),
            (
                Dialect::Gemini,
                "",
                r#"{"candidates":[{"content":{"parts":[{"codeExecutionResult":{"output":"x"}}]}}]}"#,
                true,
            ),
            (
                Dialect::Gemini,
                "",
                r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"x"}}]}}]}"#,
                true,
            ),
            (
                Dialect::Gemini,
                "",
                r#"{"candidates":[{"content":{"parts":[{"thoughtSignature":"x"}]}}]}"#,
                false,
            ),
            (
                Dialect::Cohere,
                "",
                r#"{"type":"content-delta","delta":{"message":{"content":{"thinking":"x"}}}}"#,
                true,
            ),
            (
                Dialect::Cohere,
                "",
                r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"x"}}}"#,
                true,
            ),
            (
                Dialect::Cohere,
                "",
                r#"{"type":"citation-start","delta":{"message":{"citations":{"text":"x"}}}}"#,
                false,
            ),
            (Dialect::Cohere, "", r#"{"type":"citation-end","index":0}"#, false),
            (
                Dialect::Converse,
                "contentBlockDelta",
                r#"{"delta":{"reasoningContent":{"redactedContent":"x"}}}"#,
                true,
            ),
            (
                Dialect::Converse,
                "contentBlockDelta",
                r#"{"delta":{"reasoningContent":{"signature":"x"}}}"#,
                false,
            ),
            (Dialect::Converse, "contentBlockStart", r#"{"start":{"toolUse":{"name":"f"}}}"#, true),
        ] {
            let parsed = dialect.read(Event { name, data: data.as_bytes(), ..Event::default() });
            let expected = (is_token, EndSignal::None, None);
            assert_eq!((parsed.is_token, parsed.end, parsed.error), expected, "{dialect:?}: {data}");
        }
    }

    #[test]
    fn only_an_event_that_belongs_to_a_dialect_determines_it() {
        let guess =
            |name, data: &str| DialectGuess::of(Event { name, data: data.as_bytes(), ..Event::default() });
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
