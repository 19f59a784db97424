//! Calls that threads admit on credit.

use std::time::{Duration, Instant};

use http::Extensions;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::bucket::{Bucket, Rate};
use crate::clock;
use crate::rate_limit::cost::{CallCost, Reserved};
use crate::rate_limit::gate::RateDecision;
use crate::rate_limit::{Handle, OnLimit, RateLimitLayer};
use crate::testing::SECOND;
use crate::thread_shard::TEST_SHARD;

const RATE: u32 = 100_000;
const BURST: u32 = 200;

/// The calls of a credit with this rate and burst.
const CREDIT: u64 = 10;
const THREADS: usize = 3;

fn layer() -> RateLimitLayer {
    RateLimitLayer::per_second(RATE).burst_size(BURST)
}

fn admit(limit: &Handle, thread: usize, now: Instant) -> RateDecision {
    TEST_SHARD.with(|test| test.set(Some(thread)));
    limit.reserve(CallCost::ONE_CALL, &Extensions::new(), now)
}

fn is_admitted(limit: &Handle, thread: usize, now: Instant) -> bool {
    matches!(admit(limit, thread, now), RateDecision::Admitted(_))
}

/// A limit that rejects at once, with an open credit of every thread.
fn with_credits(layer: RateLimitLayer, now: Instant) -> Handle {
    let limit = layer.handle();
    for thread in 0..THREADS {
        assert!(is_admitted(&limit, thread, now));
        assert!(limit.0.queue.admit_on_credit(now).is_ok(), "no credit");
    }
    limit
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_several_threads_at_one_instant_is_exactly_the_burst() {
    let limit = layer().on_limit(OnLimit::Reject).handle();
    let now = clock::now();
    let admitted = (0..2 * BURST as usize).filter(|call| is_admitted(&limit, call % THREADS, now)).count();
    assert_eq!((admitted, limit.remaining()), (BURST as usize, Some(0)));
    let later = now + SECOND / RATE;
    assert!(is_admitted(&limit, 2, later) && !is_admitted(&limit, 0, later));
}

#[tokio::test(start_paused = true)]
async fn whatever_is_read_includes_the_calls_on_credit() {
    let limit = with_credits(layer(), clock::now());
    let used = 2 * THREADS as u32;
    assert_eq!((limit.remaining(), limit.capacity()), (Some(BURST - used), Some(BURST)));
    assert!(is_admitted(&limit, 0, clock::now()));
    assert_eq!(limit.remaining(), Some(BURST - used - 1));
    limit.reset();
    assert_eq!(limit.remaining(), Some(BURST));
}

/// A call that waits is served before every later one, also before one whose thread had a credit.
#[test]
fn no_call_on_credit_passes_one_that_waits() {
    let now = clock::now();
    let limit = with_credits(layer(), now);
    let drained = (0..BURST).take_while(|_| is_admitted(&limit, THREADS, now)).count();
    assert_eq!(drained, BURST as usize - 2 * THREADS);
    let waiting: Vec<_> = (0..=THREADS).map(|thread| admit(&limit, thread, now)).collect();
    assert!(waiting.iter().all(|decision| matches!(decision, RateDecision::Queued(_))));
}

#[test]
fn no_call_on_credit_passes_a_gate_that_the_provider_closed() {
    let now = clock::now();
    let limit = with_credits(layer().on_limit(OnLimit::Reject), now);
    limit.close_here(SECOND, true);
    assert!((0..THREADS).all(|thread| !is_admitted(&limit, thread, now)));
}

#[tokio::test(start_paused = true)]
async fn a_credit_is_used_for_a_millisecond_at_most() {
    let now = clock::now();
    let limit = with_credits(layer(), now);
    let later = now + Duration::from_millis(1);
    TEST_SHARD.with(|test| test.set(Some(0)));
    assert!(limit.0.queue.admit_on_credit(later).is_ok());
    let number = |decision| match decision {
        RateDecision::Admitted(Reserved { total_spent, .. }) => total_spent.calls,
        _ => panic!("not admitted"),
    };
    let late = later + Duration::from_nanos(1);
    // The credit is charged and opened again: the number is that of all calls that are charged.
    assert_eq!(number(admit(&limit, 0, late)), 1 + 3);
    assert_eq!(limit.remaining(), Some(BURST - 4 - 2 * (THREADS as u32 - 1)));
}

/// At usual rates nothing is on credit, and every wait is exact.
#[test]
fn a_quota_that_threads_do_not_contend_for_has_no_credits() {
    let now = clock::now();
    let per_second = RateLimitLayer::per_second(70_000);
    let with_tokens = layer().tokens_per_minute(1_000_000_000);
    let several = layer().quota(1_000_000_000, 60 * SECOND);
    let with_a_small_burst = layer().burst_size(100);
    for layer in [per_second, with_tokens, several, with_a_small_burst] {
        let limit = layer.handle();
        assert!(is_admitted(&limit, 0, now));
        assert!(limit.0.queue.admit_on_credit(now).is_err());
    }
}

#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Calls { thread: usize, calls: usize },
    Read,
    Refund(Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0u64..60_000).prop_map(Event::Pass),
        1 => (0u64..3_000_000).prop_map(Event::Pass),
        12 => (0..THREADS, 1usize..30).prop_map(|(thread, calls)| Event::Calls { thread, calls }),
        1 => Just(Event::Read),
        1 => any::<Index>().prop_map(Event::Refund),
    ]
}

