//! Responses that are not streams.

use super::events::{failure_reason, stop_reason};
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["stopReason"], Some(reason)) if !reason.is_empty() => {
            ProbeResult::of_stop(stop_reason(reason), failure_reason(reason))
        }
        (["output", "message", "content", ..], _) if leaf.is_set() => ProbeResult::Success,
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["inputTokens"] => UsageField::Input,
        ["outputTokens"] => UsageField::Output,
        ["cacheReadInputTokens"] => UsageField::CacheReadApart,
        ["cacheWriteInputTokens"] => UsageField::CacheWrittenApart,
        ["totalTokens"] => UsageField::Total,
        _ => return None,
    })
}
