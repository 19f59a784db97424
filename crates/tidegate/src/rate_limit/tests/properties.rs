//! What holds whatever comes, in any order.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use tower::{Layer, ServiceExt};

use crate::rate_limit::quota_set::{QuotaSet, Reserved};
use crate::rate_limit::quota::{CallCost, Quota};
use crate::rate_limit::{OnLimit, RateLimitLayer};
use crate::testing::{request, strict};
use crate::{LimitUnit, clock};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Act {
    Pass(u64),
    Call(u64, u64),
    /// Ends a call: with so many percent of what it had reserved.
    Settle(Index, u64),
    Refund(Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0u64..3_000).prop_map(Act::Pass),
        4 => (1u64..80, 0u64..80).prop_map(|(input, output)| Act::Call(input, output)),
        2 => (any::<Index>(), 0u64..=100).prop_map(|(which, used)| Act::Settle(which, used)),
        1 => any::<Index>().prop_map(Act::Refund),
    ]
}

fn cost(input: u64, output: u64) -> CallCost {
    CallCost { calls: 1, input, output }
}

proptest! {
    /// P11: no window of any offset admits more than burst + rate x time, in any currency, of what was used in the end.
    #[test]
    fn p11_no_window_admits_more_than_any_of_its_quotas(acts in prop::collection::vec(act(), 1..150)) {
        let quotas = [
            Quota::new(LimitUnit::Requests, 5, SECOND),
            Quota::new(LimitUnit::Tokens, 600, 5 * SECOND),
            Quota::new(LimitUnit::OutputTokens, 1_000, 20 * SECOND),
        ];
        let start = Instant::now();
        let mut limits = QuotaSet::new(&quotas, None, start);
        let (mut now, mut calls, mut open) = (start, Vec::<(Instant, CallCost)>::new(), Vec::<(usize, Reserved)>::new());
        for act in acts {
            match act {
                Act::Pass(ms) => now += Duration::from_millis(ms),
                Act::Call(input, output) => if let Ok(spent) = limits.try_reserve(&cost(input, output), 0, now) {
                    open.push((calls.len(), spent));
                    calls.push((now, spent.cost));
                },
                Act::Settle(which, percent) => if !open.is_empty() {
                    let (call, spent) = open.swap_remove(which.index(open.len()));
                    let used = cost(spent.cost.input, spent.cost.output * percent / 100);
                    limits.settle(&spent, &used, now);
                    calls[call].1 = used;
                },
                Act::Refund(which) => if !open.is_empty() {
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
                    prop_assert!(used as f64 <= allowed + 1e-6, "{quota:?}: {used} of {allowed}");
                }
            }
        }
    }

    /// What is left in the end is what would be if every call had cost from the start what it came to: nothing is lost
    /// and nothing made by settling late, however much was over- or underestimated. A quota of a century, so that what
    /// refills is next to nothing, and somebody else's call first, so that the bucket is in use.
    #[test]
    fn the_sum_of_what_was_settled_is_what_the_provider_counted(
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

    /// Wherever calls are dropped, in the queue or under way: nobody stays counted as waiting, those who are left are
    /// served in the order in which they came, and no faster than the quota.
    #[test]
    fn those_who_stay_are_served_in_order_wherever_others_leave(
        fates in prop::collection::vec(prop::option::of(0u64..3_000), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (inner, provider) = strict();
            let layer = RateLimitLayer::per_second(10).burst_size(2).max_wait(60 * SECOND);
            let service = layer.layer(inner);
            let mut calls = Vec::new();
            for (number, fate) in fates.iter().enumerate() {
                let mut request = request();
                request.headers_mut().insert("number", number.into());
                let call = service.clone().oneshot(request);
                let fate = *fate;
                calls.push(tokio::spawn(async move {
                    match fate {
                        None => call.await.is_ok(),
                        Some(ms) => tokio::time::timeout(Duration::from_millis(ms), call).await.is_ok(),
                    }
                }));
                tokio::task::yield_now().await;
            }
            let mut served = 0;
            for (call, fate) in calls.into_iter().zip(&fates) {
                let was_served = call.await.unwrap();
                assert!(was_served || fate.is_some(), "one who stayed was not served");
                served += usize::from(was_served);
            }
            assert_eq!((layer.handle().waiting(), provider.calls()), (0, served));
            let seen = provider.requests();
            let number = |at: usize| seen[at].headers["number"].to_str().unwrap().parse::<usize>().unwrap();
            for at in 1..seen.len() {
                assert!(number(at - 1) < number(at), "out of order");
            }
            for (at, last) in seen.iter().enumerate().skip(2) {
                assert!(last.at - seen[0].at >= Duration::from_millis(100) * (at as u32 - 1));
            }
            let start = clock::now();
            service.oneshot(request()).await.unwrap();
            assert!(clock::now() - start <= Duration::from_millis(101), "a turn was lost");
        });
    }

    #[test]
    fn a_full_queue_refuses_and_no_more_wait_than_may(max_waiting in 0usize..8, calls in 1usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (inner, _provider) = strict();
            let layer = RateLimitLayer::per_minute(1).max_wait(3_600 * SECOND).max_waiting(max_waiting);
            assert_eq!(layer.handle().peek(None), None);
            let service = layer.layer(inner);
            service.clone().oneshot(request()).await.unwrap();
            let mut tasks: Vec<_> =
                (0..calls).map(|_| tokio_test::task::spawn(service.clone().oneshot(request()))).collect();
            let refused = tasks.iter_mut().map(|task| task.poll()).filter(|poll| poll.is_ready()).count();
            assert_eq!(refused, calls.saturating_sub(max_waiting));
            assert_eq!(layer.handle().waiting(), calls.min(max_waiting));
            drop(tasks);
            assert_eq!(layer.handle().waiting(), 0);
            let rejecting = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
            assert!(rejecting.handle().peek(None).is_none());
        });
    }
}
