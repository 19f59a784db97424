//! Responses that are not streams.

use super::events::stop_reason;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["stop_reason"], Some(reason)) if !reason.is_empty() => {
            ProbeResult::of_stop(stop_reason(reason), None)
        }
        // The type of a block is not content, and a signature authenticates it.
        (["content", "type" | "error" | "signature"], _) => ProbeResult::Unclear,
        (["content", _, ..], _) if leaf.is_set() => ProbeResult::Success,
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["input_tokens"] => UsageField::Input,
        ["output_tokens"] => UsageField::Output,
        ["cache_read_input_tokens"] => UsageField::CacheReadApart,
        ["cache_creation_input_tokens"] => UsageField::CacheWrittenApart,
        _ => return None,
    })
}
