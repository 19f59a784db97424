//! Thinking and the token limit.

use super::super::messages::ThinkingConfig;
use crate::models::ThinkingControl;

/// The inputs that determine the token limit and the thinking of a request.
pub(super) struct ThinkingRequest {
    pub(super) effort: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) default_max_tokens: u64,
    /// The maximum number of output tokens of the model, if known.
    pub(super) max_output_tokens: Option<u64>,
    /// The response continues a turn that started without thinking: the request ends with tool results or
    /// with a prefill.
    pub(super) is_mid_turn: bool,
    /// A tool call is required, which excludes thinking.
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
        let limit = capped(self.limit.unwrap_or(self.default_max_tokens));
        let config =
            |kind: &str, budget_tokens| Some(ThinkingConfig { kind: kind.to_owned(), budget_tokens });
        let effort = match self.effort.as_deref() {
            None | Some("none") => return (limit, None, None),
            Some(_)
                if thinking_control == ThinkingControl::Budget
                    && (self.is_mid_turn || self.is_tool_forced) =>
            {
                return (limit, None, None);
            }
            Some("minimal" | "low") => "low",
            Some("medium") => "medium",
            Some(_) => "high",
        };
        match thinking_control {
            ThinkingControl::None => (limit, None, None),
            ThinkingControl::Effort => {
                (limit, config("adaptive", None).filter(|_| !self.is_tool_forced), Some(effort.to_owned()))
            }
            ThinkingControl::Budget => {
                let budget = match effort {
                    "low" => MIN_BUDGET,
                    "medium" => 4 * MIN_BUDGET,
                    _ => 16 * MIN_BUDGET,
                };
                // The limit covers thinking and text together. Half of a limit set by the caller is left for
                // text.
                let (limit, room) = match self.limit {
                    None => (capped(budget.saturating_add(limit)), budget),
                    Some(_) => (limit, limit / 2),
                };
                let budget = budget.min(room).min(limit.saturating_sub(1));
                if budget < MIN_BUDGET {
                    (limit, None, None)
                } else {
                    (limit, config("enabled", Some(budget)), None)
                }
            }
        }
    }
}
