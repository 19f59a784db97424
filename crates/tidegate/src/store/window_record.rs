use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{ReportedCalls, SharedWindow, WindowReport, WindowSpan, WindowTotals};

/// What a store keeps of the window of a circuit, as plain data: reports and the time of the store in, totals
/// out.
///
/// For a store of one's own. The script in `tidegate-redis` decides in the same way, by the same table of
/// cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowRecord {
    number: u64,
    results: SlicesBySpan,
    latencies: SlicesBySpan,
}

type SlicesBySpan = BTreeMap<WindowSpan, VecDeque<WindowSlice>>;

/// A part of a window: a tenth of it, or more if a report is larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowSlice {
    /// The tenth of a window of time, counted from the time zero of the store.
    tenth: u128,
    totals: WindowTotals,
}

const SLICES: u32 = 10;

impl WindowRecord {
    /// Adds the calls of a process, and returns those of all. `now` is the time of the store since any fixed
    /// moment.
    pub fn apply(&mut self, report: &WindowReport, now: Duration) -> SharedWindow {
        let is_over = report.closed_for.is_some_and(|closed_for| match report.number {
            0 => u128::from(self.number) < now.saturating_sub(closed_for).as_micros(),
            known => known == self.number,
        });
        if self.number == 0 || is_over {
            let number = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(self.number + 1);
            *self = Self { number, ..Self::default() };
        }
        let counts = report.number == 0 || report.closed_for.is_some() || report.number == self.number;
        let add = |windows: &mut SlicesBySpan, reported: Option<ReportedCalls>| {
            let Some(ReportedCalls { span, added }) = reported else { return WindowTotals::default() };
            let added = if counts { added } else { WindowTotals::default() };
            add_to(windows.entry(span).or_default(), span, added, now)
        };
        let results = add(&mut self.results, report.results);
        let latencies = add(&mut self.latencies, report.latencies);
        SharedWindow { number: self.number, results, latencies }
    }
}

/// Adds calls to the latest slice or to a new one, removes slices that are out of the window, and returns the
/// totals.
fn add_to(
    slices: &mut VecDeque<WindowSlice>,
    span: WindowSpan,
    added: WindowTotals,
    now: Duration,
) -> WindowTotals {
    let (tenth, is_full) = match span {
        WindowSpan::Calls(size) => {
            let is_full = |slice: &WindowSlice| slice.totals.calls >= u64::from(size.div_ceil(SLICES));
            (0, slices.back().is_none_or(is_full))
        }
        WindowSpan::Time(time) => {
            let tenth = now.as_micros() / (time.as_micros() / u128::from(SLICES)).max(1);
            // A clock that was set back by less than the window adds to the latest slice.
            slices.retain(|slice| slice.tenth.abs_diff(tenth) < SLICES.into());
            (tenth, slices.back().is_none_or(|slice| slice.tenth < tenth))
        }
    };
    if added.calls > 0 {
        if is_full {
            slices.push_back(WindowSlice { tenth, totals: WindowTotals::default() });
        }
        slices.iter_mut().last().into_iter().for_each(|slice| slice.totals.add(added));
    }
    let mut totals = WindowTotals::default();
    slices.iter().for_each(|slice| totals.add(slice.totals));
    if let WindowSpan::Calls(size) = span {
        while let Some(oldest) = slices.front().filter(|it| totals.calls - it.totals.calls >= size.into()) {
            totals.subtract(oldest.totals);
            slices.pop_front();
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::check_cases;

    fn span(text: &str) -> WindowSpan {
        match text.split_once(':').unwrap() {
            ("calls", size) => WindowSpan::Calls(size.parse().unwrap()),
            (_, micros) => WindowSpan::Time(Duration::from_micros(micros.parse().unwrap())),
        }
    }

    fn reported(part: &[&str]) -> ReportedCalls {
        let added = WindowTotals { bad: part[1].parse().unwrap(), calls: part[2].parse().unwrap() };
        ReportedCalls { span: span(part[0]), added }
    }

    /// The table is that of the script that decides in a store as well.
    #[test]
    fn the_record_decides_by_the_table_of_the_script() {
        let table = include_str!("../../../tidegate-redis/cases/window.txt");
        check_cases(
            table,
            |_| WindowRecord::default(),
            |record, step| {
                let report = WindowReport {
                    number: step[1].parse().unwrap(),
                    closed_for: match step[2] {
                        "0" => None,
                        micros => Some(Duration::from_micros(micros.parse().unwrap())),
                    },
                    results: Some(reported(&step[3..6])),
                    latencies: step.get(6..9).map(reported),
                };
                let view = record.apply(&report, Duration::from_micros(step[0].parse().unwrap()));
                let [results, latencies] =
                    [view.results, view.latencies].map(|totals| format!("{} {}", totals.bad, totals.calls));
                format!("{} {results} {latencies}", view.number)
            },
        );
    }

    fn report(span: WindowSpan, added: WindowTotals) -> WindowReport {
        let results = Some(ReportedCalls { span, added });
        WindowReport { number: 0, closed_for: None, results, latencies: None }
    }

    proptest! {
        /// A window by count is all calls, or at least its size and at most that, a tenth and a report more.
        /// It never has more than eleven slices.
        #[test]
        fn a_window_by_count_is_exact_to_a_slice(
            size in 1..500_u32,
            reports in prop::collection::vec((0..60_u64, 0..60_u64), 1..100),
        ) {
            let (mut record, mut all) = (WindowRecord::default(), 0);
            let span = WindowSpan::Calls(size);
            for (bad, good) in reports {
                all += bad + good;
                let totals = record.apply(&report(span, WindowTotals { bad, calls: bad + good }), Duration::ZERO).results;
                prop_assert!(totals.calls >= all.min(size.into()));
                prop_assert!(totals.calls <= u64::from(size + size.div_ceil(SLICES)) + 2 * 120);
                prop_assert!(totals.bad <= totals.calls);
                prop_assert!(record.results[&span].len() <= 11);
            }
        }

        /// A window of time has the calls of the last nine tenths, and none from before ten tenths.
        #[test]
        fn a_window_of_time_has_nine_to_ten_tenths(
            reports in prop::collection::vec((0..400_u64, 0..9_u64), 1..100),
        ) {
            let (mut record, mut all, mut now) = (WindowRecord::default(), Vec::new(), Duration::ZERO);
            let span = WindowSpan::Time(Duration::from_millis(1000));
            for (after, calls) in reports {
                now += Duration::from_millis(after);
                all.push((now, calls));
                let totals = record.apply(&report(span, WindowTotals { bad: 0, calls }), now).results;
                let within = |millis: u64| -> u64 {
                    let recent = all.iter().filter(|(at, _)| now - *at < Duration::from_millis(millis));
                    recent.map(|(_, calls)| calls).sum()
                };
                prop_assert!((within(900)..=within(1000)).contains(&totals.calls), "{totals:?}");
                prop_assert!(record.results[&span].len() <= 10);
            }
        }
    }
}
