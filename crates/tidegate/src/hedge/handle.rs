use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::budget::HedgeBudget;
use super::settings::Settings;
use super::statistics::{HedgeCounters, HedgeStatistics};
use super::target_times::TargetTimes;
use crate::layer_state::LayerState;
use crate::sync::unpoisoned;

/// The times of the targets, the budget and the statistics that a layer, its services and their clones share.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) LayerState<Settings, SharedHedges>);

#[derive(Debug)]
pub(super) struct SharedHedges {
    budget: Mutex<HedgeBudget>,
    /// By the name of the target. Looked up when a chain is built, so there are as many as there are targets.
    targets: Mutex<BTreeMap<Arc<str>, Arc<TargetTimes>>>,
    counters: HedgeCounters,
}

impl From<&Settings> for SharedHedges {
    fn from(settings: &Settings) -> Self {
        let budget = HedgeBudget::new(settings.max_extra_requests, settings.max_extra_tokens);
        Self { budget: Mutex::new(budget), targets: Mutex::default(), counters: HedgeCounters::default() }
    }
}

impl Handle {
    /// The hedges since the start, in numbers.
    #[must_use]
    pub fn statistics(&self) -> HedgeStatistics {
        self.0.counters.read()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.0.settings().enabled
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.0.settings()
    }

    /// The name of the first target.
    pub(crate) fn target(&self) -> &str {
        self.0.target()
    }

    /// The times of the target with this name.
    pub(crate) fn times_of(&self, target: &str) -> Arc<TargetTimes> {
        let mut targets = unpoisoned(self.0.targets.lock());
        Arc::clone(targets.entry(target.into()).or_default())
    }

    /// A reference for a chain, which stays with this state.
    pub(crate) fn to_hold(&self) -> Self {
        Self(self.0.to_hold())
    }

    pub(super) fn count(&self, counter: impl Fn(&HedgeCounters) -> &AtomicU64) {
        counter(&self.0.counters).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn budget(&self) -> MutexGuard<'_, HedgeBudget> {
        unpoisoned(self.0.budget.lock())
    }
}
