use std::time::Instant;

use super::streak::{Streak, StreakLength};
use super::window::Window;
use crate::ErrorCode;
use crate::circuit_breaker::reason::Reason;
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::shared::{SentReport, SharedWindows};
use crate::store::{SharedWindow, WindowReport, WindowTotals};

/// The results and latencies recorded while the circuit is closed. They are kept until it closes again, to
/// show why it opened.
///
/// A rate is evaluated when a call makes it worse. A successful call never opens the circuit, even if it is
/// the one that reaches the minimum number of calls.
#[derive(Debug)]
pub(super) struct CircuitWindows {
    streak: Streak,
    outcomes: Option<Window>,
    latencies: Option<Window>,
    /// The window of all processes, if it is shared.
    shared: Option<Box<SharedWindows>>,
}

impl CircuitWindows {
    pub(super) fn new(settings: &Settings) -> Self {
        let window = Window::new(settings.window());
        let is_cheap = window.is_by_calls();
        Self {
            streak: Streak::default(),
            // Without a threshold it is only shown. A window of time would take the lock for that with every
            // success.
            outcomes: (is_cheap || settings.failure_rate_threshold.is_some()).then_some(window),
            latencies: settings.slow_call_threshold.map(|_| Window::new(settings.slow_call_window())),
            shared: None,
        }
    }

    /// Shares the window with other processes.
    pub(super) fn share(&mut self) {
        self.shared = Some(Box::default());
    }

    pub(super) fn shared(&mut self) -> Option<&mut SharedWindows> {
        self.shared.as_deref_mut()
    }

    /// Whether a success would change nothing.
    pub(super) fn ignores_success(&self) -> bool {
        self.streak.is_empty() && self.outcomes.is_none()
    }

    /// Whether there are failures that the head of a response separates from later ones.
    pub(super) fn has_streak(&self) -> bool {
        !self.streak.is_empty()
    }

    /// Whether successes can be [recorded](Self::record_successes) later than they ended.
    pub(super) fn defers_success(&self) -> bool {
        self.shared.is_none() && self.outcomes.as_ref().is_some_and(Window::is_by_calls)
    }

    /// Whether no failure and no slow call is recorded.
    pub(super) fn is_clean(&mut self, now: Instant) -> bool {
        self.streak.is_empty() && self.local_failures(now).bad == 0 && self.local_slow_calls(now).bad == 0
    }

    /// Records the head of a response. Returns the number of failures before it, if it has to be
    /// [removed](Self::remove_head) when the response ends.
    pub(super) fn add_head(&mut self) -> Option<u64> {
        self.streak.add_head()
    }

    pub(super) fn remove_head(&mut self, failures_before: u64) {
        self.streak.remove_head(failures_before);
    }

