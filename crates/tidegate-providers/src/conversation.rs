//! The messages with which a conversation begins.

use crate::json::walk::{Leaf, walk};

/// A hash of the messages with which the conversation of a request begins: the instructions of the system, and the messages
/// to the end of the first one of the user. Later calls of the conversation repeat them, so they have the same hash.
///
/// The dialects of OpenAI (chat completions and responses), Anthropic and Gemini are read. `None` if there is no text of a
/// user, or the body is not JSON. The hash is 64-bit FNV-1a over the texts as they are written, the same in every process.
/// Nothing is allocated.
#[must_use]
pub fn first_messages_digest(body: &[u8]) -> Option<u64> {
    let mut system = Fnv::default();
    let mut messages = FirstMessages::default();
    walk(body, |path, leaf| match (path, leaf) {
        (["system" | "instructions" | "systemInstruction" | "system_instruction", ..], Leaf::Text(text)) => {
            system.write(text);
        }
        (["messages" | "input" | "contents"], Leaf::Object) => messages.begin_message(),
        (["input"], Leaf::Text(text)) => {
            messages.is_of_user = true;
            messages.add(text);
        }
        (["messages" | "input" | "contents", "role"], Leaf::Text(role)) => {
            messages.is_of_user |= role == "user";
            messages.add(role);
        }
        (["messages" | "input" | "contents", ..], Leaf::Text(text)) => messages.add(text),
        _ => {}
    });
    (messages.is_of_user && messages.has_text).then(|| system.0.rotate_left(32) ^ messages.hash.0)
}

/// The messages up to the first one of the user.
#[derive(Default)]
struct FirstMessages {
    hash: Fnv,
    /// The first message of the user has begun.
    is_of_user: bool,
    has_text: bool,
    /// It has ended.
    is_complete: bool,
}

impl FirstMessages {
    fn begin_message(&mut self) {
        self.is_complete |= self.is_of_user;
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
}
