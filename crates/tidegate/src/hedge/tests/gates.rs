//! A hedge passes the gates, waits at none of them, and leaves nothing there when it loses.

use super::*;
use crate::circuit_breaker::State;
use crate::rate_limit::OnLimit;
use crate::{BackpressureLayer, CircuitBreakerLayer, KeyBy, LimitUnit, RateLimitLayer, Resilience};
use tidegate_testkit::strict::Strict;

fn gated(name: &str) -> ResilienceBuilder {
    stack(name)
        .backpressure(BackpressureLayer::max_inflight(2))
        .rate_limit(RateLimitLayer::per_second(10).burst_size(10))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1))
}

/// The calls of a stack that is late, with one more call in flight.
async fn late_calls(builder: ResilienceBuilder, prepare: impl FnOnce(&Resilience<Strict<Payload>>)) -> usize {
    let (mut service, provider) = strict_behind(&builder.build());
    warm_up(&mut service, &provider).await;
    prepare(&service);
    provider.otherwise(Answer::status(200).after(20 * SECOND));
    let before = provider.calls();
    call(&mut service).await.unwrap();
    let snapshot = service.signals().snapshot();
    assert_eq!((snapshot.queued, snapshot.rate_waiting), (0, 0));
    let hedge = snapshot.hedge.unwrap();
    assert_eq!((hedge.hedges + hedge.unavailable, hedge.out_of_budget), (1, 0));
    provider.calls() - before
}

#[tokio::test(start_paused = true)]
async fn a_hedge_does_not_wait_for_a_permit_or_a_quota() {
    assert_eq!(late_calls(gated("a/m"), |_| ()).await, 2);
    assert_eq!(late_calls(gated("a/m").backpressure(BackpressureLayer::max_inflight(1)), |_| ()).await, 1);
    for on_limit in [OnLimit::Wait, OnLimit::Reject] {
        let rate_limit = RateLimitLayer::new().quota(1, SECOND).on_limit(on_limit);
        let slow = rate_limit.burst_size(1);
        // The first request has left room for the second by then.
        assert_eq!(late_calls(gated("a/m").rate_limit(slow), |_| ()).await, 2);
        let rate_limit = RateLimitLayer::new()
            .quota(u32::from(USUAL_CALLS as u16) + 1, 100_000 * SECOND)
            .on_limit(on_limit);
        assert_eq!(late_calls(gated("a/m").rate_limit(rate_limit), |_| ()).await, 1);
    }
}

