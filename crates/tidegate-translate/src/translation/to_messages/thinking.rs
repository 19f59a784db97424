//! Thinking and the token limit.

use super::super::messages::ThinkingConfig;
use crate::models::{ThinkingControl, nearest_effort};

/// The inputs that determine the token limit and the thinking of a request.
pub(super) struct ThinkingRequest {
    pub(super) effort: Option<String>,
    /// The efforts that the model accepts.
    pub(super) efforts: &'static [&'static str],
    pub(super) limit: Option<u64>,
    pub(super) default_max_tokens: u64,
    /// The maximum number of output tokens of the model, if known.
    pub(super) max_output_tokens: Option<u64>,
    /// The response continues a turn that started without thinking: the request ends with tool results or
    /// with a prefill.
    pub(super) is_mid_turn: bool,
    /// A tool call is required. It excludes thinking, unless that is always on.
    pub(super) is_tool_forced: bool,
}

/// The minimum thinking budget, which must also be below the token limit (Anthropic, "Extended thinking").
const MIN_BUDGET: u64 = 1024;

impl ThinkingRequest {
    /// Returns `max_tokens`, the thinking configuration and the effort.
    pub(super) fn resolve(
        self,
        thinking_control: ThinkingControl,
    ) -> (u64, Option<ThinkingConfig>, Option<String>) {
        // A model rejects a limit above its maximum. The lower limit has the same effect.
        let capped = |tokens: u64| tokens.min(self.max_output_tokens.unwrap_or(u64::MAX));
        // The limit covers thinking and text together.
        let limit = |thinking: u64| {
            capped(self.limit.unwrap_or_else(|| self.default_max_tokens.saturating_add(thinking)))
        };
        let effort = match self.effort.as_deref() {
            // In a limit that is too low for a budget, thinking by default would leave no room for text.
            None if self.limit.is_some_and(|limit| limit < 2 * MIN_BUDGET) => Some("none"),
            None => None,
            Some("none") => Some("none"),
            Some("minimal") => Some("low"),
            Some(effort) => nearest_effort(effort, self.efforts),
        };
        let (thinks, effort) = match (thinking_control, effort) {
            (ThinkingControl::OnUnless(off), Some("none")) => {
                return (limit(0), Some(ThinkingConfig::of(off)), None);
            }
            (ThinkingControl::OnUnless("disabled"), effort) if self.is_tool_forced => {
                // Above "high", thinking cannot be disabled (Anthropic, "Effort").
                let effort =
                    effort.map(|effort| if matches!(effort, "xhigh" | "max") { "high" } else { effort });
                return (limit(0), Some(ThinkingConfig::of("disabled")), effort.map(str::to_owned));
            }
            (ThinkingControl::AlwaysOn, Some("none")) => (true, Some("low")),
            (ThinkingControl::OnUnless(_) | ThinkingControl::AlwaysOn, effort) => (true, effort),
            (ThinkingControl::None, _) | (_, None | Some("none")) => (false, None),
            (ThinkingControl::Budget, effort) => (!self.is_mid_turn && !self.is_tool_forced, effort),
            (ThinkingControl::Effort, effort) => (!self.is_tool_forced, effort),
        };
        let budget = match effort {
            Some("low") => MIN_BUDGET,
            Some("medium") => 4 * MIN_BUDGET,
            Some("xhigh" | "max") => 32 * MIN_BUDGET,
            _ => 16 * MIN_BUDGET,
        };
        let limit = limit(if thinks { budget } else { 0 });
        if thinking_control != ThinkingControl::Budget {
            // From Claude 4.7 on, thinking comes without its text by default.
            let adaptive = ThinkingConfig { display: Some("summarized"), ..ThinkingConfig::of("adaptive") };
            return (limit, thinks.then_some(adaptive), effort.map(str::to_owned));
        }
        // Half of a limit set by the caller is left for text.
        let room = if self.limit.is_some() { limit / 2 } else { limit.saturating_sub(1) };
        let budget = budget.min(room);
        let enabled = ThinkingConfig { budget_tokens: Some(budget), ..ThinkingConfig::of("enabled") };
        (limit, (thinks && budget >= MIN_BUDGET).then_some(enabled), None)
    }
}
