//! The messages with which a conversation begins.

use crate::json::walk::{Leaf, walk};

/// A hash of the messages with which the conversation of a request begins: the instructions of the system,
/// and the messages to the end of the first one of the user. Later calls of the conversation repeat them, so
/// they have the same hash.
///
/// The dialects of OpenAI (chat completions and responses), Anthropic and Gemini are read. `None` if there is
/// no text of a user, or the body is not JSON. The hash is 64-bit FNV-1a over the texts of the content as
/// they are written, the same in every process. Types, roles, marks for the cache of a prompt, and the line with
/// which the system texts of Claude Code begin are left out, since clients change them from call to call. Nothing
/// is allocated.
#[must_use]
pub fn first_messages_digest(body: &[u8]) -> Option<u64> {
    let mut system = Fnv::default();
    let mut messages = FirstMessages::default();
    walk(body, |path, leaf| match (path, leaf) {
        (["messages" | "input"], Leaf::Object) => messages.begin_message(false),
        // Google's default.
        (["contents"], Leaf::Object) => messages.begin_message(true),
        (["messages" | "input" | "contents", "role"], Leaf::Text(role)) => messages.set_role(role),
        (["input"], Leaf::Text(text)) => {
            messages.is_of_user = true;
            messages.add(text);
        }
        (path, Leaf::Text(text)) if is_content(path) => match path[0] {
            "system" => system.write(without_billing_line(text)),
            "instructions" | "systemInstruction" | "system_instruction" => system.write(text),
            "messages" | "input" | "contents" => messages.add(text),
            _ => {}
        },
        _ => {}
    });
    (messages.is_of_user && messages.has_text).then(|| system.0.rotate_left(32) ^ messages.hash.0)
}

/// Whether the text at this path is generated or written for the model, and not about the message that has
/// it.
fn is_content(path: &[&str]) -> bool {
    let is_cache_mark = |field: &&str| matches!(*field, "cache_control" | "cachePoint");
    !matches!(path, [] | [.., "type"] | [_, "id" | "status"]) && !path.iter().any(is_cache_mark)
}

/// The system text without the line that Claude Code writes before its instructions. The line has other
/// characters in each request (anthropics/claude-code#68900).
fn without_billing_line(text: &str) -> &str {
    match text.starts_with("x-anthropic-billing-header:") {
        true => text.split_once("\\n").map_or("", |(_, rest)| rest),
        false => text,
    }
}

/// The messages up to the first one of the user.
#[derive(Default)]
struct FirstMessages {
    hash: Fnv,
    /// The current message is the first one of the user, or it was before the current one.
    is_of_user: bool,
    has_text: bool,
    /// The first message of the user has ended.
    is_complete: bool,
}

impl FirstMessages {
    /// Begins a message, which is the user's unless a role follows.
    fn begin_message(&mut self, is_of_user: bool) {
        self.is_complete |= self.is_of_user;
        self.is_of_user |= is_of_user;
    }

    fn set_role(&mut self, role: &str) {
        self.is_of_user = self.is_complete || role == "user";
    }

    fn add(&mut self, text: &str) {
        if !self.is_complete {
            self.hash.write(text);
            self.has_text = true;
        }
    }
}

