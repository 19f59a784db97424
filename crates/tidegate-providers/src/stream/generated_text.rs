//! The length of the generated text in an event.

use crate::json::walk::{Leaf, walk};

/// The keys of generated text in all dialects, also where it is an object.
const TEXT_KEYS: [&str; 12] = [
    "content",
    "text",
    "reasoning_content",
    "reasoning",
    "arguments",
    "partial_json",
    "thinking",
    "delta",
    "refusal",
    "input",
    "args",
    "transcript",
];

/// The bytes of generated text in an event. Arguments of a tool may be an object.
pub(super) fn generated_length(event: &[u8]) -> usize {
    let mut length = 0;
    walk(event, |path, leaf| {
        if let Leaf::Text(text) = leaf
            && path.iter().rev().take(2).any(|key| TEXT_KEYS.contains(key))
            && !path.iter().any(|key| matches!(*key, "type" | "logprobs"))
        {
            length += text.len();
        }
    });
    length
}
