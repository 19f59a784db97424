//! Responses that are not streams.

use crate::dialect::probe_result::{ProbeResult, ProbedLeaf};
use crate::dialect::usage_field::UsageField;

/// Cohere and Ollama send `message` as an object. As a string, `message` is an error text.
pub(super) fn probe(path: &[&str], leaf: ProbedLeaf<'_>) -> ProbeResult {
    match path {
        ["message", _, ..] if leaf.is_set() => ProbeResult::Success,
        _ => ProbeResult::Unclear,
    }
}

pub(super) fn usage_field(path: &[&str]) -> Option<UsageField> {
    Some(match path {
        ["tokens", "input_tokens"] => UsageField::Input,
        ["tokens", "output_tokens"] => UsageField::Output,
        _ => return None,
    })
}