/// 64-bit FNV-1a, by Fowler, Noll and Vo.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a text and its end.
    fn write(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn digest(body: &str) -> Option<u64> {
        first_messages_digest(body.as_bytes())
    }

    #[test]
    fn later_calls_of_a_conversation_have_the_same_digest() {
        for (first, later, other) in [
            (
                r#"{"model":"a","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}"#,
                r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":"and?"}],"model":"b"}"#,
                r#"{"messages":[{"role":"system","content":"be long"},{"role":"user","content":"hi"}]}"#,
            ),
            (
                r#"{"system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":"x"}],"system":"be brief"}"#,
                r#"{"system":"be long","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#,
            ),
            (
                r#"{"instructions":"be brief","input":"hi"}"#,
                r#"{"input":"hi","instructions":"be brief","temperature":1}"#,
                r#"{"instructions":"be brief","input":"hi?"}"#,
            ),
            (
                r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
                r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"x"}]}]}"#,
                r#"{"contents":[{"role":"user","parts":[{"text":"bye"}]}]}"#,
            ),
        ] {
            let [first_digest, later, other] = [first, later, other].map(digest);
            assert!(first_digest.is_some() && first_digest != other, "{first}");
            assert_eq!(first_digest, later, "{first}");
        }
    }

    #[test]
    fn a_request_without_a_user_has_none() {
        for body in
            ["", "{}", "[]", "hi", r#"{"messages":[]}"#, r#"{"messages":[{"role":"system","content":"x"}]}"#]
        {
            assert_eq!(digest(body), None, "{body}");
        }
    }

    /// Regression: each of these moved a conversation to another member of a group.
    #[test]
    fn what_is_not_content_may_change_between_the_calls_of_a_conversation() {
        for (first, later) in [
            (
                r#"{"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral","ttl":"1h"}}],
                    "messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}"#,
                r#"{"system":"be brief","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"x"}]}"#,
            ),
            (
                r#"{"system":[{"type":"text","text":"x-anthropic-billing-header: cc_entrypoint=cli; cch=71fea;"},{"type":"text","text":"be brief"}],
                    "messages":[{"role":"user","content":"hi"}]}"#,
                r#"{"system":[{"type":"text","text":"x-anthropic-billing-header: cc_entrypoint=cli; cch=0a1b2;"},{"type":"text","text":"be brief"}],
                    "messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"x"}]}"#,
            ),
            (
                r#"{"system":"x-anthropic-billing-header: cch=71fea;\nbe brief","messages":[{"role":"user","content":"hi"}]}"#,
                r#"{"system":"x-anthropic-billing-header: cch=0a1b2;\nbe brief","messages":[{"role":"user","content":"hi"}]}"#,
            ),
            (
                r#"{"system":[{"text":"be brief"}],"messages":[{"role":"user","content":[{"text":"hi"},{"cachePoint":{"type":"default"}}]}]}"#,
                r#"{"system":[{"text":"be brief"},{"cachePoint":{"type":"default"}}],"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#,
            ),
            (
                r#"{"input":"hi"}"#,
                r#"{"input":[{"id":"msg_1","type":"message","status":"completed","role":"user","content":[{"type":"input_text","text":"hi"}]},
                    {"type":"reasoning","id":"rs_1","summary":[]}]}"#,
            ),
            (
                r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
                r#"{"contents":[{"parts":[{"text":"hi"}],"role":"user"},{"role":"model","parts":[{"text":"x"}]},{"parts":[{"text":"y"}]}]}"#,
            ),
        ] {
            assert!(digest(first).is_some(), "{first}");
            assert_eq!(digest(first), digest(later), "{first}");
        }
        let [brief, long] = ["be brief", "be long"].map(|system| {
            let system = format!("x-anthropic-billing-header: cch=1;\n{system}");
            digest(&json!({"system": system, "messages": [{"role": "user", "content": "hi"}]}).to_string())
        });
        assert_ne!(brief, long);
        let other_models = r#"{"contents":[{"role":"model","parts":[{"text":"hi"}]}]}"#;
        assert_eq!(digest(other_models), None);
    }

    #[test]
    fn whatever_the_first_message_has_in_it_distinguishes_it() {
        let contents = [
            json!("hi"),
            json!("hi "),
            json!([{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://a/1"}}]),
            json!([{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://a/2"}}]),
            json!([{"type": "image", "source": {"type": "base64", "data": "AA"}}]),
            json!([{"type": "image", "source": {"type": "base64", "data": "AB"}}]),
            json!([{"type": "file", "file": {"file_id": "f1"}}]),
            json!([{"type": "file", "file": {"file_id": "f2"}}]),
        ];
        let of = |content: &Value| {
            digest(&json!({"messages": [{"role": "user", "content": content}]}).to_string())
        };
        let digests: std::collections::HashSet<_> = contents.iter().map(of).collect();
        assert!(digests.len() == contents.len() && !digests.contains(&None));
    }

    /// Adds `cache_control` to those objects of `value` that `marks` has, one after the other.
    fn mark(value: &mut Value, marks: &mut impl Iterator<Item = bool>) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| mark(field, marks));
                if marks.next().unwrap_or(false) {
                    fields.insert("cache_control".into(), json!({"type": "ephemeral", "ttl": "5m"}));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| mark(item, marks)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn a_mark_of_the_cache_changes_no_digest(marks: Vec<bool>, text in "[a-z ]{0,9}") {
            let body = json!({
                "tools": [{"name": "f", "input_schema": {}}],
                "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": text}],
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": text}, {
                        "type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}],
                    }]},
                    {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
                ],
            });
            let mut marked = body.clone();
            mark(&mut marked, &mut marks.into_iter());
            prop_assert_eq!(digest(&body.to_string()), digest(&marked.to_string()));
        }
    }
}