    pub(super) fn record_success(&mut self, now: Instant) {
        self.streak.reset();
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.push(false, now);
            self.shared.iter_mut().for_each(|shared| shared.record_result(false));
        }
    }

    /// Records deferred successes.
    pub(super) fn record_successes(&mut self, calls: u64) {
        self.streak.reset();
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.push_good(calls);
        }
    }

    /// Records a failure. Returns the reason to open the circuit, if it is one.
    pub(super) fn record_failure(
        &mut self,
        code: ErrorCode,
        is_of_body: bool,
        settings: &Settings,
        now: Instant,
    ) -> Option<Reason> {
        let StreakLength { count, alike } = self.streak.record_failure(code, is_of_body);
        let totals = self.outcomes.as_mut().map(|outcomes| {
            self.shared.iter_mut().for_each(|shared| shared.record_result(true));
            outcomes.push(true, now)
        });
        if count >= settings.failure_threshold {
            return Some(Reason::Failures { count, code, alike });
        }
        if self.is_decided_by_all() { None } else { failure_rate_reason(totals?, settings) }
    }

    /// Whether the rates are those of all processes, and are evaluated when the store returns them.
    pub(super) fn is_decided_by_all(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.window().is_some())
    }

    /// Takes the calls that are not reported to the store yet, if the window is shared and there are any.
    pub(super) fn take_report(
        &mut self,
        settings: &Settings,
        now: Instant,
    ) -> Option<(SentReport, WindowReport)> {
        let sent = self.shared.as_mut()?.take_report(now)?;
        let counts = (self.outcomes.is_some(), self.latencies.is_some());
        Some((sent, sent.report(counts, settings)))
    }

    /// Handles the reply of the store to a report; `None` if there was none in time. Returns the reason to
    /// open the circuit, if a reported call made a rate worse. A local window with more calls decides: the
    /// store has lost some of them.
    pub(super) fn on_reply(
        &mut self,
        sent: &SentReport,
        reply: Option<SharedWindow>,
        settings: &Settings,
        now: Instant,
    ) -> Option<Reason> {
        if !self.shared.as_mut()?.on_reply(sent, reply, now) {
            return None;
        }
        let shared = reply.unwrap_or_default();
        let (failures, slow_calls) = (self.local_failures(now), self.local_slow_calls(now));
        let has_more = |local: WindowTotals, shared: WindowTotals| {
            if local.calls > shared.calls { local } else { shared }
        };
        let reason = (sent.calls.results.bad > 0)
            .then(|| failure_rate_reason(has_more(failures, shared.results), settings))
            .flatten();
        reason.or_else(|| {
            (sent.calls.latencies.bad > 0)
                .then(|| slow_call_rate_reason(has_more(slow_calls, shared.latencies), settings))?
        })
    }

    /// Records the latency of a call. Returns the reason to open the circuit, if there are too many slow
    /// calls.
    pub(super) fn record_latency(&mut self, slow: bool, settings: &Settings, now: Instant) -> Option<Reason> {
        let totals = self.latencies.as_mut()?.push(slow, now);
        self.shared.iter_mut().for_each(|shared| shared.record_latency(slow));
        if slow && !self.is_decided_by_all() { slow_call_rate_reason(totals, settings) } else { None }
    }

    /// The totals of the windows of results and of latencies: those of all processes, or the local ones.
    pub(super) fn totals(&mut self, settings: &Settings, now: Instant) -> [WindowTotals; 2] {
        match self.shared.as_ref().and_then(|shared| shared.window_at(settings, now)) {
            Some(window) => [window.results, window.latencies],
            None => [self.local_failures(now), self.local_slow_calls(now)],
        }
    }

    fn local_failures(&mut self, now: Instant) -> WindowTotals {
        self.outcomes.as_mut().map(|outcomes| outcomes.totals(now)).unwrap_or_default()
    }

    fn local_slow_calls(&mut self, now: Instant) -> WindowTotals {
        self.latencies.as_mut().map(|latencies| latencies.totals(now)).unwrap_or_default()
    }

    pub(super) fn clear(&mut self, now: Instant) {
        self.streak.reset();
        for window in [&mut self.outcomes, &mut self.latencies].into_iter().flatten() {
            window.clear();
        }
        self.shared.iter_mut().for_each(|shared| shared.clear(now));
    }
}

fn failure_rate_reason(totals: WindowTotals, settings: &Settings) -> Option<Reason> {
    let (threshold, enough) = (settings.failure_rate_threshold?, settings.enough_calls(settings.window()));
    let WindowTotals { bad, calls } = totals;
    reaches_threshold(&totals, threshold, enough).then_some(Reason::FailureRate { failures: bad, calls })
}

fn slow_call_rate_reason(totals: WindowTotals, settings: &Settings) -> Option<Reason> {
    let enough = settings.enough_calls(settings.slow_call_window());
    let WindowTotals { bad, calls } = totals;
    reaches_threshold(&totals, settings.slow_call_rate(), enough)
        .then_some(Reason::SlowCallRate { slow: bad, calls })
}

/// Whether there are enough calls to evaluate, and the share of bad ones reaches the threshold.
fn reaches_threshold(totals: &WindowTotals, threshold: f64, enough: u64) -> bool {
    totals.calls >= enough && totals.rate().is_some_and(|rate| rate >= threshold)
}
