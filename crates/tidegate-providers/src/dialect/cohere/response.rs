//! Responses that are not streams.

use tidegate_core::ErrorCode;

use super::events::stop_reason;
use crate::dialect::parsed_event::StreamError;
use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

/// A stop reason that reports a failure.
pub(super) fn failure_reason(reason: &str) -> Option<StreamError> {
    match reason {
        "ERROR" | "error" => Some(StreamError::StopReason("ERROR", ErrorCode::ServerError)),
        "TIMEOUT" => Some(StreamError::StopReason("TIMEOUT", ErrorCode::Timeout)),
        _ => None,
    }
}

/// Version 2 sends `message` as an object. As a string, `message` is an error text. Version 1 has its text at
/// the top.
pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match (path, leaf.text) {
        (["finish_reason"], Some(reason)) if !reason.is_empty() => {
            ProbeResult::of_stop(stop_reason(reason), failure_reason(reason))
        }
        (["message", "content", "type"], _) => ProbeResult::Unclear,
        (["message", "content" | "tool_calls" | "tool_plan", ..] | ["text"] | ["tool_calls", _, ..], _)
            if leaf.is_set() =>
        {
            ProbeResult::Success
        }
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["tokens", "input_tokens"] => UsageField::Input,
        ["tokens", "output_tokens"] => UsageField::Output,
        ["cached_tokens"] => UsageField::CacheRead,
        _ => return None,
    })
}
