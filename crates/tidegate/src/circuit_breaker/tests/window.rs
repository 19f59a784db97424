//! The windows, compared with windows that keep every call.

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use proptest::prelude::*;

use crate::circuit_breaker::circuit::window::{MAX_CALLS, Window};
use crate::store::{WindowSpan, WindowTotals};
use crate::testing::MILLI;

/// Keeps every call, and counts from scratch.
struct Naive {
    span: WindowSpan,
    origin: Instant,
    calls: Vec<(Instant, bool)>,
}

impl Naive {
    fn totals(&self, now: Instant) -> WindowTotals {
        let slice = |at: Instant, length: Duration| (at - self.origin).as_nanos() / (length / 10).as_nanos();
        let seen: Vec<_> = match self.span {
            WindowSpan::Calls(size) => self.calls.iter().rev().take(size as usize).collect(),
            WindowSpan::Time(length) => {
                self.calls.iter().filter(|(at, _)| slice(*at, length) + 10 > slice(now, length)).collect()
            }
        };
        let bad = seen.iter().filter(|(_, bad)| *bad).count() as u64;
        WindowTotals { bad, calls: seen.len() as u64 }
    }
}

fn spans() -> impl Strategy<Value = WindowSpan> {
    prop_oneof![
        (1u32..200).prop_map(WindowSpan::Calls),
        (1u32..50).prop_map(|tens| WindowSpan::Time(10 * tens * MILLI)),
    ]
}

proptest! {
    /// Seed items 36 and 71.
    #[test]
    fn a_window_equals_one_that_keeps_every_call(
        span in spans(), steps in prop::collection::vec((0u32..40, any::<bool>(), 0u8..40), 1..400),
    ) {
        let origin = Instant::now();
        let (mut window, mut naive) = (Window::new(span), Naive { span, origin, calls: Vec::new() });
        window.totals(origin);
        let mut now = origin;
        for (pause, bad, step) in steps {
            match step {
                0 => {
                    window.clear();
                    naive.calls.clear();
                }
                1 => now += 1_000 * pause * MILLI,
                _ => {
                    // Most calls follow each other closely.
                    now += pause.saturating_sub(20) * MILLI;
                    naive.calls.push((now, bad));
                    prop_assert_eq!(window.push(bad, now), naive.totals(now));
                }
            }
            prop_assert_eq!(window.totals(now), naive.totals(now));
        }
    }
}

#[test]
fn a_clock_read_out_of_order_counts_for_the_latest_slice() {
    let (mut window, origin) = (Window::new(WindowSpan::Time(100 * MILLI)), Instant::now());
    window.push(true, origin);
    window.push(true, origin + 50 * MILLI);
    assert_eq!(window.push(true, origin + 20 * MILLI).bad, 3);
    assert_eq!(window.totals(origin + 109 * MILLI).bad, 2);
    assert_eq!(window.push(false, origin), WindowTotals { bad: 2, calls: 3 });
}

#[test]
fn spans_out_of_range_are_clamped() {
    let now = Instant::now();
    let long_after = now + Duration::from_secs(1 << 33);
    for (span, calls) in [
        (WindowSpan::Calls(0), [1, 1]),
        (WindowSpan::Calls(u32::MAX), [2, 2]),
        (WindowSpan::Time(Duration::ZERO), [2, 0]),
        (WindowSpan::Time(Duration::MAX), [2, 2]),
    ] {
        let mut window = Window::new(span);
        window.push(false, now);
        window.push(true, now);
        let seen = [now + 9 * MILLI, long_after].map(|at| window.totals(at).calls);
        assert_eq!(seen, calls, "{span:?}");
    }
}

/// Pitfall P02 (docs/pitfalls.md): a window kept and scanned all its calls. Memory is a bit per call, or ten
/// slices, and is allocated once.
#[test]
fn a_window_allocates_its_fixed_size_once() {
    let now = Instant::now();
    for (span, bytes) in [
        (WindowSpan::Calls(64), 8),
        (WindowSpan::Calls(u32::MAX), u64::from(MAX_CALLS / 8)),
        (WindowSpan::Time(MILLI), 0),
        (WindowSpan::Time(Duration::from_secs(3_600)), 0),
    ] {
        let mut window = None;
        assert_eq!(measure(|| window = Some(Window::new(span))).bytes_total, bytes, "{span:?}");
        let mut window = window.unwrap();
        let of_calls = measure(|| {
            for second in 0..100_000 {
                window.push(second % 2 == 0, now + Duration::from_secs(second));
            }
        });
        assert_eq!(of_calls.count_total, 0, "{span:?}");
    }
    assert!(size_of::<Window>() <= 256, "{}", size_of::<Window>());
}

/// The time of the processor that this thread has used: other work on the machine does not count.
#[cfg(unix)]
fn thread_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}

#[cfg(not(unix))]
fn thread_time() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// Pitfall P02 (docs/pitfalls.md). A scan of the long window reads 2 048 words for each word of the short
/// window, so a limit of 20 is far from both results.
#[test]
fn a_call_costs_the_same_in_a_full_window_of_any_length() {
    const SHORT: u32 = u64::BITS;
    const LONG: u32 = 2_048 * SHORT;
    let now = Instant::now();
    // The time of a hundred calls, each `gap` after the one before, at its best of ten rounds.
    let cost = |span: WindowSpan, gap: Duration| {
        let mut window = Window::new(span);
        for number in 0..LONG {
            window.push(number % 2 == 0, now);
        }
        let mut at = now;
        let rounds = (0..10).map(|_| {
            let start = thread_time();
            for number in 0..100 {
                at += gap;
                black_box(window.push(number % 2 == 0, at));
                black_box(window.totals(at));
            }
            thread_time() - start
        });
        rounds.min().unwrap()
    };
    let short = cost(WindowSpan::Calls(SHORT), Duration::ZERO);
    for (span, gap) in [
        (WindowSpan::Calls(LONG), Duration::ZERO),
        (WindowSpan::Time(Duration::from_secs(3_600)), Duration::ZERO),
        // The window advances by as many slices as the long window has calls.
        (WindowSpan::Time(10 * MILLI), LONG * MILLI),
    ] {
        let long = cost(span, gap);
        assert!(long < 20 * short, "{span:?} with a gap of {gap:?}: {long:?}; a short window: {short:?}");
    }
}
