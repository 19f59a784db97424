use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Extensions;

/// The number of attempts that a call may make, over all retries and all targets of its chains.
///
/// The budget is a handle in the extensions of a request. Every layer below takes one attempt from it before
/// it sends the request again. Three retries at each of three targets are twelve attempts; with a budget of
/// four they are four. When the budget is exhausted, the last real response is returned.
///
/// The first attempt is already subtracted from a new budget, and the layer that sends another attempt takes
/// that one. So the sum is right however retries and chains are nested. An attempt that is rejected by a gate
/// never reached a provider, and the gate gives it back.
///
/// ```
/// use http::Extensions;
/// use tidegate_core::AttemptBudget;
///
/// let mut extensions = Extensions::new();
/// extensions.insert(AttemptBudget::new(2));
/// assert!(AttemptBudget::spend(&extensions), "the second attempt");
/// assert!(!AttemptBudget::spend(&extensions), "a third");
/// ```
#[derive(Clone, Debug)]
pub struct AttemptBudget(Arc<AtomicU32>);

impl AttemptBudget {
    /// A budget of `attempts`, the first attempt included. 0 counts as 1.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self(Arc::new(AtomicU32::new(attempts.saturating_sub(1))))
    }

    /// The budget of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Takes one attempt from the budget of this request, and returns whether the request may be sent again.
    /// Without a budget it always may.
    #[must_use]
    pub fn spend(extensions: &Extensions) -> bool {
        Self::of(extensions).is_none_or(Self::take)
    }

    /// Takes one attempt. Returns `false` if none is left.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Gives back one attempt that never reached a provider.
    pub fn give_back(&self) {
        // The update fails only at `u32::MAX`, where one attempt makes no difference.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_add(1));
    }

    /// The number of attempts that are left.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Pitfall P30 (docs/pitfalls.md).
    #[test]
    fn the_first_attempt_is_already_taken_and_clones_share_the_rest() {
        let budget = AttemptBudget::new(3);
        let other = budget.clone();
        assert!(budget.take() && other.take() && !budget.take());
        other.give_back();
        assert_eq!((budget.remaining(), budget.take(), budget.take()), (1, true, false));
        assert!(!AttemptBudget::new(0).take() && !AttemptBudget::new(1).take());
    }

    #[test]
    fn a_call_without_a_budget_may_always_be_sent_again() {
        assert!((0..100).all(|_| AttemptBudget::spend(&Extensions::new())));
    }
}
