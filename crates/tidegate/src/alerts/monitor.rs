use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::condition::{Condition, Unknown};
use super::{Alert, AlertEnd, AlertKind, AlertState, ChainSignals, Settings};
use crate::stack::{CircuitForAlerts, SignalsSnapshot};

/// Turns signals into alerts. The state is bounded by the number of targets.
#[derive(Debug)]
pub(super) struct Monitor {
    settings: Settings,
    conditions: BTreeMap<(AlertKind, Arc<str>), Condition>,
}

/// What is observed of one condition: whether it holds, if that is known, and the share that decides.
#[derive(Clone, Copy, Debug)]
struct Observation {
    holds: Result<bool, Unknown>,
    value: Option<f64>,
    /// Why an alert ends with it.
    end: AlertEnd,
}

type Observations = BTreeMap<(AlertKind, Arc<str>), Observation>;

impl Observation {
    fn new(holds: Result<bool, Unknown>, value: Option<f64>, is_watched: bool) -> Self {
        let end = match (holds, is_watched) {
            (_, false) => return Self { holds: Ok(false), value, end: AlertEnd::Unwatched },
            (Err(_), true) => AlertEnd::Unknown,
            (Ok(_), true) => AlertEnd::Recovered,
        };
        Self { holds, value, end }
    }
}

/// Whether a share is beyond its threshold. `idle` is that from before the cooldown of a circuit without a
/// probe: what it shows may be over. Without enough calls, nothing is known.
fn is_beyond(
    share: Option<f64>,
    idle: Option<f64>,
    lapsed: Option<Duration>,
    is_beyond: impl Fn(f64) -> bool,
) -> Result<bool, Unknown> {
    match share.map(&is_beyond) {
        Some(true) => Ok(true),
        Some(false) if !idle.is_some_and(is_beyond) => Ok(false),
        Some(false) => Err(Unknown::default()),
        None => Err(Unknown { since_before: lapsed.unwrap_or_default() }),
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
        // Stacks of one name are one target.
        let mut targets = BTreeMap::<_, (CircuitForAlerts, Option<f64>)>::new();
        for signals in signals {
            let own = (signals.for_alerts, quota_left(signals));
            let worst = |(circuit, left): &mut (CircuitForAlerts, Option<f64>)| {
                *circuit = circuit.worst_of(own.0);
                *left = [*left, own.1].into_iter().flatten().reduce(f64::min);
            };
            targets.entry(&signals.target).and_modify(worst).or_insert(own);
        }
        for (target, (circuit, left)) in targets {
            self.observe_target(target, circuit, left, &mut observations);
        }
        if self.settings.all_targets {
            let all = (&Arc::from(""), signals);
            for (name, signals) in chains.iter().map(|it| (&it.name, &*it.targets)).chain([all]) {
                let holds = !signals.is_empty() && !signals.iter().any(|signals| signals.admits_calls);
                let key = (AlertKind::AllTargetsCooling, Arc::clone(name));
                observations.insert(key, Observation::new(Ok(holds), None, true));
            }
        }
        for key in self.conditions.keys() {
            let is_watched = key.0 != AlertKind::AllTargetsCooling || self.settings.all_targets;
            let end = if is_watched { AlertEnd::Removed } else { AlertEnd::Unwatched };
            let gone = Observation { holds: Ok(false), value: None, end };
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

    fn observe_target(
        &self,
        target: &Arc<str>,
        circuit: CircuitForAlerts,
        left: Option<f64>,
        observations: &mut Observations,
    ) {
        let CircuitForAlerts { rates, idle_rates: idle, is_open, is_idle } = circuit;
        let Settings { success_rate, slow_rate, quota_left, .. } = self.settings;
        let (failures, slow) = (rates.failures, rates.slow_calls);
        let failing = is_beyond(failures, idle.failures, rates.lapsed, |share| 1.0 - share < success_rate);
        let slowing = is_beyond(slow, idle.slow_calls, rates.lapsed, |share| share > slow_rate);
        let is_open = if is_idle && !is_open { Err(Unknown::default()) } else { Ok(is_open) };
        let little_is_left = Ok(left.is_some_and(|left| left < quota_left));
        for (kind, value, holds, is_watched) in [
            (AlertKind::SuccessRate, failures.map(|share| 1.0 - share), failing, success_rate > 0.0),
            (AlertKind::SlowRate, slow, slowing, slow_rate < 1.0),
            (AlertKind::CircuitOpen, None, is_open, true),
            (AlertKind::QuotaNearlySpent, left, little_is_left, quota_left > 0.0),
        ] {
            observations.insert((kind, Arc::clone(target)), Observation::new(holds, value, is_watched));
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
        if condition.is_pristine() {
            _ = self.conditions.remove(&key)
        } else {
            _ = self.conditions.insert(key.clone(), condition)
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
