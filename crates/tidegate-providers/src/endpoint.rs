//! The endpoints at which a model answers.

use tidegate_core::AnswerForm;

use crate::dialect::Dialect;
use crate::request_fields::has_prompt;

/// The endpoint of a request, as far as it determines what an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Not known: an answer in any dialect is one.
    #[default]
    Unknown,
    /// OpenAI's chat completions, and its older completions.
    Chat,
    /// OpenAI's Responses API.
    Responses,
    /// Anthropic's Messages API.
    Messages,
    /// Google's `generateContent`.
    Gemini,
    /// Cohere's Chat API, version 2. Other servers have OpenAI's dialect at the same path.
    Cohere,
    /// Bedrock's Converse API.
    Converse,
    /// Embeddings of any provider.
    Embeddings,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Chat,
        Self::Responses,
        Self::Messages,
        Self::Gemini,
        Self::Cohere,
        Self::Converse,
        Self::Embeddings,
    ];

    /// The number of the endpoint outside of this crate.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The endpoint of this number.
    pub(crate) fn numbered(number: u8) -> Self {
        Self::ALL.into_iter().find(|endpoint| endpoint.number() == number).unwrap_or_default()
    }

    /// Whether an answer in this dialect is one of the endpoint.
    pub(crate) fn accepts(self, dialect: Dialect) -> bool {
        match self {
            Self::Unknown => true,
            Self::Chat => dialect == Dialect::Chat,
            // Servers that know chat completions only answer with one there as well.
            Self::Responses => matches!(dialect, Dialect::Responses | Dialect::Chat),
            Self::Messages => dialect == Dialect::Anthropic,
            Self::Gemini => dialect == Dialect::Gemini,
            Self::Cohere => matches!(dialect, Dialect::Cohere | Dialect::Chat),
            Self::Converse => dialect == Dialect::Converse,
            Self::Embeddings => false,
        }
    }

    /// The list that every answer of the endpoint has, if there is one.
    pub(crate) const fn list(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("choices"),
            Self::Responses => Some("output"),
            Self::Messages => Some("content"),
            Self::Gemini => Some("candidates"),
            Self::Unknown | Self::Cohere | Self::Converse | Self::Embeddings => None,
        }
    }
}

/// The endpoint at `path` with this `query`, and the form that its answers have,
/// [`Unknown`](AnswerForm::Unknown) if the `body` of the request determines it. `None` if no model is known to
/// answer there: counts, files, batches and audio have responses of other shapes.
pub(crate) fn answer_at(path: &str, query: &str, body: Option<&[u8]>) -> Option<(Endpoint, AnswerForm)> {
    let path = path.trim_end_matches('/');
    let (parents, last) = split_last(path, b'/').unwrap_or(("", path));
    let parent = split_last(parents, b'/').map_or(parents, |(_, parent)| parent);
    // Google's methods follow a colon: `models/gemini-2.5-pro:generateContent`.
    let method = split_last(last, b':').map_or("", |(_, method)| method);
    Some(match (parent, last, method) {
        ("chat" | "v1", "completions", _) => (Endpoint::Chat, AnswerForm::Unknown),
        // The completions of servers with a dialect of their own, such as llama.cpp.
        (_, "completions", _) => (Endpoint::Unknown, AnswerForm::Unknown),
        (_, "responses", _) => (Endpoint::Responses, AnswerForm::Unknown),
        ("v1" | "anthropic", "messages", _) => (Endpoint::Messages, AnswerForm::Unknown),
        // Version 1 of Cohere streams in a dialect of its own, as JSON lines or as events, and so do other
        // servers.
        ("v2", "chat", _) => (Endpoint::Cohere, AnswerForm::Unknown),
        (_, "embeddings", _) | ("v1" | "v2", "embed", _) => (Endpoint::Embeddings, AnswerForm::Document),
        (_, "converse", _) => (Endpoint::Converse, AnswerForm::Document),
        (_, "converse-stream", _) => (Endpoint::Converse, AnswerForm::OtherEvents),
        // Google answers with a JSON array unless server-sent events are requested.
        (_, _, "streamGenerateContent") if !query.split('&').any(|field| field == "alt=sse") => {
            (Endpoint::Gemini, AnswerForm::OtherEvents)
        }
        (_, _, "streamGenerateContent") => (Endpoint::Gemini, AnswerForm::Events),
        (_, _, "generateContent") => (Endpoint::Gemini, AnswerForm::Document),
        // Models of several providers, in their own dialects.
        (_, _, "streamRawPredict") => (Endpoint::Unknown, AnswerForm::Events),
        // Any payload: counts of tokens and the pages of a document as well.
        (_, _, "rawPredict") if last.starts_with("count-tokens:") || !body.is_some_and(has_prompt) => {
            return None;
        }
        (_, _, "rawPredict") => (Endpoint::Unknown, AnswerForm::Document),
        (_, _, "embedContent" | "batchEmbedContents") => (Endpoint::Embeddings, AnswerForm::Document),
        _ => return None,
    })
}

