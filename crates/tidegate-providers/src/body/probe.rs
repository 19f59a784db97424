//! Detects an answer, or an error, in the body of a 2xx response that is not a stream.
//!
//! OpenRouter and many proxies send status 200 before they call the provider behind them. So do servers that
//! send whitespace to keep the connection alive. A later error can then only be in the body: an `error` at
//! the top level, an `error` or a finish reason such as `error` inside a choice, or a `status` of `failed`.
//! OpenAI's successful responses also contain an `error` field, which is `null`. In a message of JSON-RPC it
//! is about the method, and the provider has not failed.
//!
//! An answer is an object of the endpoint of its request: a list of models, a document in another dialect, or
//! an object of a few words under an unknown key is none. Where the endpoint is not known, every field in
//! which some server has its answer is one.
//!
//! The first field that is significant decides, nearly always within the first few hundred bytes. Once there
//! is content, the response is a success, whatever follows. So a decided result for a prefix holds for the
//! whole body. An error behind the content is found by [`late_error`], in an answer that is complete.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use aho_corasick::{Match, PatternID};

use crate::body::first_bytes::trim_start;
use crate::dialect::openai_responses::response::is_bare_field;
use crate::dialect::parsed_event::StreamError;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;
use crate::dialect::{Dialect, all_dialects, all_rules};
use crate::endpoint::Endpoint;
use crate::json::walk::{Leaf, walk, walk_while};

/// What a response is, according to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The answer of a model, as its endpoint has it.
    Answer(Endpoint),
    /// Any resource: an object of another type, or any JSON but an object, is a success.
    Resource,
}

impl Expected {
    /// Whether an answer in this dialect is a success.
    fn accepts(self, dialect: Dialect) -> bool {
        match self {
            Self::Answer(endpoint) => endpoint.accepts(dialect),
            Self::Resource => true,
        }
    }

    /// Whether a field that any server may use for an answer is a success.
    fn is_lenient(self) -> bool {
        matches!(self, Self::Resource | Self::Answer(Endpoint::Unknown))
    }
}

/// Probes the beginning of a JSON body and stops at the first significant field.
pub(crate) fn read(json: &[u8], expected: Expected) -> ProbeResult {
    let json = trim_start(json);
    match json.first() {
        None => return ProbeResult::Unclear,
        Some(b'{' | b'[') => {}
        Some(_) => return ProbeResult::Success,
    }
    if is_success(json, expected) {
        return ProbeResult::Success;
    }
    let mut probe = JsonProbe::new(expected);
    let mut result = ProbeResult::Unclear;
    // A truncated string may be the prefix of another one, so only strings that end before the last byte read
    // count as complete.
    let read = json.as_ptr_range();
    let is_complete =
        |text: &str| read.contains(&text.as_ptr()) && text.as_bytes().as_ptr_range().end < read.end;
    walk_while(json, |path, leaf| {
        let text = match leaf {
            Leaf::Text(text) if is_complete(text) => Some(text),
            _ => None,
        };
        result = match path {
            [] => probe.read_root(leaf),
            path => probe.read_field(path, ProbedLeaf { leaf, text }),
        };
        probe.is_filtered |= result == ProbeResult::Filtered;
        matches!(result, ProbeResult::Unclear | ProbeResult::Filtered)
    });
    match result {
        ProbeResult::Unclear if probe.is_filtered => ProbeResult::Filtered,
        result => result,
    }
}

/// A probe of one body.
struct JsonProbe<'a> {
    expected: Expected,
    /// The body is an array. Google wraps its errors in an array with one element.
    is_array: bool,
    /// The body is an array of arrays, as embeddings are.
    is_nested: bool,
    /// A content filter stopped the response.
    is_filtered: bool,
    /// The last field of the body that is a list.
    list: Option<&'a str>,
    /// A list of vectors has begun.
    has_vectors: bool,
}

