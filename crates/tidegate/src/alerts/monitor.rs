use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::condition::Condition;
use super::{Alert, AlertEnd, AlertKind, AlertState, ChainSignals, Settings};
use crate::circuit_breaker::{EvaluatedRates, State};
use crate::stack::SignalsSnapshot;

/// Turns signals into alerts. The state is bounded by the number of targets.
#[derive(Debug)]
pub(super) struct Monitor {
    settings: Settings,
    conditions: BTreeMap<(AlertKind, Arc<str>), Condition>,
}

/// What is observed of one condition: whether it holds, if that is certain, and the share that decides.
#[derive(Clone, Copy, Debug)]
struct Observation {
    holds: Option<bool>,
    value: Option<f64>,
    /// Why an alert ends with it.
    end: AlertEnd,
}

type Observations = BTreeMap<(AlertKind, Arc<str>), Observation>;

impl Observation {
    const fn new(holds: Option<bool>, value: Option<f64>, is_watched: bool) -> Self {
        let end = match (holds, is_watched) {
            (_, false) => AlertEnd::Unwatched,
            (None, true) => AlertEnd::Unknown,
            (Some(_), true) => AlertEnd::Recovered,
        };
        Self { holds, value, end }
    }
}

impl Monitor {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, conditions: BTreeMap::new() }
    }

    /// Replaces the settings. What is raised stays so.
    pub(super) fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Observes the signals of all targets at `now`, and of those of each chain, and returns the alerts that
    /// begin or end. Those of a target or a chain that is no longer among them end, too.
    pub(super) fn observe(
        &mut self,
        signals: &[SignalsSnapshot],
        chains: &[ChainSignals],
        now: Instant,
    ) -> Vec<Alert> {
        let mut observations = Observations::new();
        for signals in signals {
            self.observe_target(signals, &mut observations);
        }
        let is_cooling = |signals: &SignalsSnapshot| {
            signals.circuit_state == State::Open || signals.rate_closed_ms.is_some()
        };
        if self.settings.all_targets {
            let all = (&Arc::from(""), signals);
            for (name, signals) in chains.iter().map(|it| (&it.name, &*it.targets)).chain([all]) {
                let holds = !signals.is_empty() && signals.iter().all(is_cooling);
                let key = (AlertKind::AllTargetsCooling, Arc::clone(name));
                observations.insert(key, Observation::new(Some(holds), None, true));
            }
        }
        for key in self.conditions.keys() {
            let is_watched = key.0 != AlertKind::AllTargetsCooling || self.settings.all_targets;
            let end = if is_watched { AlertEnd::Removed } else { AlertEnd::Unwatched };
            let gone = Observation { holds: Some(false), value: None, end };
            observations.entry(key.clone()).or_insert(gone);
        }
        observations.into_iter().filter_map(|(key, observation)| self.decide(key, observation, now)).collect()
    }

    /// Forgets all conditions, and returns the ends of the alerts that are raised.
    pub(super) fn clear(&mut self, now: Instant) -> Vec<Alert> {
        let conditions = std::mem::take(&mut self.conditions).into_iter();
        let raised = conditions.filter_map(|(key, condition)| Some((key, condition.raised(now)?)));
        raised
            .map(|(key, held)| alert(key, AlertState::Cleared, Some(AlertEnd::Unwatched), None, held))
            .collect()
    }

    fn observe_target(&self, signals: &SignalsSnapshot, observations: &mut Observations) {
        let (settings, circuit) = (&self.settings, signals.for_alerts);
        let succeeded = |rates: EvaluatedRates| rates.failures.map(|rate| 1.0 - rate);
        let (slow, left) = (circuit.rates.slow_calls, quota_left(signals));
        let is_low = |share: Option<f64>, least| share.is_some_and(|share| share < least);
        let is_failing = |rates: EvaluatedRates| is_low(succeeded(rates), settings.success_rate);
        let is_slow =
            |rates: EvaluatedRates| rates.slow_calls.is_some_and(|share| share > settings.slow_rate);
        // What a circuit without a probe shows may be over.
        let known = |holds: bool, may_hold: bool| if !holds && may_hold { None } else { Some(holds) };
        let failing = known(is_failing(circuit.rates), is_failing(circuit.idle_rates));
        let slowing = known(is_slow(circuit.rates), is_slow(circuit.idle_rates));
        let little_is_left = Some(is_low(left, settings.quota_left));
        for (kind, value, holds, is_watched) in [
            (AlertKind::SuccessRate, succeeded(circuit.rates), failing, settings.success_rate > 0.0),
            (AlertKind::SlowRate, slow, slowing, settings.slow_rate < 1.0),
            (AlertKind::CircuitOpen, None, known(circuit.is_open, circuit.is_idle), true),
            (AlertKind::QuotaNearlySpent, left, little_is_left, settings.quota_left > 0.0),
        ] {
            let observation = Observation::new(holds, value, is_watched);
            // Of stacks of one name, one that has degraded decides, else one that may have.
            let known = observations.entry((kind, Arc::clone(&signals.target))).or_insert(observation);
            let rank =
                |holds: Option<bool>| [Some(false), None, Some(true)].iter().position(|it| *it == holds);
            if rank(holds) > rank(known.holds) {
                *known = observation;
            }
        }
    }

    fn decide(
        &mut self,
        key: (AlertKind, Arc<str>),
        observation: Observation,
        now: Instant,
    ) -> Option<Alert> {
        let (raise_after, clear_after) = (self.settings.raise_after(key.0), self.settings.clear_after);
        let mut condition = self.conditions.get(&key).copied().unwrap_or_default();
        let change = condition.observe(observation.holds, raise_after, clear_after, now);
        match condition.is_pristine() {
            true => _ = self.conditions.remove(&key),
            false => _ = self.conditions.insert(key.clone(), condition),
        }
        change.map(|(state, held)| {
            let end = (state == AlertState::Cleared).then_some(observation.end);
            alert(key, state, end, observation.value, held)
        })
    }
}

fn alert(
    (alert, target): (AlertKind, Arc<str>),
    state: AlertState,
    end: Option<AlertEnd>,
    value: Option<f64>,
    held: Duration,
) -> Alert {
    Alert { at: SystemTime::now(), target, alert, state, end, value, held }
}

/// The share that is left of the quota that is used most.
fn quota_left(signals: &SignalsSnapshot) -> Option<f64> {
    let requests = signals.rate_remaining.map(u64::from).zip(signals.rate_capacity.map(u64::from));
    let tokens = signals.tokens_remaining.zip(signals.tokens_capacity);
    let quotas = [requests, tokens].into_iter().flatten().filter(|(_, capacity)| *capacity > 0);
    quotas.map(|(left, capacity)| left as f64 / capacity as f64).reduce(f64::min)
}