proptest! {
    /// Pitfall P11 (docs/pitfalls.md), for threads that admit calls on credit.
    #[test]
    fn no_window_of_several_threads_admits_more_than_the_quota(events in prop::collection::vec(event(), 1..60)) {
        let limit = layer().on_limit(OnLimit::Reject).handle();
        let mut now = clock::now();
        let (mut admitted, mut open) = (Vec::<(Instant, u32)>::new(), Vec::<(usize, Reserved)>::new());
        for event in events {
            match event {
                Event::Pass(nanos) => now += Duration::from_nanos(nanos),
                Event::Calls { thread, calls } => for _ in 0..calls {
                    if let RateDecision::Admitted(reserved) = admit(&limit, thread, now) {
                        open.push((admitted.len(), reserved));
                        admitted.push((now, 1));
                    }
                },
                Event::Read => drop(limit.lock()),
                Event::Refund(which) => if !open.is_empty() {
                    let (call, reserved) = open.swap_remove(which.index(open.len()));
                    limit.lock().limits.refund(&reserved, now);
                    admitted[call].1 = 0;
                },
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut used = 0;
            for (to, calls) in &admitted[first..] {
                used += calls;
                let allowed = f64::from(BURST) + f64::from(RATE) * (*to - *from).as_secs_f64();
                prop_assert!(f64::from(used) <= allowed + 1e-6, "{used} of {allowed}");
            }
        }
    }

    /// A call is rejected at most a credit of each thread before the quota is used up.
    #[test]
    fn calls_on_credit_take_little_from_the_quota(events in prop::collection::vec(event(), 1..100)) {
        let limit = layer().on_limit(OnLimit::Reject).handle();
        let start = clock::now();
        let rate = Rate::new(u64::from(RATE).try_into().unwrap(), SECOND, u64::from(BURST).try_into().unwrap());
        let (mut now, mut exact) = (start, Bucket::new(rate, start));
        for event in events {
            match event {
                Event::Pass(nanos) => now += Duration::from_nanos(nanos),
                Event::Read => drop(limit.lock()),
                Event::Calls { thread, calls } => for _ in 0..calls {
                    if is_admitted(&limit, thread, now) { prop_assert!(exact.spend(1, now).is_ok()) } else { prop_assert!(exact.remaining(now) <= THREADS as u64 * CREDIT, "{}", exact.remaining(now)) }
                },
                Event::Refund(_) => {}
            }
        }
    }
}
