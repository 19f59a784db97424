//! The endpoints at which a model answers.

use tidegate_core::AnswerForm;

/// The form that the answers at `path` with this `query` have, [`Unknown`](AnswerForm::Unknown) if the body of the request
/// determines it. `None` if no model is known to answer there: counts, files, batches and audio have responses
/// of other shapes.
pub(crate) fn answer_form(path: &str, query: &str) -> Option<AnswerForm> {
    let path = path.trim_end_matches('/');
    let (parents, last) = split_last(path, b'/').unwrap_or(("", path));
    let parent = split_last(parents, b'/').map_or(parents, |(_, parent)| parent);
    // Google's methods follow a colon: `models/gemini-2.5-pro:generateContent`.
    let method = split_last(last, b':').map_or("", |(_, method)| method);
    Some(match (parent, last, method) {
        (_, "completions" | "responses", _) => AnswerForm::Unknown,
        ("v1" | "anthropic", "messages", _) | ("v1" | "v2", "chat", _) => AnswerForm::Unknown,
        (_, "embeddings", _) | ("v1" | "v2", "embed", _) | (_, "converse", _) => AnswerForm::Document,
        (_, "converse-stream", _) => AnswerForm::OtherEvents,
        // Google answers with a JSON array unless server-sent events are requested.
        (_, _, "streamGenerateContent") if !query.split('&').any(|field| field == "alt=sse") => {
            AnswerForm::OtherEvents
        }
        (_, _, "streamGenerateContent" | "streamRawPredict") => AnswerForm::Events,
        (_, _, "generateContent" | "embedContent" | "batchEmbedContents" | "rawPredict") => {
            AnswerForm::Document
        }
        _ => return None,
    })
}

/// `rsplit_once` for the short segments of a path: the search of the standard library for a `char` begins with more
/// work than a segment has bytes.
fn split_last(path: &str, separator: u8) -> Option<(&str, &str)> {
    let at = path.bytes().rposition(|byte| byte == separator)?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_shows_whether_a_model_answers_and_sometimes_in_which_form() {
        for (path, form) in [
            ("/v1/chat/completions", Some(AnswerForm::Unknown)),
            ("/openai/deployments/d/chat/completions", Some(AnswerForm::Unknown)),
            ("/v1/responses/", Some(AnswerForm::Unknown)),
            ("/v1/messages", Some(AnswerForm::Unknown)),
            ("/v2/chat", Some(AnswerForm::Unknown)),
            ("/v1/embeddings", Some(AnswerForm::Document)),
            ("/v1beta/models/gemini-2.5-pro:generateContent", Some(AnswerForm::Document)),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=k&alt=sse", Some(AnswerForm::Events)),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?key=k", Some(AnswerForm::OtherEvents)),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", Some(AnswerForm::OtherEvents)),
            ("/model/anthropic.claude-v2:1/converse", Some(AnswerForm::Document)),
            ("/model/anthropic.claude-v2:1/converse-stream", Some(AnswerForm::OtherEvents)),
            ("/", None),
            ("", None),
            ("/v1/messages/count_tokens", None),
            ("/v1/messages/batches", None),
            ("/v1/threads/t/messages", None),
            ("/v1/audio/speech", None),
            ("/v1/rerank", None),
            ("/v1/models/gemini-2.5-pro:countTokens", None),
            ("/model/anthropic.claude-v2:1/invoke", None),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            assert_eq!(answer_form(path, query), form, "{path}?{query}");
        }
    }
}
