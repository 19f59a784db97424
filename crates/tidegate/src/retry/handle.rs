use std::sync::Mutex;
use std::time::Instant;

use http::Extensions;
use http::request::Parts;

use super::budget::Budget;
use super::load_signals::RecentAttempts;
use super::policy::RetryPolicy;
use super::settings::RetrySettings;
use super::statistics::Counters;
use super::{LoadSignals, RetryOverride, Statistics, Strategy, headers};
use crate::chain_position::ChainPosition;
use crate::events::Decision;
use crate::layer_state::LayerState;
use crate::sync::unpoisoned;
use crate::{Deadline, Outcome, clock};

/// The retry budget and the statistics that a layer, its services and their clones share.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) LayerState<RetrySettings, RetryState>);

#[derive(Debug)]
pub(super) struct RetryState {
    pub(super) policy: RetryPolicy,
    budget: Option<Budget>,
    random: Mutex<fastrand::Rng>,
    /// Measured only where the waits adapt to it.
    pub(super) recent: Option<Mutex<RecentAttempts>>,
    pub(super) counters: Counters,
}

impl From<&RetrySettings> for RetryState {
    fn from(settings: &RetrySettings) -> Self {
        Self {
            policy: settings.policy(),
            budget: settings.budget.map(|budget| Budget::new(budget.ratio, budget.floor, clock::now())),
            random: Mutex::new(settings.hooks.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            recent: (settings.strategy == Strategy::Adaptive)
                .then(|| Mutex::new(RecentAttempts::new(clock::now()))),
            counters: Counters::default(),
        }
    }
}

impl Handle {
    /// The retries since the start, in numbers.
    #[must_use]
    #[doc(alias = "get_retry_metrics")]
    pub fn statistics(&self) -> Statistics {
        self.0.counters.read(&self.0.policy, self.0.settings().max_attempts)
    }

    /// Whether a call with these extensions has one attempt, and its result is only counted.
    pub(super) fn never_retries(&self, extensions: &Extensions) -> bool {
        let may_retry = self.0.policy.max_retries > 0 || RetryOverride::of(extensions).is_some();
        !may_retry && self.0.recent.is_none()
    }

    /// Whether the layer is off: only calls with a [`RetryOverride`] are counted.
    pub(super) fn is_off(&self) -> bool {
        if self.0.policy.max_retries > 0 || self.0.recent.is_some() {
            return false;
        }
        let settings = self.0.settings();
        !settings.attempt_header && !settings.idempotency_key && settings.reserve_for_fallback.is_zero()
    }

    /// Whether the layer is off for a call with these extensions.
    pub(super) fn is_idle(&self, extensions: &Extensions) -> bool {
        self.is_off() && RetryOverride::of(extensions).is_none()
    }

    /// Reserves time for a later target of the chain, if there is one.
    pub(super) fn reserve_for_fallback(&self, extensions: &mut Extensions) {
        let reserve = self.0.settings().reserve_for_fallback;
        if !reserve.is_zero() && ChainPosition::of(extensions).is_none_or(|position| !position.is_last) {
            Deadline::reserve(reserve, extensions, clock::now());
        }
    }

    /// Sets the headers that are enabled on the request of an attempt.
    pub(super) fn set_headers(&self, head: &mut Parts, attempt: u32) {
        let settings = self.0.settings();
        if settings.attempt_header {
            headers::set_attempt_number(&mut head.headers, attempt);
        }
        if settings.idempotency_key {
            headers::ensure_idempotency_key(head);
        }
    }

    /// Counts an attempt that was sent and has ended. The first of a call deposits into the budget.
    pub(super) fn record_sent_attempt(&self, is_first: bool) {
        self.0.counters.record_attempt();
        if is_first && let Some(budget) = &self.0.budget {
            budget.deposit();
        }
    }

    /// Withdraws one retry from the budget, if it is covered.
    pub(super) fn withdraw(&self) -> bool {
        let afforded = self.0.budget.as_ref().is_none_or(|budget| budget.withdraw(clock::now()));
        self.0.counters.record_retry_decision(afforded);
        if !afforded {
            Decision::RetryDenied.emit(self.0.target(), None);
        }
        afforded
    }

    /// Records an attempt that began at `began` and has ended. A rejection by a gate gives no information,
    /// and is ignored.
    pub(super) fn record(&self, outcome: &Outcome, began: Instant) {
        if let Some(recent) = &self.0.recent
            && *outcome != Outcome::Neutral
        {
            let now = clock::now();
            let took = now.saturating_duration_since(began);
            unpoisoned(recent.lock()).record(outcome.failure().is_some(), took, now);
        }
    }

    /// The measured signals, and the load by the user's gauge, else by the gates below.
    pub(super) fn load_signals(&self, load_below: impl FnOnce() -> Option<f64>) -> LoadSignals {
        let load = match &self.0.settings().hooks.load {
            Some(load) => load(),
            None => load_below(),
        };
        let Some(recent) = &self.0.recent else { return LoadSignals { load, ..LoadSignals::default() } };
        let recent = unpoisoned(recent.lock()).load_signals(clock::now());
        LoadSignals { load, ..recent }
    }

    /// Uniform in 0..1.
    pub(super) fn random(&self) -> f64 {
        unpoisoned(self.0.random.lock()).f64()
    }
}
