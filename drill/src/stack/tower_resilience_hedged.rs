use super::{ComparedStack, tower_resilience};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower-resilience hedged",
    description: "the same, and an attempt without a success for 2.5 s, a little more than 95 of 100 answers of a healthy provider \
                  take, is sent to the same provider as well by Hedge, inside of the circuits; a failure that comes earlier \
                  waits for that as well",
    build: |plan, wire| tower_resilience::build(plan, wire, Some(plan.settings.hedge_delay)),
};
