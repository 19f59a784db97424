//! Responses that are not streams.

use super::stop_reason::{failure_reason, stop_reason};
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["candidates", "finishReason"], Some(reason)) if !reason.is_empty() => {
            ProbeResult::of_stop(stop_reason(reason), failure_reason(reason))
        }
        (["promptFeedback", "blockReason"], Some(reason)) if !reason.is_empty() => ProbeResult::Filtered,
        // The signature of a thought is not content.
        (["candidates", "content", "parts", "thoughtSignature"], _) => ProbeResult::Unclear,
        (["candidates", "content", "parts", ..], _) if leaf.is_set() => ProbeResult::Success,
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["promptTokenCount"] => UsageField::Input,
        ["candidatesTokenCount"] => UsageField::Output,
        ["cachedContentTokenCount"] => UsageField::CacheRead,
        ["thoughtsTokenCount"] => UsageField::Thoughts,
        ["totalTokenCount"] => UsageField::Total,
        _ => return None,
    })
}
