use std::time::Duration;

use tidegate::hedge;

use super::{ComparedStack, protocol_order};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tidegate hedged",
    description: "the same, and a call whose first token is later than that of 95 of 100 calls is sent to the next target, or \
                  the same, as well; at most 5 % more requests and tokens",
    build: |plan, wire| protocol_order::build(plan, wire, Some(settings(plan.minute))),
};

/// The defaults, with a shortest delay that shrinks with the times of the scenario.
fn settings(minute: Duration) -> hedge::Settings {
    let defaults = hedge::Settings::default();
    hedge::Settings { min_delay: defaults.min_delay.mul_f64(minute.as_secs_f64() / 60.0), ..defaults }
}
