use super::super::messages::Thinking;
use crate::models::Thought;

/// How much is to be thought, and said.
pub(super) struct Wish {
    pub(super) effort: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) default_max_tokens: u64,
    pub(super) is_in_the_middle: bool,
    /// Nobody who must call a tool may think first.
    pub(super) is_forced: bool,
}

/// The least that can be thought, says Anthropic.
const MIN_BUDGET: u64 = 1024;

impl Wish {
    /// The limit of tokens, and how to think.
    pub(super) fn come_to(self, thought: Thought) -> (u64, Option<Thinking>, Option<String>) {
        let limit = self.limit.unwrap_or(self.default_max_tokens);
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
                match self.limit {
                    // The limit is for thoughts and words together.
                    None => (budget + limit, of("enabled", Some(budget)), None),
                    Some(limit) if limit > MIN_BUDGET => {
                        (limit, of("enabled", Some(budget.min(limit - 1))), None)
                    }
                    Some(limit) => (limit, None, None),
                }
            }
        }
    }
}
