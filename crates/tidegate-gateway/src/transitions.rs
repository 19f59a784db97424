use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use serde::Serialize;
use tidegate::circuit_breaker::{Reason, State, Transition, Transitions};
use tidegate::key::KeyId;

use crate::sync::lock;
use crate::times::{as_millis, rfc3339};

/// The latest changes of state of all circuits. Clones share them.
///
/// The circuits keep their latest changes until the log is read, so that nothing runs in the background.
#[derive(Clone, Default)]
pub(crate) struct TransitionLog(Arc<Mutex<KeptTransitions>>);

#[derive(Default)]
struct KeptTransitions {
    followed: Vec<FollowedCircuit>,
    /// Oldest first. Their numbers are consecutive.
    kept: VecDeque<TransitionEntry>,
    next: u64,
}

struct FollowedCircuit {
    target: Arc<str>,
    policy: Arc<str>,
    transitions: Transitions,
}

/// A change of state, as `/transitions` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TransitionEntry {
    pub(crate) number: u64,
    #[serde(serialize_with = "rfc3339")]
    at: SystemTime,
    target: Arc<str>,
    policy: Arc<str>,
    /// The key of the circuit, where there are keys.
    key: Option<KeyId>,
    from: State,
    to: State,
    reason: Reason,
    cooldown_ms: Option<u64>,
    /// How long the circuit was not closed, if it closed.
    recovery_ms: Option<u64>,
}

/// The number of changes that are kept.
const KEPT: usize = 256;

impl TransitionLog {
    /// Replaces the circuits that are followed by those of `circuits`: the target, its policy and its changes
    /// of state.
    pub(crate) fn follow(&self, circuits: impl Iterator<Item = (Arc<str>, Arc<str>, Transitions)>) {
        let mut log = self.lock();
        log.read();
        log.followed = circuits
            .map(|(target, policy, transitions)| FollowedCircuit { target, policy, transitions })
            .collect();
    }

    /// The changes with this number and above, oldest first.
    pub(crate) fn since(&self, number: u64) -> Vec<TransitionEntry> {
        let mut log = self.lock();
        log.read();
        log.kept.iter().filter(|entry| entry.number >= number).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, KeptTransitions> {
        lock(&self.0)
    }
}

impl KeptTransitions {
    /// Takes over what the circuits have kept, in the order of time.
    fn read(&mut self) {
        let mut new: Vec<(Transition, Arc<str>, Arc<str>)> = Vec::new();
        for FollowedCircuit { target, policy, transitions } in &mut self.followed {
            while let Some(transition) = transitions.try_next() {
                new.push((transition, Arc::clone(target), Arc::clone(policy)));
            }
        }
        new.sort_by_key(|(transition, ..)| transition.at);
        for (transition, target, policy) in new {
            self.kept.push_back(TransitionEntry::new(self.next, &transition, target, policy));
            self.next += 1;
        }
        let surplus = self.kept.len().saturating_sub(KEPT);
        drop(self.kept.drain(..surplus));
    }
}

impl TransitionEntry {
    fn new(number: u64, transition: &Transition, target: Arc<str>, policy: Arc<str>) -> Self {
        Self {
            number,
            at: transition.timestamp(),
            target,
            policy,
            key: transition.key,
            from: transition.from,
            to: transition.to,
            reason: transition.reason,
            cooldown_ms: transition.cooldown.map(as_millis),
            recovery_ms: transition.recovery.map(as_millis),
        }
    }
}

impl fmt::Debug for TransitionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TransitionLog").field(&self.lock().kept.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use tidegate::CircuitBreakerLayer;
    use tidegate::circuit_breaker::Handle;

    use super::*;

    fn circuit() -> Handle {
        CircuitBreakerLayer::new().handle()
    }

    fn follow(log: &TransitionLog, circuits: &[(&str, &Handle)]) {
        log.follow(
            circuits.iter().map(|(name, circuit)| ((*name).into(), "default".into(), circuit.subscribe())),
        );
    }

    fn names(log: &TransitionLog, number: u64) -> Vec<String> {
        let name = |entry: TransitionEntry| format!("{} {} {}", entry.number, entry.target, entry.to);
        log.since(number).into_iter().map(name).collect()
    }

    #[test]
    fn changes_of_all_circuits_are_numbered_in_the_order_of_time() {
        let (log, one, other) = (TransitionLog::default(), circuit(), circuit());
        follow(&log, &[("p/a", &one), ("p/b", &other)]);
        one.force_open();
        other.force_open();
        one.reset();
        assert_eq!(names(&log, 0), ["0 p/a open", "1 p/b open", "2 p/a closed"]);
        other.reset();
        assert_eq!(names(&log, 3), ["3 p/b closed"]);
    }

    #[test]
    fn changes_before_other_circuits_are_followed_are_kept() {
        let (log, one, other) = (TransitionLog::default(), circuit(), circuit());
        follow(&log, &[("p/a", &one)]);
        one.force_open();
        follow(&log, &[("p/b", &other)]);
        one.reset();
        other.force_open();
        assert_eq!(names(&log, 0), ["0 p/a open", "1 p/b open"]);
    }

    #[test]
    fn the_latest_changes_of_a_flapping_circuit_are_kept() {
        let (log, circuit) = (TransitionLog::default(), circuit());
        follow(&log, &[("p/a", &circuit)]);
        for _ in 0..40 {
            circuit.force_open();
            (0..20).for_each(|_| circuit.reset());
            log.since(0);
        }
        let kept = log.since(0);
        let (first, last) = (kept.first().unwrap().number, kept.last().unwrap().number);
        assert_eq!((kept.len(), last - first), (KEPT, KEPT as u64 - 1));
        assert_eq!(last, 40 * 21 - 1);
    }
}
