//! Properties of the quotas for any order of events.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use tower::{Layer, ServiceExt};

use crate::rate_limit::cost::{CallCost, Reserved};
use crate::rate_limit::quota::Quota;
use crate::rate_limit::quota_set::QuotaSet;
use crate::rate_limit::{OnLimit, RateLimitLayer};
use crate::testing::{SECOND, paused, request, strict, strict_behind};
use crate::{LimitUnit, clock};

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u64),
    Call(u64, u64),
    /// Ends a call that used this percentage of its reservation.
    Settle(Index, u64),
    Refund(Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0u64..3_000).prop_map(Event::Pass),
        4 => (1u64..80, 0u64..80).prop_map(|(input, output)| Event::Call(input, output)),
        2 => (any::<Index>(), 0u64..=300).prop_map(|(which, used)| Event::Settle(which, used)),
        1 => any::<Index>().prop_map(Event::Refund),
    ]
}

fn cost(input: u64, output: u64) -> CallCost {
    CallCost { calls: 1, input, output }
}

proptest! {
    /// Pitfall P11 (docs/pitfalls.md). No window of any offset admits more than burst + rate x time, in any
    /// unit, counted by what was finally used. What was used beyond the reservation counts when it is known,
    /// and delays the calls after it.
    #[test]
    fn no_window_admits_more_than_any_of_its_quotas(events in prop::collection::vec(event(), 1..150)) {
        let quotas = [
            Quota::new(LimitUnit::Requests, 5, SECOND),
            Quota::new(LimitUnit::Tokens, 600, 5 * SECOND),
            Quota::new(LimitUnit::OutputTokens, 1_000, 20 * SECOND),
        ];
        let start = Instant::now();
        let mut limits = QuotaSet::new(&quotas, None, start);
        let (mut now, mut calls, mut open) = (start, Vec::<(Instant, CallCost)>::new(), Vec::<(usize, Reserved)>::new());
        for event in events {
            match event {
                Event::Pass(ms) => now += Duration::from_millis(ms),
                Event::Call(input, output) => if let Ok(spent) = limits.try_reserve(&cost(input, output), 0, now) {
                    open.push((calls.len(), spent));
                    calls.push((now, spent.cost));
                },
                Event::Settle(which, percent) => if !open.is_empty() {
                    let (call, spent) = open.swap_remove(which.index(open.len()));
                    let used = spent.cost.output * percent / 100;
                    limits.settle(&spent, &cost(spent.cost.input, used), now);
                    calls[call].1.output = used.min(spent.cost.output);
                    let beyond = used.saturating_sub(spent.cost.output);
                    calls.push((now, CallCost { calls: 0, input: 0, output: beyond }));
                },
                Event::Refund(which) => if !open.is_empty() {
                    let (call, spent) = open.swap_remove(which.index(open.len()));
                    limits.refund(&spent, now);
                    calls[call].1 = CallCost::default();
                },
            }
        }
        for quota in quotas {
            let amount = quota.amount.get() as f64;
            for (first, (from, _)) in calls.iter().enumerate() {
                let mut used = 0;
                for (to, cost) in &calls[first..] {
                    used += cost.of(quota.unit);
                    let allowed = amount + amount * (*to - *from).as_secs_f64() / quota.period.as_secs_f64();
                    let is_admission = cost.calls > 0;
                    prop_assert!(!is_admission || used as f64 <= allowed + 1e-6, "{quota:?}: {used} of {allowed}");
                }
            }
        }
    }

    /// The final remaining amount is the same as if every call had cost its final use from the start. Late
    /// settlement neither loses nor creates tokens, however large the error of the estimate. The period is a
    /// century, so that hardly anything refills. Another call comes first, so that the bucket is in use.
    #[test]
    fn the_sum_of_settled_costs_is_what_the_provider_counted(
        calls in prop::collection::vec((1u64..500, 0u64..500, 0u64..1_000, any::<Index>()), 1..60),
    ) {
        let start = Instant::now();
        let quota = Quota::new(LimitUnit::Tokens, 1_000_000, Duration::from_secs(3_000_000_000));
        let mut limits = QuotaSet::new(&[quota], None, start);
        let (mut open, mut counted) = (Vec::<(Reserved, u64)>::new(), 0);
        let mut now = start;
        limits.try_reserve(&cost(100_000, 0), 0, now).unwrap();
        for (input, output, used, which) in calls {
            now += Duration::from_millis(used);
            let spent = limits.try_reserve(&cost(input, output), 0, now).unwrap();
            open.push((spent, used));
            if used.is_multiple_of(3) {
                let (spent, used) = open.swap_remove(which.index(open.len()));
                limits.settle(&spent, &cost(0, used), now);
                counted += used;
            }
        }
        while !open.is_empty() {
            let (spent, used) = open.remove(0);
            limits.settle(&spent, &cost(0, used), now);
            counted += used;
        }
        prop_assert_eq!(limits.remaining(LimitUnit::is_tokens, now), Some(900_000 - counted));
    }

    /// Wherever calls are dropped, in the queue or in flight: no dropped call stays counted as waiting. The
    /// remaining calls are served in order of arrival, and no faster than the quota.
    #[test]
    fn remaining_calls_are_served_in_order_wherever_others_are_dropped(
        drop_times in prop::collection::vec(prop::option::of(0u64..3_000), 1..30),
    ) {
        paused().block_on(async {
            let layer = RateLimitLayer::per_second(10).burst_size(2).max_wait(60 * SECOND);
            let (service, provider) = strict_behind(&layer);
            let mut calls = Vec::new();
            for (number, drop_after) in drop_times.iter().enumerate() {
                let mut request = request();
                request.headers_mut().insert("number", number.into());
                let call = service.clone().oneshot(request);
                let drop_after = *drop_after;
                calls.push(tokio::spawn(async move {
                    match drop_after {
                        None => call.await.is_ok(),
                        Some(ms) => tokio::time::timeout(Duration::from_millis(ms), call).await.is_ok(),
                    }
                }));
                tokio::task::yield_now().await;
            }
            let mut served = 0;
            for (call, drop_after) in calls.into_iter().zip(&drop_times) {
                let was_served = call.await.unwrap();
                assert!(was_served || drop_after.is_some(), "a call that was not dropped was not served");
                served += usize::from(was_served);
            }
            assert_eq!((layer.handle().waiting(), provider.calls()), (0, served));
            let received = provider.requests();
            let number = |at: usize| received[at].headers["number"].to_str().unwrap().parse::<usize>().unwrap();
            for at in 1..received.len() {
                assert!(number(at - 1) < number(at), "out of order");
            }
            for (at, last) in received.iter().enumerate().skip(2) {
                assert!(last.at - received[0].at >= Duration::from_millis(100) * (at as u32 - 1));
            }
            let start = clock::now();
            service.oneshot(request()).await.unwrap();
            assert!(clock::now() - start <= Duration::from_millis(101), "the queue head was lost");
        });
    }

    #[test]
    fn a_full_queue_rejects_and_max_waiting_is_never_exceeded(max_waiting in 0usize..8, calls in 1usize..20) {
        paused().block_on(async {
            let (inner, _provider) = strict();
            let layer = RateLimitLayer::per_minute(1).max_wait(3_600 * SECOND).max_waiting(max_waiting);
            assert_eq!(layer.handle().peek(None), None);
            let service = layer.layer(inner);
            service.clone().oneshot(request()).await.unwrap();
            let mut tasks: Vec<_> =
                (0..calls).map(|_| tokio_test::task::spawn(service.clone().oneshot(request()))).collect();
            let rejected = tasks.iter_mut().map(|task| task.poll()).filter(|poll| poll.is_ready()).count();
            assert_eq!(rejected, calls.saturating_sub(max_waiting));
            assert_eq!(layer.handle().waiting(), calls.min(max_waiting));
            drop(tasks);
            assert_eq!(layer.handle().waiting(), 0);
            let rejecting = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
            assert!(rejecting.handle().peek(None).is_none());
        });
    }
}
