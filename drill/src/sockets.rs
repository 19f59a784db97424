//! The comparison of virtual time with real sockets.

use std::fmt;
use std::io;

use crate::figures::Figures;
use crate::report::{decimal, percent};
use crate::run::{in_virtual_time, over_sockets};
use crate::scenario::{Scale, Scenario};
use crate::stack::ComparedStack;

/// The length of a scenario over sockets in seconds, and its calls.
const SECONDS: f64 = 15.0;
const CALLS: f64 = 150.0;

/// The runs at the same time. They mostly wait.
pub(crate) const AT_ONCE: usize = 8;

/// How far the two may differ: in the share of the calls that are served, and in the attempts per call.
pub(crate) const BOUNDS: (f64, f64) = (0.10, 0.25);

/// The runs over sockets, of which one has to agree: a machine that is busy with other work is late.
pub(crate) const ATTEMPTS: usize = 3;

/// One scenario and one stack, in virtual time and over sockets.
#[derive(Debug)]
pub(crate) struct Comparison {
    in_virtual_time: Figures,
    over_sockets: Figures,
}

impl Comparison {
    /// Plays the scenario at small scale: once in virtual time, and over sockets until that agrees, or
    /// `ATTEMPTS` times.
    pub(crate) fn of(scenario: &Scenario, stack: &ComparedStack) -> io::Result<Self> {
        let seed = scenario.seed;
        let scale = Scale::to(scenario, SECONDS, CALLS);
        let scenario = scenario.scaled(scale);
        let figures = |record| Figures::of(&scenario, stack.name, seed, scale, &record);
        let play = || over_sockets(&scenario, stack, seed, scale).map(figures);
        let in_virtual_time = figures(in_virtual_time(&scenario, stack, seed, scale, || ())?);
        let mut comparison = Self { in_virtual_time, over_sockets: play()? };
        for _ in 1..ATTEMPTS {
            if !comparison.agrees() {
                comparison.over_sockets = play()?;
            }
        }
        Ok(comparison)
    }

    /// Whether the two agree within the bounds.
    pub(crate) fn agrees(&self) -> bool {
        let (one, other) = (&self.in_virtual_time, &self.over_sockets);
        is_near(one.success_rate, other.success_rate, BOUNDS.0)
            && is_near(one.attempts_per_call, other.attempts_per_call, BOUNDS.1)
    }
}

fn is_near(one: Option<f64>, other: Option<f64>, bound: f64) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= bound,
        (one, other) => one == other,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, other) = (&self.in_virtual_time, &self.over_sockets);
        write!(
            f,
            "{:16} {:18} served {:>7} and {:>7}, attempts per call {} and {}{}",
            one.scenario,
            one.stack,
            percent(one.success_rate),
            percent(other.success_rate),
            decimal(one.attempts_per_call, 2),
            decimal(other.attempts_per_call, 2),
            if self.agrees() { "" } else { "   DIFFERS" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BUILT_IN;
    use crate::stack::STACKS;

    /// As over sockets, where few calls are in flight, but without them.
    #[test]
    fn every_stack_serves_at_small_scale() {
        let (name, text) = BUILT_IN[0];
        let scenario = Scenario::parse(name, text).unwrap();
        for calls in [CALLS, 20.0] {
            let scale = Scale::to(&scenario, SECONDS, calls);
            let scenario = scenario.scaled(scale);
            for stack in STACKS {
                let record = in_virtual_time(&scenario, stack, 1, scale, || ()).unwrap();
                let figures = Figures::of(&scenario, stack.name, 1, scale, &record);
                assert_eq!(figures.success_rate, Some(1.0), "{figures:?}");
            }
        }
    }
}
