use std::sync::Arc;

use serde::Serialize;

/// The state of a group at one moment, ready to be serialised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSnapshot {
    /// The name of the group.
    pub group: Arc<str>,
    /// How the calls of a conversation are recognised; `None` if they do not stay with a member.
    pub affinity: Option<String>,
    /// The members, in their order.
    pub members: Vec<MemberSnapshot>,
}

/// The state of a member at one moment. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberSnapshot {
    /// The name of the member, usually `provider/model`.
    pub target: Arc<str>,
    /// Its weight, as it was set.
    pub weight: f32,
    /// Its calls in flight by this group, response bodies included.
    pub in_flight: u32,
    /// The expected time to the first token; `None` without a call in the last minute.
    pub first_token_ms: Option<u64>,
    /// How much longer it is left out after a failure; `None` if it is not.
    pub cooldown_remaining_ms: Option<u64>,
    /// Its calls so far, by the reason of the choice.
    pub choices: Choices,
    /// Its attempts that failed.
    pub failures: u64,
    /// The tokens of the prompts that it answered; `None` without an affinity.
    pub prompt_tokens: Option<PromptTokens>,
}

/// The tokens of the prompts that a member answered, as far as its provider reported them: what an affinity
/// saves is in the part that was read from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromptTokens {
    /// All of them.
    pub total: u64,
    /// Those that the provider read from its cache of prompts.
    pub cache_read: u64,
    /// Those that it wrote to that cache.
    pub cache_written: u64,
}

/// How often a member was chosen, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// By its load, among the members that could take the call.
    pub by_load: u64,
    /// The conversation stays with it.
    pub by_affinity: u64,
    /// Its conversation belongs to a member that could not take the call.
    pub moved: u64,
    /// Another member had failed before.
    pub after_failure: u64,
}

/// Why a member was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChoiceReason {
    Load,
    Affinity,
    Moved,
    AfterFailure,
}

impl ChoiceReason {
    pub(crate) const ALL: [Self; 4] = [Self::Load, Self::Affinity, Self::Moved, Self::AfterFailure];

    /// The name in metrics.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "recorded with the feature"))]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Affinity => "affinity",
            Self::Moved => "moved",
            Self::AfterFailure => "after_failure",
        }
    }
}

impl Choices {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.by_load + self.by_affinity + self.moved + self.after_failure
    }
}
