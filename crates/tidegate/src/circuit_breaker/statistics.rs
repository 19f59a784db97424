use std::time::Instant;

use super::reason::Reason;
use super::settings::Settings;
use super::window::{Window, WindowTotals};
use crate::ErrorCode;

/// The results and latencies recorded while the circuit is closed. They are kept until it closes again, to
/// show why it opened.
///
/// A rate is evaluated when a call makes it worse. A successful call never opens the circuit, even if it is
/// the one that reaches the minimum number of calls.
#[derive(Debug)]
pub(super) struct CircuitStatistics {
    streak: Option<Streak>,
    outcomes: Option<Window>,
    latencies: Option<Window>,
}

/// Consecutive failures without a success in between.
#[derive(Clone, Copy, Debug)]
struct Streak {
    count: u32,
    code: ErrorCode,
    alike: bool,
}

impl CircuitStatistics {
    pub(super) fn new(settings: &Settings) -> Self {
        let window = Window::new(settings.window());
        let is_cheap = window.is_by_calls();
        Self {
            streak: None,
            // Without a threshold it is only shown. A window of time would take the lock for that with every success.
            outcomes: (is_cheap || settings.failure_rate_threshold.is_some()).then_some(window),
            latencies: settings.slow_call_threshold.map(|_| Window::new(settings.slow_call_window())),
        }
    }

    /// Returns whether a success would change nothing.
    pub(super) fn ignores_success(&self) -> bool {
        self.streak.is_none() && self.outcomes.is_none()
    }

    /// Returns whether successes can be [recorded](Self::record_successes) later than they ended.
    pub(super) fn defers_success(&self) -> bool {
        self.outcomes.as_ref().is_some_and(Window::is_by_calls)
    }

    /// Returns whether no failure and no slow call is recorded.
    pub(super) fn is_clean(&mut self, now: Instant) -> bool {
        self.streak.is_none() && self.failures(now).bad == 0 && self.slow_calls(now).bad == 0
    }

    pub(super) fn record_success(&mut self, now: Instant) {
        self.streak = None;
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.push(false, now);
        }
    }

    /// Records deferred successes.
    pub(super) fn record_successes(&mut self, calls: u64) {
        if calls > 0 {
            self.streak = None;
            if let Some(outcomes) = &mut self.outcomes {
                outcomes.push_good(calls);
            }
        }
    }

    /// Records a failure. Returns the reason to open the circuit, if it is one.
    pub(super) fn record_failure(
        &mut self,
        code: ErrorCode,
        settings: &Settings,
        now: Instant,
    ) -> Option<Reason> {
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
        let (threshold, enough) =
            (settings.failure_rate_threshold?, settings.enough_calls(settings.window()));
        let WindowTotals { bad, calls } =
            totals.filter(|totals| reaches_threshold(totals, threshold, enough))?;
        Some(Reason::FailureRate { failures: bad, calls })
    }

    /// Records the latency of a call. Returns the reason to open the circuit, if there are too many slow
    /// calls.
    pub(super) fn record_latency(&mut self, slow: bool, settings: &Settings, now: Instant) -> Option<Reason> {
        let totals = self.latencies.as_mut()?.push(slow, now);
        let enough = settings.enough_calls(settings.slow_call_window());
        let is_too_many = slow && reaches_threshold(&totals, settings.slow_call_rate(), enough);
        is_too_many.then_some(Reason::SlowCallRate { slow: totals.bad, calls: totals.calls })
    }

    /// Returns the totals of the window of results.
    pub(super) fn failures(&mut self, now: Instant) -> WindowTotals {
        self.outcomes.as_mut().map(|outcomes| outcomes.totals(now)).unwrap_or_default()
    }

    /// Returns the totals of the window of latencies.
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

/// Returns whether there are enough calls to evaluate, and the share of bad ones reaches the threshold.
fn reaches_threshold(totals: &WindowTotals, threshold: f64, enough: u64) -> bool {
    totals.calls >= enough && totals.rate().is_some_and(|rate| rate >= threshold)
}
