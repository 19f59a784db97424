use std::time::Duration;

/// The length of a window over calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowSpan {
    /// This number of the latest calls.
    Calls(u32),
    /// This time. The window advances in tenths, so that it covers the last nine to ten tenths.
    Time(Duration),
}

/// The number of calls and of bad calls in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTotals {
    /// The failed or slow calls.
    pub bad: u64,
    /// All calls.
    pub calls: u64,
}

/// The calls of a process since its previous report, for the window of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowReport {
    /// The [number](SharedWindow::number) of the window that the calls belong to, as far as this process
    /// knows; 0 if it knows none. Calls of another window do not count.
    pub number: u64,
    /// The circuit of this process closed this long ago, after that window, and these calls came later: they
    /// belong to a new window, which this report begins unless another process has done that. Without a
    /// number it does so if the window in the store began before the circuit closed.
    pub closed_for: Option<Duration>,
    /// The results of calls, if they are counted.
    pub results: Option<ReportedCalls>,
    /// The latencies of calls, if they are counted.
    pub latencies: Option<ReportedCalls>,
}

/// Calls, and the window that they are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportedCalls {
    /// The length of the window. One of another length is another window.
    pub span: WindowSpan,
    /// The calls.
    pub added: WindowTotals,
}

/// The calls of all processes in the window of a circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedWindow {
    /// Names the window, until a process begins a new one. It is not 0.
    pub number: u64,
    /// The results in it: failed calls and all.
    pub results: WindowTotals,
    /// The latencies in it: slow calls and all.
    pub latencies: WindowTotals,
}

impl WindowTotals {
    /// The share of bad calls from 0 to 1, or `None` without calls.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.calls > 0).then(|| self.bad as f64 / self.calls as f64)
    }

    pub(crate) fn push(&mut self, bad: bool) {
        self.calls += 1;
        self.bad += u64::from(bad);
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.bad = self.bad.saturating_add(more.bad);
    }

    pub(crate) fn subtract(&mut self, gone: Self) {
        self.calls -= gone.calls;
        self.bad -= gone.bad;
    }
}
