//! The share of bad calls among the recent ones: a sliding window over good and bad calls, by count or by
//! time.
//!
//! Both forms are those of Resilience4j (`FixedSizeSlidingWindowMetrics` and `SlidingTimeWindowMetrics`): a
//! ring with sums that are updated as samples come and go, so that a sample costs the same however long the
//! window is. They differ from it in size: a call is one bit here, and a time window always has ten slices.

use std::time::{Duration, Instant};

use crate::store::{WindowSpan, WindowTotals};

/// The recent calls, each either good or bad.
#[derive(Debug)]
pub(crate) enum Window {
    Calls(CallWindow),
    Time(TimeWindow),
}

/// A number of recent calls, one bit each.
#[derive(Debug)]
pub(crate) struct CallWindow {
    bits: Box<[u64]>,
    size: u32,
    /// The position of the next call. Once the ring is full, it holds the oldest call.
    next: u32,
    totals: WindowTotals,
}

/// The calls of a recent time, with totals for each tenth of it.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    slices: [WindowTotals; SLICES as usize],
    slice: u64,
    origin: Option<Instant>,
    /// The number of the latest slice, counted from the origin.
    latest: u64,
    totals: WindowTotals,
}

const SLICES: u64 = 10;

/// The largest window by count: 128 KiB.
pub(crate) const MAX_CALLS: u32 = 1 << 20;

/// The shortest window by time.
pub(crate) const MIN_SPAN: Duration = Duration::from_millis(SLICES);

impl Window {
    pub(crate) fn new(span: WindowSpan) -> Self {
        match span {
            WindowSpan::Calls(size) => Self::Calls(CallWindow::new(size.clamp(1, MAX_CALLS))),
            WindowSpan::Time(span) => Self::Time(TimeWindow::new(span.max(MIN_SPAN))),
        }
    }

    /// Adds a call, and returns the totals of the window with it.
    pub(crate) fn push(&mut self, bad: bool, now: Instant) -> WindowTotals {
        match self {
            Self::Calls(window) => window.push(bad),
            Self::Time(window) => window.push(bad, now),
        }
    }

    /// Whether good calls can be added later than they ended: the window does not depend on their time.
    pub(crate) fn is_by_calls(&self) -> bool {
        matches!(self, Self::Calls(_))
    }

    /// Adds good calls to a window by count.
    pub(crate) fn push_good(&mut self, calls: u64) {
        if let Self::Calls(window) = self {
            // More good calls than the window holds leave nothing else in it.
            for _ in 0..calls.min(window.size.into()) {
                window.push(false);
            }
        }
    }

    /// The totals of the window at `now`.
    pub(crate) fn totals(&mut self, now: Instant) -> WindowTotals {
        match self {
            Self::Calls(window) => window.totals,
            Self::Time(window) => window.advance(now),
        }
    }

    /// Removes all calls. The bits left in the ring are overwritten before they are read.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(window) => (window.next, window.totals) = (0, WindowTotals::default()),
            Self::Time(window) => {
                window.slices = Default::default();
                window.totals = WindowTotals::default();
            }
        }
    }
}

impl CallWindow {
    fn new(size: u32) -> Self {
        let bits = vec![0; size.div_ceil(u64::BITS) as usize].into_boxed_slice();
        Self { bits, size, next: 0, totals: WindowTotals::default() }
    }

    fn push(&mut self, bad: bool) -> WindowTotals {
        let (word, bit) = ((self.next / u64::BITS) as usize, 1 << (self.next % u64::BITS));
        if self.totals.calls == u64::from(self.size) {
            let oldest = self.bits[word] & bit != 0;
            self.totals.subtract(WindowTotals { bad: u64::from(oldest), calls: 1 });
        }
        self.bits[word] = if bad { self.bits[word] | bit } else { self.bits[word] & !bit };
        self.next = (self.next + 1) % self.size;
        self.totals.push(bad);
        self.totals
    }
}

impl TimeWindow {
    fn new(span: Duration) -> Self {
        let slice = u64::try_from(span.as_nanos() / u128::from(SLICES)).unwrap_or(u64::MAX);
        Self { slices: Default::default(), slice, origin: None, latest: 0, totals: WindowTotals::default() }
    }

    fn push(&mut self, bad: bool, now: Instant) -> WindowTotals {
        self.advance(now);
        self.slices[(self.latest % SLICES) as usize].push(bad);
        self.totals.push(bad);
        self.totals
    }

    /// Removes the slices that are too old. A `now` before the latest slice counts for the latest: two
    /// threads may read the clock in another order than they get here.
    fn advance(&mut self, now: Instant) -> WindowTotals {
        let origin = *self.origin.get_or_insert(now);
        let elapsed = now.saturating_duration_since(origin).as_nanos() / u128::from(self.slice);
        let latest = u64::try_from(elapsed).unwrap_or(u64::MAX);
        for number in (self.latest + 1..=latest).take(SLICES as usize) {
            let slice = &mut self.slices[(number % SLICES) as usize];
            self.totals.subtract(std::mem::take(slice));
        }
        self.latest = self.latest.max(latest);
        self.totals
    }
}
