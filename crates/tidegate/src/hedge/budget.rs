//! How much hedges may add to the traffic.

/// The budget of extra requests and extra tokens.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    requests: ExtraShare,
    tokens: ExtraShare,
}

/// An amount that may be added to an other one, as a share of it.
///
/// What is added never exceeds the share of what was deposited, from the start to any moment. A deposit loses
/// a thousandth of its value with every later one, so that a long time without hedges does not pay for an
/// hour in which all calls are slow: between two moments, the share of about a thousand earlier deposits may
/// come on top.
#[derive(Debug)]
struct ExtraShare {
    share: f64,
    balance: f64,
}

/// The deposits after which the first one has lost most of its value.
const MEMORY: f64 = 1_000.0;

impl HedgeBudget {
    pub(super) const fn new(requests: f64, tokens: f64) -> Self {
        Self { requests: ExtraShare::new(requests), tokens: ExtraShare::new(tokens) }
    }

    /// A call begins, of which a hedge would cost `tokens`.
    pub(super) fn deposit(&mut self, tokens: u64) {
        self.requests.deposit(1.0);
        self.tokens.deposit(tokens as f64);
    }

    /// Withdraws one request and its `tokens`, if both are covered.
    pub(super) fn withdraw(&mut self, tokens: u64) -> bool {
        let tokens = tokens as f64;
        let is_covered = self.requests.covers(1.0) && self.tokens.covers(tokens);
        if is_covered {
            self.requests.balance -= 1.0;
            self.tokens.balance -= tokens;
        }
        is_covered
    }

    /// Returns what was withdrawn for a request that was not sent.
    pub(super) fn refund(&mut self, tokens: u64) {
        self.requests.balance += 1.0;
        self.tokens.balance += tokens as f64;
    }
}

impl ExtraShare {
    const fn new(share: f64) -> Self {
        Self { share, balance: 0.0 }
    }

    fn deposit(&mut self, amount: f64) {
        self.balance += self.share * amount - self.balance / MEMORY;
    }

    fn covers(&self, amount: f64) -> bool {
        self.balance >= amount && self.share > 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, Default)]
    struct Totals {
        calls: f64,
        call_tokens: f64,
        hedges: f64,
        hedge_tokens: f64,
    }

    proptest! {
        /// Every call requests a hedge; `unsent` returns some of them.
        #[test]
        fn no_window_has_more_hedges_than_its_share_and_that_of_a_thousand_calls_before(
            calls in prop::collection::vec((0_u64..10_000, any::<bool>(), prop::bool::weighted(0.1)), 1..3_000),
            requests in 0.0..1.0_f64,
            tokens in 0.0..1.0_f64,
        ) {
            let mut budget = HedgeBudget::new(requests, tokens);
            let mut totals = vec![Totals::default()];
            for (cost, wants_hedge, is_unsent) in calls {
                let mut total = *totals.last().unwrap();
                budget.deposit(cost);
                total.calls += 1.0;
                total.call_tokens += cost as f64;
                if wants_hedge && budget.withdraw(cost) {
                    if is_unsent {
                        budget.refund(cost);
                    } else {
                        total.hedges += 1.0;
                        total.hedge_tokens += cost as f64;
                    }
                }
                totals.push(total);
            }
            let end = *totals.last().unwrap();
            prop_assert!(end.hedges <= requests * end.calls + 1e-6);
            prop_assert!(end.hedge_tokens <= tokens * end.call_tokens + 1e-3);
            let largest = 10_000.0;
            for begin in totals.iter().step_by(97) {
                prop_assert!(end.hedges - begin.hedges <= requests * (end.calls - begin.calls + MEMORY) + 1e-6);
                let paid = end.call_tokens - begin.call_tokens + MEMORY * largest;
                prop_assert!(end.hedge_tokens - begin.hedge_tokens <= tokens * paid + 1e-3);
            }
        }
    }

    #[test]
    fn one_hedge_in_twenty_calls_is_covered() {
        let mut budget = HedgeBudget::new(0.05, 0.05);
        let hedges = (0..1_000).filter(|_| {
            budget.deposit(100);
            budget.withdraw(100)
        });
        assert!((45..=50).contains(&hedges.count()));
    }

    #[test]
    fn either_share_is_enough_to_deny() {
        for (requests, tokens) in [(0.0, 1.0), (1.0, 0.0)] {
            let mut budget = HedgeBudget::new(requests, tokens);
            (0..100).for_each(|_| budget.deposit(10));
            assert!(!budget.withdraw(10));
        }
        let mut budget = HedgeBudget::new(0.05, 0.05);
        (0..100).for_each(|_| budget.deposit(10));
        assert!(
            !budget.withdraw(1_000) && budget.withdraw(10),
            "a long prompt is not covered, a short one is"
        );
    }
}
