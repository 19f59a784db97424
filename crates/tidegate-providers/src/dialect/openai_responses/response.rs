//! Responses that are not streams.

use super::events::stop_reason;
use crate::dialect::parsed_event::StreamError;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

/// Whether a field of an item is no content: a response that fails has it as well.
pub(crate) fn is_bare_field(path: &[&str]) -> bool {
    matches!(
        path,
        ["output", "id" | "type" | "status" | "role" | "summary" | "encrypted_content", ..]
            | ["output", "content", "type"]
            // Bedrock's.
            | ["output", "message", "role"]
    )
}

pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["status"], Some("failed")) => ProbeResult::Error(StreamError::Event),
        (["incomplete_details", "reason"], Some(reason)) if !reason.is_empty() => {
            ProbeResult::of_stop(stop_reason(reason), None)
        }
        (["output", _, ..], _) if leaf.is_set() && !is_bare_field(path) => ProbeResult::Success,
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["input_tokens"] => UsageField::Input,
        ["output_tokens"] => UsageField::Output,
        ["input_tokens_details", "cached_tokens"] => UsageField::CacheRead,
        ["input_tokens_details", "cache_write_tokens"] => UsageField::CacheWritten,
        ["total_tokens"] => UsageField::ExactTotal,
        _ => return None,
    })
}
