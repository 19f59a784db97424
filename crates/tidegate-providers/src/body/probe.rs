//! Detects an error in the body of a 2xx response that is not a stream.
//!
//! OpenRouter and many proxies send status 200 before they call the provider behind them. So do servers that
//! send whitespace to keep the connection alive. A later error can then only be in the body: an `error` at
//! the top level, an `error` or the finish reason `error` inside a choice, or a `status` of `failed`.
//! OpenAI's successful responses also contain an `error` field, which is `null`.
//!
//! The first field that is significant decides, nearly always within the first few hundred bytes. Once there
//! is content, the response is a success, whatever follows. So a decided result for a prefix holds for the
//! whole body.

use crate::body::first_bytes::trim_start;
use crate::dialect::all_rules;
use crate::dialect::parsed_event::StreamError;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::json::walk::{Leaf, walk, walk_while};

/// What a response is, according to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The answer of a model.
    Answer,
    /// Any resource: an object of another type, or any JSON but an object, is a success.
    Resource,
}

/// Probes the beginning of a JSON body and stops at the first significant field.
pub(crate) fn read(json: &[u8], expected: Expected) -> ProbeResult {
    let json = trim_start(json);
    match json.first() {
        None => return ProbeResult::Unclear,
        Some(b'{' | b'[') => {}
        Some(_) => return ProbeResult::Success,
    }
    if is_success(json) {
        return ProbeResult::Success;
    }
    let (mut result, mut is_array, mut has_vectors) = (ProbeResult::Unclear, false, false);
    // A truncated string may be the prefix of another one, so only strings that end before the last byte read
    // count as complete.
    let read = json.as_ptr_range();
    let is_complete =
        |text: &str| read.contains(&text.as_ptr()) && text.as_bytes().as_ptr_range().end < read.end;
    walk_while(json, |path, leaf| {
        result = match (path, leaf) {
            // Google wraps its errors in an array with one element. Nested arrays and arrays of numbers are
            // embeddings.
            ([], Leaf::Array) if !is_array => {
                is_array = true;
                ProbeResult::Unclear
            }
            ([], Leaf::Object) => ProbeResult::Unclear,
            ([], Leaf::Array) => ProbeResult::Success,
            ([], _) if expected == Expected::Resource => ProbeResult::Success,
            ([], _) => ProbeResult::Unclear,
            // A resource, such as a job: its status is in its own fields.
            (["object"], Leaf::Text(text)) if is_complete(text) && !may_carry_error(text) => match expected {
                Expected::Resource => ProbeResult::Success,
                Expected::Answer => ProbeResult::Unclear,
            },
            // The list of vectors may be empty.
            (["embeddings" | "predictions" | "results", ..], Leaf::Array) if !has_vectors => {
                has_vectors = true;
                ProbeResult::Unclear
            }
            (path, Leaf::Text(text)) if is_complete(text) => {
                probe_leaf(path, ProbedLeaf { leaf, text: Some(text) })
            }
            (path, leaf) => probe_leaf(path, ProbedLeaf { leaf, text: None }),
        };
        result == ProbeResult::Unclear
    });
    result
}

/// Whether a complete JSON body that is unclear to the probe contains an answer: an item of the list that all
/// answers of its dialect have, or the reason why there is none.
pub(crate) fn is_answer(json: &[u8]) -> bool {
    let mut has_item = false;
    let is_complete = walk(json, |path, leaf| {
        has_item |= match path {
            ["choices" | "content" | "output" | "candidates" | "data"] => leaf == Leaf::Object,
            ["stop_reason" | "stopReason" | "finish_reason"] | ["promptFeedback", "blockReason"] => {
                leaf.is_text()
            }
            _ => false,
        };
    });
    is_complete && has_item
}

/// Whether a dialect recognises a success without a look at every leaf.
fn is_success(json: &[u8]) -> bool {
    all_rules().any(|rules| (rules.is_success)(json))
}

/// The result for one leaf: of a field that all dialects share, or else of the dialect that has the field.
fn probe_leaf(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match probe_shared(path, leaf) {
        ProbeResult::Unclear => all_rules()
            .map(|rules| (rules.probe)(path, leaf))
            .find(|result| *result != ProbeResult::Unclear)
            .unwrap_or(ProbeResult::Unclear),
        result => result,
    }
}

fn probe_shared(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["type" | "object"], Some("error")) => ProbeResult::Error(StreamError::Event),
        // Some providers send an `error` object in which all fields are `null`.
        (["error", ..], _) if leaf.is_set() => ProbeResult::Error(StreamError::Event),
        // The older completions of several providers.
        (["response" | "text" | "generated_text" | "completion"], _) if leaf.is_set() => ProbeResult::Success,
        // Embeddings: their numbers are not visited.
        (["data"], _) if leaf.leaf == Leaf::Object => ProbeResult::Success,
        (["data", ..], _) if leaf.is_set() => ProbeResult::Success,
        (["embedding" | "embeddings" | "predictions" | "results", ..], _) if leaf.leaf == Leaf::Array => {
            ProbeResult::Success
        }
        _ => ProbeResult::Unclear,
    }
}