/// Whether `path` is that of messages below any other path, for a request that has a header of Anthropic's
/// dialect. The messages of a thread of OpenAI's are a list.
pub(crate) fn is_messages(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/messages") && !path.contains("/threads/")
}

/// `rsplit_once` for the short segments of a path: the search of the standard library for a `char` begins
/// with more work than a segment has bytes.
fn split_last(path: &str, separator: u8) -> Option<(&str, &str)> {
    let at = path.bytes().rposition(|byte| byte == separator)?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_shows_whether_a_model_answers_and_sometimes_in_which_form() {
        use Endpoint as E;
        for (path, expected) in [
            ("/v1/chat/completions", Some((E::Chat, AnswerForm::Unknown))),
            ("/openai/deployments/d/chat/completions", Some((E::Chat, AnswerForm::Unknown))),
            ("/v1/completions", Some((E::Chat, AnswerForm::Unknown))),
            ("/completions", Some((E::Unknown, AnswerForm::Unknown))),
            ("/v1/responses/", Some((E::Responses, AnswerForm::Unknown))),
            ("/v1/messages", Some((E::Messages, AnswerForm::Unknown))),
            ("/v2/chat", Some((E::Cohere, AnswerForm::Unknown))),
            ("/v1/embeddings", Some((E::Embeddings, AnswerForm::Document))),
            ("/v1/models/m:rawPredict", Some((E::Unknown, AnswerForm::Document))),
            ("/v1beta/models/gemini-2.5-pro:generateContent", Some((E::Gemini, AnswerForm::Document))),
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=k&alt=sse",
                Some((E::Gemini, AnswerForm::Events)),
            ),
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=k",
                Some((E::Gemini, AnswerForm::OtherEvents)),
            ),
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
                Some((E::Gemini, AnswerForm::OtherEvents)),
            ),
            ("/v1beta/models/e:batchEmbedContents", Some((E::Embeddings, AnswerForm::Document))),
            ("/model/anthropic.claude-v2:1/converse", Some((E::Converse, AnswerForm::Document))),
            ("/model/anthropic.claude-v2:1/converse-stream", Some((E::Converse, AnswerForm::OtherEvents))),
            ("/", None),
            ("", None),
            ("/v1/messages/count_tokens", None),
            ("/v1/messages/batches", None),
            ("/v1/threads/t/messages", None),
            ("/api/messages", None),
            ("/v1/audio/speech", None),
            ("/v1/chat", None),
            ("/v1/rerank", None),
            ("/v1/models/gemini-2.5-pro:countTokens", None),
            ("/model/anthropic.claude-v2:1/invoke", None),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            assert_eq!(answer_at(path, query, Some(b"{\"prompt\":\"a\"}")), expected, "{path}?{query}");
        }
    }

    #[test]
    fn an_endpoint_is_found_by_its_number() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::numbered(endpoint.number()), endpoint);
        }
        assert_eq!(Endpoint::numbered(u8::MAX), Endpoint::Unknown);
    }
}