impl<'a> JsonProbe<'a> {
    const fn new(expected: Expected) -> Self {
        Self {
            expected,
            is_array: false,
            is_nested: false,
            is_filtered: false,
            list: None,
            has_vectors: false,
        }
    }

    /// The result for a leaf outside of any object.
    fn read_root(&mut self, leaf: Leaf<'_>) -> ProbeResult {
        match leaf {
            Leaf::Object => return ProbeResult::Unclear,
            Leaf::Array if !self.is_array => {
                self.is_array = true;
                return ProbeResult::Unclear;
            }
            Leaf::Array => self.is_nested = true,
            _ => {}
        }
        let is_success = match self.expected {
            Expected::Resource => true,
            Expected::Answer(Endpoint::Unknown) => self.is_nested,
            Expected::Answer(Endpoint::Embeddings) => self.is_nested && leaf.is_number(),
            Expected::Answer(_) => false,
        };
        if is_success { ProbeResult::Success } else { ProbeResult::Unclear }
    }

    /// The result for a leaf of an object: of a field that all dialects share, or else of the dialect that
    /// has the field. An error of any dialect is one; an answer is one in the dialect of the endpoint only.
    fn read_field(&mut self, path: &[&'a str], leaf: ProbedLeaf<'_>) -> ProbeResult {
        if let (&[field], Leaf::Array) = (path, leaf.leaf) {
            self.list = Some(field);
        }
        // A resource, such as a job: its status is in its own fields.
        if let (["object"], Some(object)) = (path, leaf.text)
            && !may_carry_error(object)
        {
            return match self.expected {
                Expected::Resource => ProbeResult::Success,
                Expected::Answer(_) => ProbeResult::Unclear,
            };
        }
        // The error of a method that the caller has named.
        if path == ["jsonrpc"] && self.expected == Expected::Resource {
            return ProbeResult::Success;
        }
        if is_shared_error(path, leaf) || self.is_cancelled(path, leaf) {
            return ProbeResult::Error(StreamError::Event);
        }
        let of_dialect = all_dialects().find_map(|(dialect, rules)| match (rules.probe)(path, leaf) {
            ProbeResult::Success | ProbeResult::Filtered if !self.accepts(dialect, path) => None,
            ProbeResult::Unclear => None,
            result => Some(result),
        });
        match of_dialect {
            Some(result) => result,
            None if self.is_other_success(path, leaf) => ProbeResult::Success,
            None => ProbeResult::Unclear,
        }
    }

    /// Whether the response was cancelled before its end. A resource may be cancelled by this very request.
    fn is_cancelled(&self, path: &[&str], leaf: ProbedLeaf<'_>) -> bool {
        self.expected != Expected::Resource && matches!((path, leaf.text), (["status"], Some("cancelled")))
    }

    /// Whether an answer in this dialect, at this path, is one of the endpoint.
    fn accepts(&self, dialect: Dialect, path: &[&str]) -> bool {
        let is_in_place = match self.expected {
            Expected::Answer(endpoint) if endpoint != Endpoint::Unknown => {
                let has_list = path[0] == "choices" || endpoint.list() == Some(path[0]);
                !self.is_array && (!has_list || self.list == Some(path[0]))
            }
            _ => true,
        };
        is_in_place && self.expected.accepts(dialect)
    }

    /// Whether the leaf is an answer outside of the dialects.
    fn is_other_success(&mut self, path: &[&str], leaf: ProbedLeaf<'_>) -> bool {
        match path {
            _ if self.expected == Expected::Answer(Endpoint::Embeddings) => self.is_vector(path, leaf.leaf),
            _ if !self.expected.is_lenient() => false,
            _ if self.is_vector(path, leaf.leaf) => true,
            // The list of vectors may be empty.
            ["embeddings" | "predictions" | "results", ..]
                if leaf.leaf == Leaf::Array && !std::mem::replace(&mut self.has_vectors, true) =>
            {
                false
            }
            // Embeddings: their numbers are not visited.
            ["embedding" | "embeddings" | "predictions" | "results", ..] => leaf.leaf == Leaf::Array,
            // The data of an envelope may be empty beside an error.
            ["data"] if leaf.leaf == Leaf::Object => self.expected == Expected::Resource,
            ["status"] => matches!(leaf.text, Some("queued" | "in_progress")),
            ["content", "type"] => false,
            // Some servers send nothing else before the first token.
            ["message", "role"] => !self.is_filtered && leaf.is_set(),
            path if is_bare_field(path) => false,
            // The older completions of several providers.
            ["response" | "text" | "generated_text" | "completion"]
            | ["token", "text"]
            | ["data" | "content" | "output", ..]
            | ["message", _, ..] => leaf.is_set(),
            _ => false,
        }
    }

    /// Whether the leaf is a number of a vector, or a vector as text.
    fn is_vector(&self, path: &[&str], leaf: Leaf<'_>) -> bool {
        let (Some(first), Some(last)) = (path.first(), path.last()) else { return false };
        let is_listed = self.list == Some(*first);
        let is_deep = path.len() > 1;
        let is_in_place = match *first {
            "data" => is_listed && is_deep && !self.is_array,
            // An array of objects with a vector each is that of llama.cpp.
            "embedding" => is_listed || is_deep,
            "embeddings" => !self.is_array && (is_listed || is_deep),
            "predictions" | "results" => {
                return is_listed && leaf.is_number() && (!is_deep || VECTORS.contains(last));
            }
            _ => false,
        };
        is_in_place && VECTORS.contains(last) && (leaf.is_number() || leaf.is_text())
    }
}

/// The fields of vectors.
const VECTORS: [&str; 10] =
    ["embedding", "embeddings", "values", "float", "int8", "uint8", "binary", "ubinary", "base64", "dense"];

/// The strings without one of which an answer reports no failure. The first is a value or a key, which is `null`
/// in most answers that have it. `None` on a processor without vectors.
static FAILURES: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    Searcher::new([
        ERROR,
        r#""failed""#,
        r#""cancelled""#,
        r#""abort""#,
        r#""insufficient_system_resource""#,
        r#""network_error""#,
        r#""network-error""#,
        r#""malformed_"#,
        "MALFORMED_",
        r#"UNEXPECTED_TOOL_CALL""#,
        r#""ERROR""#,
        r#""TIMEOUT""#,
    ])
});

