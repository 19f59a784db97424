use std::time::{Duration, Instant};

use crate::circuit_breaker::settings::Settings;
use crate::store::{ReportedCalls, SharedWindow, WindowReport, WindowSpan, WindowTotals};

/// What a circuit with a shared window has beside its local one: the calls that are not reported to the store
/// yet, and the latest totals of all processes.
#[derive(Debug, Default)]
pub(crate) struct SharedWindows {
    unreported: UnreportedCalls,
    /// The number of the latest window in the store that this process has seen; 0 before the first.
    number: u64,
    /// When the circuit closed, if the store has not replied to a report since.
    closed_at: Option<Instant>,
    /// The number of times that the circuit closed. Reports from before do not count after.
    closings: u64,
    /// The window of all processes, and when the store returned it; `None` while the local window decides.
    window: Option<(SharedWindow, Instant)>,
}

/// The calls since the latest report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnreportedCalls {
    pub(crate) results: WindowTotals,
    pub(crate) latencies: WindowTotals,
}

/// A report on its way to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentReport {
    pub(crate) calls: UnreportedCalls,
    number: u64,
    closed_for: Option<Duration>,
    closings: u64,
}

impl SharedWindows {
    pub(crate) fn record_result(&mut self, is_failure: bool) {
        self.unreported.results.push(is_failure);
    }

    pub(crate) fn record_latency(&mut self, is_slow: bool) {
        self.unreported.latencies.push(is_slow);
    }

    pub(crate) fn has_unreported(&self) -> bool {
        self.unreported.results.calls > 0 || self.unreported.latencies.calls > 0
    }

    /// Whether the unreported calls could open the circuit by themselves.
    pub(crate) fn is_urgent(&self, settings: &Settings) -> bool {
        let reaches = |calls: WindowTotals, span| calls.bad > 0 && calls.calls >= settings.enough_calls(span);
        reaches(self.unreported.results, settings.window())
            || reaches(self.unreported.latencies, settings.slow_call_window())
    }

    /// Takes the calls since the latest report, if there are any. They are not reported again: whether the
    /// store has counted a report without a reply is not known.
    pub(crate) fn take_report(&mut self, now: Instant) -> Option<SentReport> {
        self.has_unreported().then(|| SentReport {
            calls: std::mem::take(&mut self.unreported),
            number: self.number,
            closed_for: self.closed_at.map(|at| now.saturating_duration_since(at)),
            closings: self.closings,
        })
    }

    /// Handles the reply of the store; without one the local window decides from now on. Returns whether the
    /// report is about the calls since the circuit closed for the last time.
    pub(crate) fn on_reply(&mut self, sent: &SentReport, reply: Option<SharedWindow>, now: Instant) -> bool {
        let is_current = sent.closings == self.closings;
        if is_current {
            self.window = reply.map(|window| (window, now));
            if let Some(window) = reply {
                (self.number, self.closed_at) = (window.number, None);
            }
        }
        is_current
    }

    /// The window of all processes, unless the local one decides.
    pub(crate) fn window(&self) -> Option<SharedWindow> {
        self.window.map(|(window, _)| window)
    }

    /// The window of all processes with the calls of this process that it lacks, as it is at `now`: the calls
    /// of a window of time are gone when that has passed.
    pub(crate) fn window_at(&self, settings: &Settings, now: Instant) -> Option<SharedWindow> {
        let (window, at) = self.window?;
        let age = now.saturating_duration_since(at);
        let totals = |mut totals: WindowTotals, unreported, span| {
            if matches!(span, WindowSpan::Time(time) if age >= time) {
                totals = WindowTotals::default();
            }
            totals.add(unreported);
            totals
        };
        Some(SharedWindow {
            results: totals(window.results, self.unreported.results, settings.window()),
            latencies: totals(window.latencies, self.unreported.latencies, settings.slow_call_window()),
            ..window
        })
    }

    /// The circuit has closed: its window begins anew, in all processes.
    pub(crate) fn clear(&mut self, now: Instant) {
        self.unreported = UnreportedCalls::default();
        self.window = None;
        self.closed_at = Some(now);
        self.closings += 1;
    }
}

impl SentReport {
    /// The report as the store gets it, with results and latencies if those count.
    pub(crate) fn report(&self, counts: (bool, bool), settings: &Settings) -> WindowReport {
        let reported = |span, added: WindowTotals| ReportedCalls { span, added };
        WindowReport {
            number: self.number,
            closed_for: self.closed_for,
            results: counts.0.then(|| reported(settings.window(), self.calls.results)),
            latencies: counts.1.then(|| reported(settings.slow_call_window(), self.calls.latencies)),
        }
    }
}
