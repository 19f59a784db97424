use std::time::Instant;

use super::reason::Reason;
use super::settings::Settings;
use super::window::{WindowTotals, Window};
use crate::ErrorCode;

/// What speaks for and against the provider while the circuit is closed. Kept until it closes again, for whoever
/// wants to know why it opened.
///
/// A rate is judged when a call makes it worse: a call that went well never opens a circuit, though it may be the
/// one with which there are enough.
#[derive(Debug)]
pub(super) struct CircuitStatistics {
    streak: Option<Streak>,
    outcomes: Option<Window>,
    latencies: Option<Window>,
}

/// Failures without a success between them.
#[derive(Clone, Copy, Debug)]
struct Streak {
    count: u32,
    code: ErrorCode,
    alike: bool,
}

impl CircuitStatistics {
    pub(super) fn new(settings: &Settings) -> Self {
        let window = || Window::new(settings.window);
        Self {
            streak: None,
            outcomes: settings.failure_rate_threshold.map(|_| window()),
            latencies: settings.slow_call_threshold.map(|_| window()),
        }
    }

    /// Whether a success would change nothing here.
    pub(super) fn ignores_success(&self) -> bool {
        self.streak.is_none() && self.outcomes.is_none()
    }

    /// Whether nothing speaks against the provider.
    pub(super) fn is_clean(&mut self, now: Instant) -> bool {
        self.streak.is_none() && self.failures(now).bad == 0 && self.slow_calls(now).bad == 0
    }

    pub(super) fn record_success(&mut self, now: Instant) {
        self.streak = None;
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.push(false, now);
        }
    }

    /// One more failure: whether it was one too many.
    pub(super) fn record_failure(&mut self, code: ErrorCode, settings: &Settings, now: Instant) -> Option<Reason> {
        let streak = self.streak.map_or(Streak { count: 1, code, alike: true }, |before| Streak {
            count: before.count.saturating_add(1),
            code,
            alike: before.alike && before.code == code,
        });
        self.streak = Some(streak);
        let totals = self.outcomes.as_mut().map(|outcomes| outcomes.push(true, now));
        let Streak { count, code, alike } = streak;
        if count >= settings.failure_threshold {
            return Some(Reason::Failures { count, code, alike });
        }
        let is_too_many = |totals: &WindowTotals| reaches_threshold(totals, settings.failure_rate_threshold, settings);
        let WindowTotals { bad, calls } = totals.filter(is_too_many)?;
        Some(Reason::FailureRate { failures: bad, calls })
    }

    /// How long one more call took: whether there are too many slow ones.
    pub(super) fn record_latency(&mut self, slow: bool, settings: &Settings, now: Instant) -> Option<Reason> {
        let totals = self.latencies.as_mut()?.push(slow, now);
        let is_too_many = slow && reaches_threshold(&totals, Some(settings.slow_call_rate_threshold), settings);
        is_too_many.then_some(Reason::SlowCallRate { slow: totals.bad, calls: totals.calls })
    }

    /// What the window of results holds.
    pub(super) fn failures(&mut self, now: Instant) -> WindowTotals {
        self.outcomes.as_mut().map(|outcomes| outcomes.totals(now)).unwrap_or_default()
    }

    /// What the window of paces holds.
    pub(super) fn slow_calls(&mut self, now: Instant) -> WindowTotals {
        self.latencies.as_mut().map(|latencies| latencies.totals(now)).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.streak = None;
        for window in [&mut self.outcomes, &mut self.latencies].into_iter().flatten() {
            window.clear();
        }
    }
}

/// Whether there are enough calls to judge, and too many of them are bad.
fn reaches_threshold(totals: &WindowTotals, threshold: Option<f64>, settings: &Settings) -> bool {
    let rate = totals.rate().filter(|_| totals.calls >= settings.enough_calls());
    rate.zip(threshold).is_some_and(|(rate, threshold)| rate >= threshold)
}
