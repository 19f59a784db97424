//! Whether an answer in one piece is an answer, or an error that came with a good status.
//!
//! OpenRouter and many proxies have said 200 before they ask the provider behind them, and so do those who keep a
//! connection alive with blanks. What then goes wrong stands in the body: an `error` at the top, an `error` or the
//! reason `error` in the place of a choice, a `status` of `failed`. OpenAI's good answers name an `error`, too, which
//! is `null`.
//!
//! The first thing that is said settles it, nearly always in the first few hundred bytes: once there is content, the
//! answer is one, whatever comes of it. So what was said of a beginning holds however it goes on.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::BodyProbe;

use crate::stream::StreamError;
use crate::stream::chat::failure_reason;
use crate::stream::fast_path::JsonKey;
use crate::stream::json_walk::{Leaf, walk_while};

/// What the beginning of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Answer,
    Unclear,
    Error(StreamError),
}

impl From<ProbeResult> for BodyProbe {
    fn from(beginning: ProbeResult) -> Self {
        match beginning {
            ProbeResult::Answer => Self::Success,
            ProbeResult::Unclear => Self::Unclear,
            ProbeResult::Error(_) => Self::Error,
        }
    }
}

/// Reads no further than it has to. Anything but an object, or an array of them, is an answer.
pub(crate) fn read(json: &[u8]) -> ProbeResult {
    match json.trim_ascii_start().first() {
        None => return ProbeResult::Unclear,
        Some(b'{' | b'[') => {}
        Some(_) => return ProbeResult::Answer,
    }
    if KEYS.has_content_first(json) {
        return ProbeResult::Answer;
    }
    let (mut result, mut is_array) = (ProbeResult::Unclear, false);
    // A word that is cut off may be another one, and so may one whose last letter is.
    let read = json.as_ptr_range();
    let is_complete =
        |word: &str| read.contains(&word.as_ptr()) && word.as_bytes().as_ptr_range().end < read.end;
    walk_while(json, |path, leaf| {
        result = match (path, leaf) {
            // Google wraps its errors in an array of one; two arrays, or one of numbers, are vectors.
            ([], Leaf::Array) if !is_array => {
                is_array = true;
                ProbeResult::Unclear
            }
            ([], Leaf::Object) => ProbeResult::Unclear,
            ([], _) => ProbeResult::Answer,
            (path, Leaf::Text(word)) if is_complete(word) => probe_text(path, word),
            (path, leaf) => probe_leaf(path, leaf),
        };
        result == ProbeResult::Unclear
    });
    result
}