/// OpenAI's object types that are model responses and may be errors. A response without a type may be one
/// too.
fn may_carry_error(object: &str) -> bool {
    matches!(object, "" | "error" | "response" | "text_completion") || object.starts_with("chat")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_core::BodyProbe;

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

    const SUCCESSES: &[&str] = &[
        r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}],"error":{"code":1}}"#,
        r#"{"error":null,"choices":[{"message":{"content":"\"error\":1"}}]}"#,
        r#"{"choices":[{"finish_reason":"content_filter","message":{"content":""}}]}"#,
        r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a"}]}}]}"#,
        r#"{"id":"resp_1","object":"response","status":"completed","error":null,"output":[{"id":"rs_1"}]}"#,
        r#"{"id":"resp_1","object":"response","status":"queued","error":null,"output":[]}"#,
        r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#,
        r#"{"type":"message","role":"assistant","content":[],"stop_reason":"end_turn"}"#,
        r#"{"id":"m","content":[{"type":"text","text":"error"}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
        r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
        r#"{"message":{"role":"assistant","content":""},"done":true}"#,
        r#"{"output":{"message":{"role":"assistant"}}}"#,
        r#"{"object":"list","data":[{"embedding":[0.1]}]}"#,
        r#"{"data":[{"embedding":[0.1]}],"error":{"a":"b"}}"#,
        r#"{"embeddings":[[0.1,0.2]],"error":{"a":"b"}}"#,
        // The job failed, but the request for its status succeeded.
        r#"{"object":"fine_tuning.job","status":"failed","error":{"code":"invalid"}}"#,
        "[[0.1,0.2]]",
        r#""error""#,
        "error",
        "7",
    ];

    /// Undecided to the end of the body.
    const UNDECIDED: &[&str] = &[
        r#"{"id":"resp_1","object":"response","status":"completed","error":null,"output":[]}"#,
        r#"{"type":"message","role":"assistant","content":[]}"#,
        r#"{"embeddings":[]}"#,
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
        read(json, Expected::Resource).into()
    }

    fn probe_answer(json: &str) -> BodyProbe {
        read(json.as_bytes(), Expected::Answer).into()
    }

    fn all() -> impl Iterator<Item = (&'static str, BodyProbe)> {
        let of = |bodies: &'static [&'static str], probe| bodies.iter().map(move |body| (*body, probe));
        of(ERRORS, BodyProbe::Error)
            .chain(of(SUCCESSES, BodyProbe::Success))
            .chain(of(UNDECIDED, BodyProbe::Unclear))
    }

    #[test]
    fn errors_are_distinguished_from_successful_responses() {
        for (body, expected) in all() {
            assert_eq!(probe(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn only_an_answer_is_a_success_where_one_is_expected() {
        let others = [
            r#"{"object":"list","data":[]}"#,
            r#"{"object":"fine_tuning.job","status":"running","error":null}"#,
            r#"["busy"]"#,
            "[1]",
        ];
        for body in others {
            assert_eq!(probe_answer(body), BodyProbe::Unclear, "{body}");
        }
        for body in ERRORS {
            assert_eq!(probe_answer(body), BodyProbe::Error, "{body}");
        }
        for body in others.iter().chain(UNDECIDED) {
            let is_choice = body.contains(r#""choices":[{"#);
            assert_eq!(is_answer(body.as_bytes()), is_choice, "{body}");
        }
        for body in SUCCESSES.iter().filter(|body| probe_answer(body) == BodyProbe::Success) {
            for cut in 0..body.len() {
                let result = probe_answer(&body[..cut]);
                assert!(result == BodyProbe::Unclear || result == BodyProbe::Success, "{cut} of {body}");
            }
        }
    }

    #[test]
    fn every_prefix_is_unclear_or_gives_the_final_result() {
        for (body, expected) in all() {
            for cut in 0..body.len() {
                let result = probe(&body.as_bytes()[..cut]);
                assert!(result == BodyProbe::Unclear || result == expected, "{cut} of {body}");
            }
        }
    }

    #[test]
    fn a_long_response_is_decided_at_its_first_content() {
        let long = format!(r#"{{"id":"a","choices":[{{"message":{{"content":"{}"}}}}"#, "x".repeat(1 << 20));
        let first = long.find("xx").unwrap() + 1;
        assert_eq!(probe(&long.as_bytes()[..first]), BodyProbe::Success);
    }

    #[test]
    fn the_fast_path_agrees_with_the_full_walk() {
        let is_short = |body: &str| is_success(body.as_bytes());
        for body in ERRORS.iter().chain(UNDECIDED) {
            assert!(!is_short(body), "{body}");
        }
        assert!(is_short(r#"{"id":"a","choices":[{"message":{"content":"Hi"}}],"error":{"code":1}}"#));
        assert!(!is_short(r#"{"error":{"choices":[{"content":"Hi"}]}}"#));
        assert!(!is_short(r#"{"prompt":[{"content":"Hi"}],"error":{"code":1}}"#));
    }

    proptest! {
        #[test]
        fn the_result_of_a_prefix_holds_for_the_whole_body(
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
