//! Whether a request does more than produce an answer.

use std::fmt;

use http::Uri;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::json::members::members;

/// Resources that a POST creates or changes.
const RESOURCES: [&str; 20] = [
    "assistants",
    "batches",
    "cachedContents",
    "cancel",
    "containers",
    "conversations",
    "evals",
    "files",
    "fine-tunes",
    "fine_tuning",
    "jobs",
    "predictions",
    "runs",
    "sessions",
    "skills",
    "submit_tool_outputs",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// Methods of Google's API that begin an operation.
const OPERATIONS: [&str; 3] = [":batchGenerateContent", ":asyncBatchEmbedContent", ":predictLongRunning"];

/// Tools that the client runs.
const CLIENT_TOOLS: [&str; 8] =
    ["function", "custom", "bash", "text_editor", "computer", "memory", "local_shell", "apply_patch"];

/// Tools that Google runs, each the key of an object without a type.
const GOOGLE_TOOLS: [&[u8]; 6] =
    [b"googleSearch", b"google_search", b"codeExecution", b"code_execution", b"urlContext", b"url_context"];

/// Whether a POST with this `body` changes something at the provider, so that it must not run twice at once:
/// it creates a file, a job or a thread; the response is stored, runs in the background or belongs to a
/// conversation; or the provider runs tools. OpenAI stores a response unless `store` is `false`. A request of
/// an unknown form has no side effects.
///
/// ```
/// use tidegate_providers::has_side_effects;
///
/// let of = |path: &'static str, body: &str| has_side_effects(&path.parse().unwrap(), body.as_bytes());
/// assert!(!of("/v1/chat/completions", r#"{"model": "gpt-4o", "messages": []}"#));
/// assert!(of("/v1/chat/completions", r#"{"model": "gpt-4o", "store": true}"#));
/// assert!(of("/v1/files", ""));
/// ```
#[must_use]
pub fn has_side_effects(uri: &Uri, body: &[u8]) -> bool {
    let path = uri.path().trim_end_matches('/');
    if path.split('/').any(|part| RESOURCES.contains(&part)) || OPERATIONS.iter().any(|it| path.ends_with(it))
    {
        return true;
    }
    let mut stores = path.ends_with("/responses");
    let mut is_found = false;
    let is_read = members(body, |key, value| {
        let value = &body[value];
        match key {
            b"store" => stores = value == b"true",
            b"background" | b"deferred" => is_found |= value == b"true",
            b"conversation" | b"container" => is_found |= value != b"null",
            b"mcp_servers" => is_found |= !matches!(value, b"null" | b"[]"),
            b"tools" => is_found |= has_provider_tool(value),
            _ => {}
        }
    });
    is_found || stores && is_read.is_some()
}

/// Whether the provider runs one of these tools.
fn has_provider_tool(tools: &[u8]) -> bool {
    Deserializer::from_slice(tools).deserialize_seq(AnyOfProvider).unwrap_or_default()
}

/// Whether a tool of an array is one that the provider runs. Nothing is built of them but their type: they
/// may be as long as a request.
struct AnyOfProvider;

impl<'de> Visitor<'de> for AnyOfProvider {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tools: A) -> Result<bool, A::Error> {
        let mut is_found = false;
        while let Some(tool) = tools.next_element::<&RawValue>()? {
            is_found = is_found || is_of_provider(tool.get().as_bytes());
        }
        Ok(is_found)
    }
}

/// Whether the provider runs this tool. Those of a caller are functions, or have no type in Anthropic's and
/// Google's API.
fn is_of_provider(tool: &[u8]) -> bool {
    let (mut kind, mut is_of_google) = (None, false);
    let is_read = members(tool, |key, value| match key {
        b"type" => kind = serde_json::from_slice::<String>(&tool[value]).ok(),
        _ => is_of_google |= GOOGLE_TOOLS.contains(&key),
    });
    is_read.is_some()
        && kind.map_or(is_of_google, |kind| {
            // The name of a tool may end in its version: `bash_20250124`.
            let name = kind.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
            !CLIENT_TOOLS.contains(&name)
        })
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;

    fn of(path: &str, body: &str) -> bool {
        has_side_effects(&format!("https://api.example{path}").parse().unwrap(), body.as_bytes())
    }

    #[test]
    fn requests_for_an_answer_have_no_side_effects() {
        for (path, body) in [
            ("/v1/chat/completions", r#"{"messages":[{"role":"user","content":"\"store\":true"}]}"#),
            ("/v1/chat/completions", r#"{"store":false,"tools":[{"type":"function","function":{}}]}"#),
            ("/v1/messages", r#"{"tools":[{"name":"a","input_schema":{}},{"type":"bash_20250124"}]}"#),
            ("/v1/responses", r#"{"store":false,"background":false,"conversation":null}"#),
            ("/v1beta/models/g:generateContent", r#"{"tools":[{"functionDeclarations":[]}]}"#),
            ("/v1/embeddings", r#"{"input":"a"}"#),
            ("/v1/any", ""),
            ("/v1/any", "store"),
            ("/v1/any", r#"{"metadata":{"store":true,"background":true}}"#),
        ] {
            assert!(!of(path, body), "{path} {body}");
        }
    }

    #[test]
    fn stored_and_background_responses_conversations_and_provider_tools_are_side_effects() {
        for (path, body) in [
            ("/v1/responses", r#"{"input":"a"}"#),
            ("/v1/chat/completions", r#"{"store" : true}"#),
            ("/v1/responses", r#"{"store":false,"background":true}"#),
            ("/v1/chat/completions", r#"{"deferred":true}"#),
            ("/v1/responses", r#"{"store":false,"conversation":"c"}"#),
            ("/v1/responses", r#"{"store":false,"tools":[{"type":"web_search"}]}"#),
            ("/v1/responses", r#"{"store":false,"tools":[{"type":"function"},{"type":"mcp"}]}"#),
            ("/v1/messages", r#"{"tools":[{"type":"code_execution_20250522","name":"c"}]}"#),
            ("/v1/messages", r#"{"mcp_servers":[{"url":"u"}]}"#),
            ("/v1beta/models/g:generateContent", r#"{"tools":[{"googleSearch":{}}]}"#),
            ("/v1beta/models/g:batchGenerateContent", "{}"),
            ("/v1/files", "--boundary"),
            ("/v1/messages/batches", r#"{"requests":[]}"#),
            ("/v1/threads/t/runs/", "{}"),
            ("/v1/fine_tuning/jobs", "{}"),
            ("/v1/responses/r/cancel", ""),
        ] {
            assert!(of(path, body), "{path} {body}");
        }
    }

    /// Regression: a list of the tools was built, eight times as large as they are.
    #[test]
    fn many_tools_take_no_memory() {
        let body = format!(r#"{{"tools":[{}{{"type":"mcp"}}]}}"#, "0,".repeat(10_000));
        let uri: Uri = "/v1/chat/completions".parse().unwrap();
        let used = measure(|| assert!(has_side_effects(&uri, body.as_bytes())));
        assert!(used.bytes_max < 1024, "{used:?}");
    }
}