/// There is room within the `max_wait` of the rate limit, and not now.
#[tokio::test(start_paused = true)]
async fn a_hedge_does_not_wait_for_a_quota_that_has_room_soon() {
    let rate_limit = RateLimitLayer::new().quota(1, 8 * SECOND).burst_size(USUAL_CALLS);
    let (mut service, provider) = strict_behind(&gated("a/m").rate_limit(rate_limit).build());
    warm_up(&mut service, &provider).await;
    while service.signals().snapshot().rate_remaining > Some(1) {
        call(&mut service).await.unwrap();
    }
    provider.otherwise(Answer::status(200).after(20 * SECOND));
    let before = provider.calls();
    call(&mut service).await.unwrap();
    let snapshot = service.signals().snapshot();
    assert_eq!((provider.calls() - before, snapshot.rate_waiting), (1, 0));
    assert_eq!(snapshot.hedge.unwrap().unavailable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_circuit_is_not_closed_gets_no_hedge() {
    for is_half_open in [false, true] {
        let ((first, primary), (second, other)) = (strict(), strict());
        let breaker = CircuitBreakerLayer::new().failure_threshold(1).cooldown(SECOND / 2);
        let circuit = breaker.handle();
        let next = gated("b/m").hedge(HedgeLayer::disabled()).circuit_breaker(breaker).service(second);
        let hedge = HedgeLayer::new().same_target(false);
        let mut chain = stack("a/m")
            .hedge(hedge)
            .fallback(FallbackLayer::new().then_addressed("b/m", next.clone()))
            .service(first);
        warm_up(&mut chain, &primary).await;
        if is_half_open {
            other.answer(500);
            call(&mut next.clone()).await.unwrap();
        } else {
            circuit.force_open()
        }
        let before = other.calls();
        primary.answer(200).after(20 * SECOND);
        let mut events = subscribe_to("b/m");
        let response = call(&mut chain).await.unwrap();
        assert_eq!((other.calls() - before, primary.live_futures()), (0, 0));
        let state = if is_half_open { State::HalfOpen } else { State::Open };
        assert_eq!((circuit.state(), circuit.snapshot().probes), (state, 0));
        assert!(events.try_next().is_none() && response.extensions().get::<HedgeInfo>().is_none());
        assert_eq!(chain.signals().snapshot().hedge.unwrap().unavailable, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempt_that_loses_returns_what_it_holds_and_is_neutral() {
    for hedge_wins in [true, false] {
        let (inner, provider) = strict();
        let breaker = CircuitBreakerLayer::new().failure_threshold(1);
        let quota = RateLimitLayer::new().quota_of(LimitUnit::Tokens, 1_000_000, 1_000_000_000 * SECOND);
        let mut service = gated("a/m").circuit_breaker(breaker.clone()).rate_limit(quota).service(inner);
        warm_up(&mut service, &provider).await;
        let (slow, fast) =
            (Answer::hang(), Answer::status(200).after(2 * SECOND).frame("a").pause(SECOND).frame("b"));
        let [first, second] = if hedge_wins { [slow, fast] } else { [fast, slow] };
        provider.then(first);
        provider.then(second);
        let signals = service.signals();
        let before = (signals.snapshot().tokens_remaining.unwrap(), signals.circuit_metrics());
        let response = call(&mut service).await.unwrap();
        assert_eq!((signals.snapshot().current_inflight, provider.live_futures()), (1, 0));
        response.into_body().collect().await.unwrap();
        assert_eq!(signals.snapshot().current_inflight, 0);
        let after = signals.circuit_metrics();
        assert_eq!(
            (after.total_failures, breaker.handle().state()),
            (before.1.total_failures, State::Closed)
        );
        // The output of the attempt that lost is possibly billed, and that of the other is not reported.
        let used = before.0 - signals.snapshot().tokens_remaining.unwrap();
        assert_eq!(used, 1_000);
    }
}

/// The tenant has a rate of its own, which the first attempt has used up.
#[tokio::test(start_paused = true)]
async fn the_state_of_its_key_decides() {
    let rate_limit = RateLimitLayer::new().quota(1, 1_000 * SECOND).key_by(KeyBy::tenant());
    let (mut service, provider) = strict_behind(&gated("a/m").rate_limit(rate_limit).build());
    for number in 0..USUAL_CALLS {
        provider.answer(200).after(SECOND);
        send(&mut service, of_tenant(&number.to_string())).await.unwrap();
    }
    provider.answer(200).after(10 * SECOND);
    send(&mut service, of_tenant("late")).await.unwrap();
    let snapshot = service.signals().snapshot();
    assert_eq!((provider.calls(), snapshot.rate_waiting), (USUAL_CALLS as usize + 1, 0));
    assert_eq!(snapshot.hedge.unwrap().unavailable, 1);
}

/// A service that is not ready would have to be waited for.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_gets_no_hedge() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new());
    warm_up(&mut service, &provider).await;
    provider.answer(200).after(10 * SECOND);
    let mut late = tokio_test::task::spawn(service.send(request()));
    assert!(late.poll().is_pending());
    provider.block();
    assert_eq!(late.await.unwrap().status(), 200);
    provider.unblock();
    assert_eq!(
        (provider.calls(), service.handle().hedges().unwrap().unavailable),
        (USUAL_CALLS as usize + 1, 1)
    );
}

/// What was not sent is not paid: the budget has two hedges at this point.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_no_target_could_take_costs_no_budget() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new());
    warm_up(&mut service, &provider).await;
    for number in 1..=4 {
        provider.answer(200).after(number * 10 * SECOND);
        let mut late = tokio_test::task::spawn(service.send(request()));
        assert!(late.poll().is_pending());
        provider.block();
        late.await.unwrap();
        provider.unblock();
    }
    provider.answer(200).after(100 * SECOND);
    provider.answer(200);
    call(&mut service).await.unwrap();
    let statistics = service.handle().hedges().unwrap();
    assert_eq!((statistics.unavailable, statistics.out_of_budget, statistics.won), (4, 0, 1));
}