const ERROR: &str = r#""error""#;

/// The error in a complete answer, wherever it is in the body. Most answers have none, and are searched for a
/// few words only.
pub(crate) fn late_error(json: &[u8], endpoint: Endpoint) -> Option<StreamError> {
    may_report_failure(json).then(|| error_in(json, endpoint)).flatten()
}

fn may_report_failure(json: &[u8]) -> bool {
    let is_null = |word: Match| {
        let value = json[word.end()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    };
    let is_failure = |word: Match| word.pattern() != PatternID::ZERO || !is_null(word);
    FAILURES.as_ref().is_none_or(|words| words.find_iter(json).any(is_failure))
}

fn error_in(json: &[u8], endpoint: Endpoint) -> Option<StreamError> {
    let (mut probe, mut error) = (JsonProbe::new(Expected::Answer(endpoint)), None);
    walk_while(trim_start(json), |path, leaf| {
        let text = if let Leaf::Text(text) = leaf { Some(text) } else { None };
        if !path.is_empty()
            && let ProbeResult::Error(found) = probe.read_field(path, ProbedLeaf { leaf, text })
        {
            error = Some(found);
        }
        error.is_none()
    });
    error
}

/// Whether a complete JSON body that is unclear to the probe contains an answer of the endpoint. Where the
/// endpoint is not known: an item of the list that all answers of its dialect have, or the reason why there
/// is none. Otherwise an item of which only the usage shows that it was generated, or a response that is
/// generated in the background.
pub(crate) fn is_answer(json: &[u8], endpoint: Endpoint) -> bool {
    let json = trim_start(json);
    let (mut has_item, mut has_reason, mut has_output) = (false, false, false);
    let (mut is_response, mut is_pending) = (false, false);
    // The list of the Responses API: an item with a type is enough, whether or not it has content.
    let (mut is_list, mut has_type) = (false, false);
    let is_output = |count: &[&str]| {
        let mut fields = all_rules().filter_map(|rules| (rules.usage_field)(count));
        fields.any(|field| matches!(field, UsageField::Output | UsageField::Thoughts))
    };
    let is_complete = walk(json, |path, leaf| match (path, leaf) {
        ([list], Leaf::Object) => {
            has_item |= match endpoint {
                Endpoint::Unknown => matches!(*list, "choices" | "content" | "output" | "candidates"),
                Endpoint::Cohere => *list == "choices",
                endpoint => endpoint.list() == Some(*list),
            };
        }
        (["stop_reason" | "stopReason" | "finish_reason"] | ["promptFeedback", "blockReason"], leaf) => {
            has_reason |= leaf.is_text();
        }
        (["usage" | "usageMetadata", count @ ..], Leaf::Number(1..)) => has_output |= is_output(count),
        (["output"], Leaf::Array) => is_list = true,
        (["output", "type"], leaf) => has_type |= is_list && leaf.is_text(),
        (["object"], leaf) => is_response = leaf == Leaf::Text("response"),
        (["status"], Leaf::Text(status)) => is_pending = matches!(status, "queued" | "in_progress"),
        _ => {}
    });
    is_complete
        && read(json, Expected::Answer(endpoint)) != ProbeResult::Filtered
        && match endpoint {
            Endpoint::Unknown => has_item || has_reason,
            _ if json.first() != Some(&b'{') => false,
            Endpoint::Embeddings => false,
            Endpoint::Responses if has_type || is_response && is_pending => true,
            _ => has_item && has_output,
        }
}

/// The failure in a body that is no answer of its endpoint, whichever that is: an error, or a content filter
/// that has left no content.
pub(crate) fn failure(json: &[u8]) -> ProbeResult {
    let mut result = ProbeResult::Unclear;
    for endpoint in Endpoint::ALL {
        match read(json, Expected::Answer(endpoint)) {
            error @ ProbeResult::Error(_) => return error,
            ProbeResult::Filtered => result = ProbeResult::Filtered,
            ProbeResult::Success | ProbeResult::Unclear => {}
        }
    }
    result
}

/// Whether a complete body, whatever it is, is an answer that has no content because of a content filter. A
/// stop reason at the top counts only beside the place of the content in some dialect: other servers have
/// their content elsewhere.
pub(crate) fn is_filtered_resource(json: &[u8]) -> bool {
    let json = trim_start(json);
    let mut has_place = false;
    let is_complete = walk(json, |path, leaf| {
        has_place |= match path {
            ["choices" | "content" | "output" | "candidates"] => leaf == Leaf::Array,
            ["promptFeedback" | "message"] | ["output", "message"] => leaf == Leaf::Object,
            _ => false,
        };
    });
    is_complete && has_place && read(json, Expected::Resource) == ProbeResult::Filtered
}

/// Whether a dialect recognises a success without a look at every leaf.
fn is_success(json: &[u8], expected: Expected) -> bool {
    (json.first() == Some(&b'{') || expected.is_lenient())
        && all_dialects().any(|(dialect, rules)| expected.accepts(dialect) && (rules.is_success)(json))
}

/// Whether a leaf is an error in every dialect.
fn is_shared_error(path: &[&str], leaf: ProbedLeaf<'_>) -> bool {
    match (path, leaf.text) {
        (["type" | "object"], Some("error")) => true,
        // Some providers send an `error` object in which all fields are `null`.
        (["error", ..], _) => leaf.is_set(),
        _ => false,
    }
}

/// OpenAI's object types that are model responses and may be errors. A response without a type may be one
/// too.
fn may_carry_error(object: &str) -> bool {
    matches!(object, "" | "error" | "response" | "text_completion") || object.starts_with("chat")
}

#[cfg(test)]
mod tests;
