use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::budget::Budget;
use super::conditions::Recent;
use super::layer::Settings;
use super::{Ahead, Conditions, Strategy};
use crate::shared::Shared;
use crate::{Outcome, clock};

/// The budget and the statistics that a layer, its services and their clones share.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Shared<Settings, Counts>);

#[derive(Debug)]
pub(super) struct Counts {
    budget: Option<Budget>,
    random: Mutex<fastrand::Rng>,
    /// Kept only where the waits adapt to it.
    pub(super) recent: Option<Mutex<Recent>>,
    retries: AtomicU64,
    recovered: AtomicU64,
    gave_up: AtomicU64,
    out_of_budget: AtomicU64,
}

/// What the retries came to, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Attempts after the first.
    pub retries: u64,
    /// Calls that succeeded after at least one retry.
    pub recovered: u64,
    /// Calls that failed after at least one retry.
    pub gave_up: u64,
    /// Retries that made sense but could not be afforded.
    pub out_of_budget: u64,
}

impl From<&Settings> for Counts {
    fn from(settings: &Settings) -> Self {
        Self {
            budget: settings.budget.map(|(ratio, floor)| Budget::new(ratio, floor, clock::now())),
            random: Mutex::new(settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            recent: (settings.policy.backoff.strategy == Strategy::Adaptive)
                .then(|| Mutex::new(Recent::new(clock::now()))),
            retries: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            out_of_budget: AtomicU64::new(0),
        }
    }
}

impl Handle {
    /// What the retries came to, since the start.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            retries: read(&self.0.retries),
            recovered: read(&self.0.recovered),
            gave_up: read(&self.0.gave_up),
            out_of_budget: read(&self.0.out_of_budget),
        }
    }

    /// A call begins.
    pub(super) fn deposit(&self) {
        if let Some(budget) = &self.0.budget {
            budget.deposit();
        }
    }

    /// Takes one retry out of the budget, if it can be afforded.
    pub(super) fn withdraw(&self) -> bool {
        let afforded = self.0.budget.as_ref().is_none_or(|budget| budget.withdraw(clock::now()));
        let counter = if afforded { &self.0.retries } else { &self.0.out_of_budget };
        counter.fetch_add(1, Ordering::Relaxed);
        afforded
    }

    /// A call that needed retries ended.
    pub(super) fn ended(&self, is_success: bool) {
        let counter = if is_success { &self.0.recovered } else { &self.0.gave_up };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt that began at `began` has ended; one that we refused says nothing.
    pub(super) fn record(&self, outcome: &Outcome, began: Instant) {
        if let Some(recent) = &self.0.recent
            && *outcome != Outcome::Neutral
        {
            let now = clock::now();
            let took = now.saturating_duration_since(began);
            recent.lock().unwrap_or_else(PoisonError::into_inner).record(
                outcome.failure().is_some(),
                took,
                now,
            );
        }
    }

    /// What is measured, and what the user's own gauge or else the gates ahead tell.
    pub(super) fn conditions(&self, ahead: &Ahead) -> Conditions {
        let Some(recent) = &self.0.recent else { return Conditions::default() };
        let load = match &self.0.settings().load {
            Some(load) => load.read(),
            None => ahead.load(),
        };
        let recent = recent.lock().unwrap_or_else(PoisonError::into_inner).conditions(clock::now());
        Conditions { load, ..recent }
    }

    /// Uniform in 0..1.
    pub(super) fn random(&self) -> f64 {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}
