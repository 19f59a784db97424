use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Extensions;

/// How many attempts a call may make: its retries, and all the targets of its chains, together.
///
/// A handle: put one into the extensions of a request, and every layer below that would ask once more takes from
/// it first. Three retries at each of three targets are twelve attempts; with a budget of four they are four. When
/// it is spent, the last real answer goes through.
///
/// The first attempt is paid for when the budget is made, and whoever sends another one pays for that: so the sum
/// is right however retries and chains are put into each other. An attempt that a gate of ours refuses never
/// reached anybody, and is given back by the gate.
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
    /// At most so many attempts, the first included; 0 is taken as 1.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self(Arc::new(AtomicU32::new(attempts.saturating_sub(1))))
    }

    /// The budget of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Whether this request may be sent once more; if it has a budget, one attempt is taken from it.
    #[must_use]
    pub fn spend(extensions: &Extensions) -> bool {
        Self::of(extensions).is_none_or(Self::take)
    }

    /// Takes one attempt, if there is one left.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Gives one attempt back that never reached anybody.
    pub fn give_back(&self) {
        // At the very end of the numbers it is not missed.
        let _ = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_add(1));
    }

    /// How many more attempts there may be.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p30_the_first_attempt_is_paid_for_and_clones_share_the_rest() {
        let budget = AttemptBudget::new(3);
        let other = budget.clone();
        assert!(budget.take() && other.take() && !budget.take());
        other.give_back();
        assert_eq!((budget.remaining(), budget.take(), budget.take()), (1, true, false));
        assert!(!AttemptBudget::new(0).take() && !AttemptBudget::new(1).take());
    }

    #[test]
    fn a_call_without_a_budget_may_always_ask_again() {
        assert!((0..100).all(|_| AttemptBudget::spend(&Extensions::new())));
    }
}
