use super::super::messages::Thinking;
use crate::models::Thought;

/// How much is to be thought, and said.
pub(super) struct Wish {
    pub(super) effort: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) default_max_tokens: u64,
    /// The most that the model can answer with, if that is known.
    pub(super) most_tokens: Option<u64>,
    /// There can be no thoughts before what comes next: results of tools that were called without them, or the beginning
    /// of the very message.
    pub(super) is_in_the_middle: bool,
    /// Nobody who must call a tool may think first.
    pub(super) is_forced: bool,
}

/// The least that can be thought, and less than the limit of tokens (Anthropic, "Extended thinking").
const MIN_BUDGET: u64 = 1024;

impl Wish {
    /// The limit of tokens, and how to think.
    pub(super) fn come_to(self, thought: Thought) -> (u64, Option<Thinking>, Option<String>) {
        // "At most so many" is kept by a model that cannot say as many, and it refuses to be asked for them.
        let within = |tokens: u64| tokens.min(self.most_tokens.unwrap_or(u64::MAX));
        let limit = within(self.limit.unwrap_or(self.default_max_tokens));
        let of = |kind: &str, budget_tokens| Some(Thinking { kind: kind.to_owned(), budget_tokens });
        let effort = match self.effort.as_deref() {
            None | Some("none") => return (limit, None, None),
            Some(_) if thought == Thought::Budget && (self.is_in_the_middle || self.is_forced) => {
                return (limit, None, None);
            }
            Some("minimal" | "low") => "low",
            Some("medium") => "medium",
            Some(_) => "high",
        };
        match thought {
            Thought::None => (limit, None, None),
            Thought::Effort => {
                (limit, of("adaptive", None).filter(|_| !self.is_forced), Some(effort.to_owned()))
            }
            Thought::Budget => {
                let budget = match effort {
                    "low" => MIN_BUDGET,
                    "medium" => 4 * MIN_BUDGET,
                    _ => 16 * MIN_BUDGET,
                };
                // The limit is for thoughts and words together. Of the caller's own, half is left for words.
                let (limit, room) = match self.limit {
                    None => (within(budget.saturating_add(limit)), budget),
                    Some(_) => (limit, limit / 2),
                };
                let budget = budget.min(room).min(limit.saturating_sub(1));
                match budget < MIN_BUDGET {
                    true => (limit, None, None),
                    false => (limit, of("enabled", Some(budget)), None),
                }
            }
        }
    }
}
