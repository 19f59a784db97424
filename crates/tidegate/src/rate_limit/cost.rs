//! What a call costs, and what it reserved.

use std::time::Instant;

use crate::LimitUnit;

/// More tokens than any call uses. A higher count is a mistake of the provider, or of a caller's
/// `content-length`: it would block a limit for every caller, and make a sum of counts overflow.
pub(crate) const MAX_TOKENS: u64 = 10_000_000;

/// The cost of one call, or of several calls together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallCost {
    pub(super) calls: u64,
    pub(super) input: u64,
    pub(super) output: u64,
}

/// What a call reserved from the quotas, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) cost: CallCost,
    pub(super) at: Instant,
    /// The total cost reserved since the start, this call included. The difference to a later total is what
    /// was reserved after this call.
    pub(super) total_spent: CallCost,
}

impl CallCost {
    /// The cost of one call without tokens.
    pub(super) const ONE_CALL: Self = Self { calls: 1, input: 0, output: 0 };

    /// The cost in `unit`.
    pub(super) fn of(&self, unit: LimitUnit) -> u64 {
        match unit {
            LimitUnit::Requests => self.calls,
            LimitUnit::Tokens => self.input.saturating_add(self.output),
            LimitUnit::InputTokens => self.input,
            LimitUnit::OutputTokens => self.output,
        }
    }

    /// The share of `some` out of `all` calls that have this cost together. All of it if
    /// `some` is at least `all`.
    pub(super) fn part(&self, some: u64, all: u64) -> Self {
        if some >= all {
            return *self;
        }
        let part = |amount: u64| {
            u64::try_from(u128::from(amount) * u128::from(some) / u128::from(all)).unwrap_or(amount)
        };
        Self { calls: part(self.calls), input: part(self.input), output: part(self.output) }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.input = self.input.saturating_sub(other.input);
        self.output = self.output.saturating_sub(other.output);
    }
}
