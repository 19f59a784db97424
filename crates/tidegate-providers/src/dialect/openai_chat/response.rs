//! Responses that are not streams.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::JsonDepth;

use super::stop_reason::{failure_reason, stop_reason};
use crate::dialect::parsed_event::StreamError;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;
use crate::json::fast_path::JsonKey;

pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["choices", "finish_reason"], Some(reason)) => {
            ProbeResult::of_stop(stop_reason(reason), failure_reason(reason))
        }
        (["choices", "error", ..], _) if leaf.is_set() => ProbeResult::Error(StreamError::Event),
        (["choices", "message" | "delta", "role" | "name" | "error", ..], _)
        // The type of a part or of a call.
        | (["choices", "message" | "delta", .., "type"], _) => ProbeResult::Unclear,
        (["choices", "message" | "delta", _, ..] | ["choices", "text"], _) if leaf.is_set() =>
        {
            ProbeResult::Success
        }
        _ => ProbeResult::Unclear,
    }
}

/// The keys of most responses: a choice with content, and before it none of the strings without which there
/// is no error.
struct ContentKeys {
    choices: JsonKey,
    content: JsonKey,
    error_keywords: [Finder<'static>; 3],
}

static KEYS: LazyLock<ContentKeys> = LazyLock::new(|| ContentKeys {
    choices: JsonKey::new(r#""choices""#),
    content: JsonKey::new(r#""content""#),
    error_keywords: [r#""error""#, r#""failed""#, r#""finish_reason""#].map(Finder::new),
});

/// Whether the response has content and no error before it. Choices within another field are no answer.
pub(super) fn has_content_first(json: &[u8]) -> bool {
    let keys = &*KEYS;
    let Some(choices) = keys.choices.after(json).filter(|choices| choices.starts_with(b"[")) else {
        return false;
    };
    let Some(content) = keys.content.after(choices) else { return false };
    let (ahead, before) = (&json[..json.len() - choices.len()], &json[..json.len() - content.len()]);
    let is_text = content.len() > 1 && content[0] == b'"' && content[1] != b'"';
    is_text
        // It is within the list, which has not ended.
        && memchr::memchr(b']', &before[ahead.len()..]).is_none()
        && JsonDepth::of(ahead).depth() == 1
        && keys.error_keywords.iter().all(|text| text.find(before).is_none())
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["prompt_tokens"] => UsageField::Input,
        ["completion_tokens"] => UsageField::Output,
        ["prompt_tokens_details", "cached_tokens"] | ["prompt_cache_hit_tokens" | "cached_tokens"] => {
            UsageField::CacheRead
        }
        ["prompt_tokens_details", "cache_write_tokens"] => UsageField::CacheWritten,
        ["total_tokens"] => UsageField::ExactTotal,
        _ => return None,
    })
}