/// The short way through what most answers are: a choice with content, and before it none of the words without which
/// there is no error.
struct ContentKeys {
    choices: Finder<'static>,
    content: JsonKey,
    error_keywords: [Finder<'static>; 3],
}

static KEYS: LazyLock<ContentKeys> = LazyLock::new(|| ContentKeys {
    choices: Finder::new(r#""choices""#),
    content: JsonKey::new(r#""content""#),
    error_keywords: [r#""error""#, r#""failed""#, r#""insufficient_system_resource""#].map(Finder::new),
});

impl ContentKeys {
    fn has_content_first(&self, json: &[u8]) -> bool {
        let Some(choices) = self.choices.find(json) else { return false };
        let Some(content) = self.content.after(&json[choices..]) else { return false };
        let before = &json[..json.len() - content.len()];
        content.len() > 1
            && content[0] == b'"'
            && content[1] != b'"'
            && self.error_keywords.iter().all(|word| word.find(before).is_none())
    }
}

/// A whole text.
fn probe_text(path: &[&str], word: &str) -> ProbeResult {
    const FAILED: ProbeResult = ProbeResult::Error(StreamError::Event);
    match (path, word) {
        (["type" | "object"], "error") => FAILED,
        (["type"], "message") => ProbeResult::Answer,
        // A thing that was made or asked for, and no answer: how it fares is told by its own fields.
        (["object"], word) if !may_carry_error(word) => ProbeResult::Answer,
        (["status"], "failed") => FAILED,
        (["status"], "completed") => ProbeResult::Answer,
        (["choices", "finish_reason"], "") => ProbeResult::Unclear,
        (["choices", "finish_reason"], reason) => failure_reason(reason).map_or(ProbeResult::Answer, ProbeResult::Error),
        (["candidates", "finishReason"], reason) if !reason.is_empty() => ProbeResult::Answer,
        (path, word) => probe_leaf(path, Leaf::Text(word)),
    }
}

/// The objects of OpenAI's that are answers and may be errors; nobody knows what a stranger means by none.
fn may_carry_error(object: &str) -> bool {
    matches!(object, "" | "response" | "text_completion") || object.starts_with("chat")
}

/// A leaf of which nothing more is known than that it is there.
fn probe_leaf(path: &[&str], leaf: Leaf<'_>) -> ProbeResult {
    let is_set = leaf.is_text() || matches!(leaf, Leaf::Number(1..));
    match path {
        // Some name an object of an error in which all is `null`.
        ["error", ..] | ["choices", "error", ..] if is_set => ProbeResult::Error(StreamError::Event),
        ["choices", "message" | "delta", "role"] => ProbeResult::Unclear,
        ["choices", "message" | "delta", "content" | "tool_calls", ..]
        | ["choices", "message" | "delta", _]
        | ["choices", "text"]
        | ["candidates", "content", "parts", ..]
        | ["content" | "output" | "data", ..]
        // Cohere's and Ollama's; as a text it is what an error says.
        | ["message", _, ..]
        | ["response" | "text" | "generated_text" | "completion"]
            if is_set =>
        {
            ProbeResult::Answer
        }
        // Vectors: their numbers are not told.
        ["data"] if leaf == Leaf::Object => ProbeResult::Answer,
        ["embedding" | "embeddings" | "predictions" | "results", ..] if leaf == Leaf::Array => {
            ProbeResult::Answer
        }
        _ => ProbeResult::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ERRORS: &[&str] = &[
        r#"{"error":{"code":429,"message":"slow down"}}"#,
        " \n\n {\"error\" : {\"message\":\"x\"} }",
        r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
        r#"{"id":"gen-1","error":{"code":502},"choices":[]}"#,
        r#"{"error":"model is loading"}"#,
        r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
        r#"{"message":"too many","object":"error"}"#,
        r#"{"id":"resp_1","object":"response","error":{"code":"server_error"},"output":[]}"#,
        r#"{"id":"resp_1","object":"response","status":"failed","error":null}"#,
        r#"{"object":"chat.completion","choices":[{"finish_reason":"error","error":{"code":502}}]}"#,
        r#"{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"error"}]}"#,
        r#"{"choices":[{"message":{"content":null},"finish_reason":"insufficient_system_resource"}]}"#,
        r#"{"choices":[{"index":0,"error":{"message":"upstream"},"message":{"content":"so far"}}]}"#,
    ];

    const ANSWERS: &[&str] = &[
        r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}],"error":{"code":1}}"#,
        r#"{"error":null,"choices":[{"message":{"content":"\"error\":1"}}]}"#,
        r#"{"choices":[{"finish_reason":"content_filter","message":{"content":""}}]}"#,
        r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a"}]}}]}"#,
        r#"{"id":"resp_1","object":"response","status":"completed","error":null,"output":[]}"#,
        r#"{"type":"message","role":"assistant","content":[]}"#,
        r#"{"id":"m","content":[{"type":"text","text":"error"}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
        r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
        r#"{"message":{"role":"assistant","content":""},"done":true}"#,
        r#"{"output":{"message":{"role":"assistant"}}}"#,
        r#"{"object":"list","data":[{"embedding":[0.1]}]}"#,
        r#"{"data":[{"embedding":[0.1]}],"error":{"a":"b"}}"#,
        r#"{"embeddings":[[0.1,0.2]],"error":{"a":"b"}}"#,
        // What failed here is a thing, and the question how it fares was answered.
        r#"{"object":"fine_tuning.job","status":"failed","error":{"code":"invalid"}}"#,
        "[[0.1,0.2]]",
        r#""error""#,
        "error",
        "7",
    ];

    /// To the end: whoever looked for more would find none, and the answer is one.
    const UNDECIDED: &[&str] = &[
        "",
        " \n",
        "{}",
        "[]",
        "[0.1]",
        r#"{"error":null}"#,
        r#"{"error":{}}"#,
        r#"{"error":{"code":null,"message":"","param":0}}"#,
        r#"{"error":""}"#,
        r#"{"errors":["x"]}"#,
        r#"{"object":"chat.completion","choices":[]}"#,
        r#"{"status":"fail"}"#,
        r#"{"usage":{"error":{"code":1}},"x":{"status":"failed"}}"#,
        r#"{"prompt_filter_results":[{"error":{"code":"content_filter_error"}}]}"#,
        r#"{"choices":[{"content_filter_result":{"error":{"code":"content_filter_error"}}}]}"#,
        r#"{"message":"hello"}"#,
    ];

    fn probe(json: &[u8]) -> BodyProbe {
        read(json).into()
    }

    fn all() -> impl Iterator<Item = (&'static str, BodyProbe)> {
        let of = |bodies: &'static [&'static str], probe| bodies.iter().map(move |body| (*body, probe));
        of(ERRORS, BodyProbe::Error)
            .chain(of(ANSWERS, BodyProbe::Success))
            .chain(of(UNDECIDED, BodyProbe::Unclear))
    }

    #[test]
    fn an_error_is_told_from_an_answer() {
        for (body, expected) in all() {
            assert_eq!(probe(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn wherever_it_is_cut_nothing_else_is_said() {
        for (body, expected) in all() {
            for cut in 0..body.len() {
                let result = probe(&body.as_bytes()[..cut]);
                assert!(result == BodyProbe::Unclear || result == expected, "{cut} of {body}");
            }
        }
    }

    #[test]
    fn a_long_answer_is_read_no_further_than_its_first_word() {
        let long = format!(r#"{{"id":"a","choices":[{{"message":{{"content":"{}"}}}}"#, "x".repeat(1 << 20));
        let first = long.find("xx").unwrap() + 1;
        assert_eq!(probe(&long.as_bytes()[..first]), BodyProbe::Success);
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let is_short = |body: &str| KEYS.has_content_first(body.as_bytes());
        for body in ERRORS.iter().chain(UNDECIDED) {
            assert!(!is_short(body), "{body}");
        }
        assert!(is_short(r#"{"id":"a","choices":[{"message":{"content":"Hi"}}],"error":{"code":1}}"#));
        assert!(!is_short(r#"{"error":{"choices":[{"content":"Hi"}]}}"#));
        assert!(!is_short(r#"{"prompt":[{"content":"Hi"}],"error":{"code":1}}"#));
    }

    proptest! {
        #[test]
        fn what_is_said_of_a_beginning_holds(
            tokens in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", " ", "null", "4", "4.5", "-1", "\"", "\\", "é", "\"error\":", "\"error\"",
                "\"choices\":", "\"finish_reason\":", "\"message\":", "\"content\":", "\"object\":", "\"type\":",
                "\"chat\"", "\"status\":", "\"failed\"", "\"completed\"", "\"x\"", "\"\"", "\"data\":", "[{",
            ]), 0..24),
            bytes: Vec<u8>,
        ) {
            let mut body = tokens.concat().into_bytes();
            body.extend(bytes);
            let whole = probe(&body);
            for cut in 0..body.len() {
                let result = probe(&body[..cut]);
                prop_assert!(result == BodyProbe::Unclear || result == whole, "{} of {:?}", cut, body);
            }
        }
    }
}
