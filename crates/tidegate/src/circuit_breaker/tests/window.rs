//! The windows, compared with windows that keep every call.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::circuit_breaker::window::{MAX_CALLS, Span, Window, WindowTotals};

const MILLI: Duration = Duration::from_millis(1);

/// Keeps every call, and counts from scratch.
struct Naive {
    span: Span,
    origin: Instant,
    calls: Vec<(Instant, bool)>,
}

impl Naive {
    fn totals(&self, now: Instant) -> WindowTotals {
        let slice = |at: Instant, length: Duration| (at - self.origin).as_nanos() / (length / 10).as_nanos();
        let seen: Vec<_> = match self.span {
            Span::Calls(size) => self.calls.iter().rev().take(size as usize).collect(),
            Span::Time(length) => {
                self.calls.iter().filter(|(at, _)| slice(*at, length) + 10 > slice(now, length)).collect()
            }
        };
        let bad = seen.iter().filter(|(_, bad)| *bad).count() as u64;
        WindowTotals { bad, calls: seen.len() as u64 }
    }
}

fn spans() -> impl Strategy<Value = Span> {
    prop_oneof![(1u32..200).prop_map(Span::Calls), (1u32..50).prop_map(|tens| Span::Time(10 * tens * MILLI)),]
}

proptest! {
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
    let (mut window, origin) = (Window::new(Span::Time(100 * MILLI)), Instant::now());
    window.push(true, origin);
    window.push(true, origin + 50 * MILLI);
    assert_eq!(window.push(true, origin + 20 * MILLI).bad, 3);
    assert_eq!(window.totals(origin + 109 * MILLI).bad, 2);
    assert_eq!(window.push(false, origin), WindowTotals { bad: 2, calls: 3 });
}

/// Pitfall P02 (docs/pitfalls.md): a window scanned all its calls, and grew without bound.
#[test]
fn absurd_spans_are_bounded_and_no_call_costs_more_than_another() {
    let now = Instant::now();
    for span in [
        Span::Calls(0),
        Span::Calls(u32::MAX),
        Span::Time(Duration::ZERO),
        Span::Time(Duration::MAX),
        Span::Time(Duration::from_secs(3_600)),
    ] {
        let mut window = Window::new(span);
        for second in 0..100_000 {
            window.push(second % 2 == 0, now + Duration::from_secs(second));
        }
        if let Window::Calls(_) = window {
            assert!(window.totals(now).calls <= u64::from(MAX_CALLS));
        }
        window.totals(now + Duration::from_secs(1 << 33));
    }
}
