use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::condition::Condition;
use super::monitor::Monitor;
use super::{Alert, AlertEnd, AlertKind, AlertState, ChainSignals, Settings};
use crate::circuit_breaker::{EvaluatedRates, State};
use crate::stack::{CircuitForAlerts, SignalsSnapshot};
use crate::testing::{SECOND, of_tenant, request, send, strict, strict_behind};
use crate::{CircuitBreakerLayer, KeyBy, Payload, RateLimitLayer, ResilienceBuilder, clock};
use tidegate_testkit::strict::Answer;

fn healthy(target: &str) -> SignalsSnapshot {
    let layer = ResilienceBuilder::new(target).build();
    layer.signals().snapshot()
}

fn open(target: &str) -> SignalsSnapshot {
    let for_alerts = circuit(State::Open, 0.05, 0.1, false);
    SignalsSnapshot { circuit_state: State::Open, for_alerts, admits_calls: false, ..healthy(target) }
}

/// A circuit with these rates of enough calls.
fn circuit(state: State, failures: f64, slow_calls: f64, is_probing: bool) -> CircuitForAlerts {
    let rates = EvaluatedRates { failures: Some(failures), slow_calls: Some(slow_calls), lapsed: None };
    CircuitForAlerts::of(state, is_probing, rates)
}

/// The alerts of a monitor that reads `signals` every second for `seconds`.
fn observe(
    monitor: &mut Monitor,
    now: &mut Instant,
    seconds: u32,
    signals: &[SignalsSnapshot],
) -> Vec<(AlertKind, AlertState, Duration)> {
    let mut alerts = Vec::new();
    for _ in 0..seconds {
        let at_once = monitor.observe(signals, &[], *now);
        alerts.extend(at_once.into_iter().map(|Alert { alert, state, held, .. }| (alert, state, held)));
        *now += SECOND;
    }
    alerts
}

/// Seed item 83.
#[test]
fn each_threshold_raises_its_alert_and_clears_it() {
    use AlertKind::{AllTargetsCooling, CircuitOpen, QuotaNearlySpent, SlowRate, SuccessRate};
    let good = || SignalsSnapshot {
        for_alerts: circuit(State::Closed, 0.05, 0.1, false),
        tokens_remaining: Some(1_000),
        tokens_capacity: Some(1_000),
        ..healthy("a/b")
    };
    let for_alerts = circuit(State::Open, 0.05, 0.1, false);
    let open = SignalsSnapshot { circuit_state: State::Open, for_alerts, admits_calls: false, ..good() };
    let cases: [(SignalsSnapshot, &[(AlertKind, u64)]); 6] = [
        (
            SignalsSnapshot { for_alerts: circuit(State::Closed, 0.11, 0.1, false), ..good() },
            &[(SuccessRate, 30)],
        ),
        (
            SignalsSnapshot { for_alerts: circuit(State::Closed, 0.05, 0.51, false), ..good() },
            &[(SlowRate, 30)],
        ),
        (SignalsSnapshot { tokens_remaining: Some(99), ..good() }, &[(QuotaNearlySpent, 30)]),
        (
            SignalsSnapshot {
                circuit_state: State::HalfOpen,
                for_alerts: circuit(State::HalfOpen, 0.05, 0.1, true),
                ..good()
            },
            &[(CircuitOpen, 60)],
        ),
        (SignalsSnapshot { admits_calls: false, ..good() }, &[(AllTargetsCooling, 30)]),
        (open, &[(AllTargetsCooling, 30), (CircuitOpen, 60)]),
    ];
    for (bad, expected) in cases {
        let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
        assert_eq!(observe(&mut monitor, &mut now, 100, &[good()]), []);
        let raised = observe(&mut monitor, &mut now, 300, std::slice::from_ref(&bad));
        let at = |seconds: u64| Duration::from_secs(seconds);
        let expect = |state, after: fn(u64) -> u64| {
            expected.iter().map(|(kind, held)| (*kind, state, at(after(*held)))).collect::<Vec<_>>()
        };
        assert_eq!(raised, expect(AlertState::Raised, |held| held), "{bad:?}");
        let mut cleared = observe(&mut monitor, &mut now, 300, &[good()]);
        cleared.sort_by_key(|(kind, ..)| std::cmp::Reverse(*kind));
        assert_eq!(cleared, expect(AlertState::Cleared, |_| 60), "{bad:?}");
    }
}

#[test]
fn one_target_that_admits_calls_is_enough() {
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let open = open("a/b");
    let alerts = observe(&mut monitor, &mut now, 300, &[open, healthy("c/d")]);
    assert_eq!(alerts, [(AlertKind::CircuitOpen, AlertState::Raised, 60 * SECOND)]);
    let nothing = observe(&mut Monitor::new(Settings::default()), &mut now, 300, &[]);
    assert_eq!(nothing, [], "without targets nothing degrades");
}

#[test]
fn a_chain_without_a_target_that_admits_calls_has_an_alert_of_its_own() {
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let open = open("a/b");
    let signals = [open.clone(), healthy("c/d")];
    let chain = |name: &str, targets: &[SignalsSnapshot]| ChainSignals {
        name: name.into(),
        targets: targets.to_vec(),
    };
    let chains = [chain("first", &signals[..1]), chain("both", &signals), chain("none", &[])];
    let mut raised = Vec::new();
    for _ in 0..40 {
        raised.extend(monitor.observe(&signals, &chains, now));
        now += SECOND;
    }
    let [alert] = &raised[..] else { panic!("{raised:?}") };
    assert_eq!(alert.to_string(), "first: no target admits calls for 30s");
    // The settings are replaced, and what is raised stays so.
    monitor.set_settings(Settings { clear_after: SECOND, ..Settings::default() });
    monitor.observe(&signals[1..], &chains[1..], now);
    let cleared = monitor.observe(&signals[1..], &chains[1..], now + SECOND);
    assert_eq!(
        cleared.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["first: no longer configured for 1s"]
    );
}

/// The share is that of a full quota, also if it has never been seen full.
#[test]
fn the_share_of_a_quota_is_that_of_its_capacity() {
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    for (rate_remaining, tokens_remaining, is_raised) in [(9, 100, true), (50, 100, false), (50, 9, true)] {
        let signals = SignalsSnapshot {
            rate_remaining: Some(rate_remaining),
            rate_capacity: Some(100),
            tokens_remaining: Some(tokens_remaining),
            tokens_capacity: Some(100),
            ..healthy("a/b")
        };
        let alerts = observe(&mut monitor, &mut now, 100, &[signals]);
        let expected = if is_raised { AlertState::Raised } else { AlertState::Cleared };
        let states: Vec<_> = alerts.iter().map(|(kind, state, _)| (*kind, *state)).collect();
        assert_eq!(states, [(AlertKind::QuotaNearlySpent, expected)]);
    }
}

#[test]
fn the_text_of_a_cleared_alert_does_not_contradict_itself() {
    use AlertKind::{AllTargetsCooling, CircuitOpen, QuotaNearlySpent, SlowRate, SuccessRate};
    for (alert, value, raised, cleared) in [
        (SuccessRate, Some(0.5), "50 % of the calls succeed", "50 % of the calls succeed again"),
        (SuccessRate, None, "too few of the calls succeed", "enough of the calls succeed again"),
        (SlowRate, Some(0.2), "20 % of the calls are slow", "only 20 % of the calls are slow"),
        (SlowRate, None, "too many of the calls are slow", "only few of the calls are slow"),
        (CircuitOpen, None, "circuit not closed", "circuit no longer open"),
        (QuotaNearlySpent, Some(0.05), "5 % of a quota left", "5 % of each quota left again"),
        (QuotaNearlySpent, None, "little of a quota left", "enough of each quota left again"),
        (AllTargetsCooling, None, "no target admits calls", "a target admits calls again"),
    ] {
        for (state, text) in [(AlertState::Raised, raised), (AlertState::Cleared, cleared)] {
            let at = std::time::SystemTime::now();
            let end = (state == AlertState::Cleared).then_some(AlertEnd::Recovered);
            let alert = Alert { at, target: "a/b".into(), alert, state, end, value, held: 60 * SECOND };
            assert_eq!(alert.to_string(), format!("a/b: {text} for 60s"));
        }
    }
}

/// Regression: the texts of these ends were those of a recovery.
#[test]
fn the_end_of_an_alert_that_is_no_recovery_says_so() {
    let targets = [open("a/b"), healthy("c/d")];
    let chain =
        |targets: &[SignalsSnapshot]| vec![ChainSignals { name: "chain".into(), targets: targets.to_vec() }];
    let raised = |now: &mut Instant| {
        let mut monitor = Monitor::new(Settings::default());
        for _ in 0..70 {
            monitor.observe(&targets, &chain(&targets[..1]), *now);
            *now += SECOND;
        }
        monitor
    };
    let ends = |alerts: Vec<Alert>| {
        let of_alert = |alert: Alert| (alert.to_string(), alert.end.unwrap(), alert.state);
        alerts.into_iter().map(of_alert).collect::<Vec<_>>()
    };
    let end = |text: &str, end| (text.to_owned(), end, AlertState::Cleared);
    let removed = |text| end(text, AlertEnd::Removed);
    let unwatched = |text| end(text, AlertEnd::Unwatched);
    let mut now = Instant::now();

    let mut monitor = raised(&mut now);
    monitor.observe(&targets[1..], &[], now);
    let alerts = monitor.observe(&targets[1..], &[], now + 60 * SECOND);
    assert_eq!(
        ends(alerts),
        [removed("a/b: no longer configured for 60s"), removed("chain: no longer configured for 60s")]
    );

    let mut monitor = raised(&mut now);
    monitor.set_settings(Settings { all_targets: false, ..Settings::default() });
    monitor.observe(&targets, &[], now);
    let alerts = monitor.observe(&targets, &[], now + 60 * SECOND);
    assert_eq!(ends(alerts), [unwatched("chain: alert no longer configured")]);

    // A threshold that no share crosses switches its alert off.
    let low = SignalsSnapshot { for_alerts: circuit(State::Closed, 0.5, 0.6, false), ..healthy("a/b") };
    let off = Settings { success_rate: 0.0, slow_rate: 1.0, ..Settings::default() };
    let mut monitor = Monitor::new(Settings::default());
    let low = std::slice::from_ref(&low);
    assert_eq!(observe(&mut monitor, &mut now, 100, low).len(), 2);
    monitor.set_settings(off);
    monitor.observe(low, &[], now);
    let alerts = monitor.observe(low, &[], now + 60 * SECOND);
    assert_eq!(ends(alerts), [0, 1].map(|_| unwatched("a/b: alert no longer configured")));

    let alerts = raised(&mut now).clear(now);
    assert_eq!(
        ends(alerts),
        [unwatched("a/b: alert no longer configured"), unwatched("chain: alert no longer configured")]
    );
}

#[test]
fn the_alert_of_a_target_that_is_gone_is_cleared() {
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let open = open("a/b");
    observe(&mut monitor, &mut now, 100, &[open, healthy("c/d")]);
    let alerts = observe(&mut monitor, &mut now, 100, &[healthy("c/d")]);
    assert_eq!(alerts, [(AlertKind::CircuitOpen, AlertState::Cleared, 60 * SECOND)]);
}

#[tokio::test(start_paused = true)]
async fn the_signals_of_a_stack_raise_alerts_as_time_passes() {
    let (inner, provider) = strict();
    let circuit = CircuitBreakerLayer::new().failure_threshold(1).cooldown(90 * SECOND);
    let quota = RateLimitLayer::per_day(10).follow_headers(false);
    let mut stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit).rate_limit(quota).service(inner);
    let mut alerts = stack.signals().on_degraded(Settings::default());
    let started = tokio::time::Instant::now();
    provider.answer(503);
    for _ in 0..2 {
        let _ = send(&mut stack, http::Request::post("http://p/").body(Payload::empty()).unwrap()).await;
    }
    let mut received = Vec::new();
    for _ in 0..2 {
        let alert = alerts.next().await;
        received.push((alert.alert, alert.state, started.elapsed().as_secs()));
    }
    stack.signals().reset();
    let alert = alerts.next().await;
    assert_eq!((alert.state, started.elapsed().as_secs() >= 120), (AlertState::Cleared, true));
    let raised = AlertState::Raised;
    let expected = [(AlertKind::AllTargetsCooling, 30), (AlertKind::CircuitOpen, 60)];
    assert_eq!(received, expected.map(|(kind, seconds)| (kind, raised, seconds)));
    let json = serde_json::to_value(&alert).unwrap();
    assert_eq!((&json["state"], &json["for_ms"]), (&"cleared".into(), &60_000.into()), "{json}");
}

/// Regression: the one call at a target that was rarely used raised an alert for a day.
#[tokio::test(start_paused = true)]
async fn a_rate_raises_an_alert_from_as_many_calls_as_the_circuit_evaluates() {
    for (calls, is_raised) in [(1, false), (19, false), (20, true)] {
        let (inner, provider) = strict();
        let circuit = CircuitBreakerLayer::new().failure_threshold(100).minimum_throughput(20);
        let mut stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit).service(inner);
        (0..calls).for_each(|_| _ = provider.answer(503));
        for _ in 0..calls {
            let _ = send(&mut stack, http::Request::post("http://p/").body(Payload::empty()).unwrap()).await;
        }
        let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
        let alerts = observe(&mut monitor, &mut now, 100, &[stack.signals().snapshot()]);
        let expected = [(AlertKind::SuccessRate, AlertState::Raised, 30 * SECOND)];
        assert_eq!(alerts, &expected[..usize::from(is_raised)], "{calls} calls");
    }
}

/// Regression: a window by calls does not age, so that the alert of a closed circuit without calls was never
/// cleared.
#[tokio::test(start_paused = true)]
async fn the_rate_of_a_closed_circuit_counts_for_an_hour_after_its_latest_call() {
    let (inner, provider) = strict();
    let circuit = CircuitBreakerLayer::new().failure_threshold(100).failure_rate_threshold(1.0);
    let mut stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit.clone()).service(inner);
    let (mut monitor, start) = (Monitor::new(Settings::default()), tokio::time::Instant::now());
    provider.answer(200);
    let mut changes = Vec::new();
    for minute in 0..240_u64 {
        // Thirty calls at first, then one in half an hour, which may be a success, and none after two hours.
        let calls = if minute == 0 { 30 } else { u64::from(minute % 30 == 0 && minute <= 120) };
        for call in 0..calls {
            provider.answer(if call == 0 && minute % 60 == 30 { 200 } else { 503 });
            let _ = send(&mut stack, http::Request::post("http://p/").body(Payload::empty()).unwrap()).await;
        }
        tokio::time::advance(60 * SECOND).await;
        let alerts = monitor.observe(&[stack.signals().snapshot()], &[], crate::clock::now());
        let minute = start.elapsed().as_secs() / 60;
        changes.extend(alerts.into_iter().map(|it| (it.alert, it.state, minute, it.end)));
    }
    let raised = (AlertKind::SuccessRate, AlertState::Raised, 2, None);
    let cleared = (AlertKind::SuccessRate, AlertState::Cleared, 181, Some(AlertEnd::Unknown));
    assert_eq!(changes, [raised, cleared]);
    assert_eq!(circuit.handle().state(), State::Closed);
    assert!(circuit.handle().snapshot().failure_rate > Some(0.5), "it is shown nevertheless");
}

/// Regression: too few calls to evaluate, or none, counted as a recovery.
#[tokio::test(start_paused = true)]
async fn only_enough_calls_are_a_recovery() {
    type Response = fn() -> Answer;
    let (good, bad) = (|| Answer::status(200), || Answer::status(503));
    let slow = || Answer::status(200).after(SECOND / 5);
    let kinds: [(AlertKind, Response); 2] = [(AlertKind::SuccessRate, bad), (AlertKind::SlowRate, slow)];
    for (kind, bad) in kinds {
        let after: [(u32, Response, AlertEnd); 4] = [
            (0, good, AlertEnd::Unknown),
            (1, bad, AlertEnd::Unknown),
            (1, good, AlertEnd::Unknown),
            (25, good, AlertEnd::Recovered),
        ];
        for (calls, answer, end) in after {
            let (inner, provider) = strict();
            let circuit = CircuitBreakerLayer::new()
                .failure_threshold(1_000)
                .failure_rate_threshold(1.0)
                .slow_call_threshold(SECOND / 10)
                .slow_call_rate_threshold(1.0)
                .sliding_window(120 * SECOND);
            let mut stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit).service(inner);
            let (mut monitor, mut changes) = (Monitor::new(Settings::default()), Vec::new());
            for minute in 0..200 {
                let (calls, answer) = if minute < 2 { (25, bad) } else { (calls, answer) };
                for call in 0..calls {
                    provider.then(if minute < 2 && call == 0 { good() } else { answer() });
                    let _ = send(&mut stack, request()).await;
                }
                for _ in 0..6 {
                    tokio::time::advance(10 * SECOND).await;
                    let alerts = monitor.observe(&[stack.signals().snapshot()], &[], clock::now());
                    changes.extend(alerts.into_iter().map(|it| (it.alert, it.end)));
                }
            }
            assert_eq!(changes, [(kind, None), (kind, Some(end))], "{calls} calls per minute");
        }
    }
}

/// Regression: the worst of the keys decided, and a circuit in shadow mode was one that rejects.
#[tokio::test(start_paused = true)]
async fn a_target_admits_calls_as_long_as_one_of_its_keys_does_or_its_circuit_is_in_shadow_mode() {
    let tenants =
        || CircuitBreakerLayer::new().failure_threshold(1).cooldown(900 * SECOND).key_by(KeyBy::tenant());
    let shadow = || CircuitBreakerLayer::new().failure_threshold(1).cooldown(900 * SECOND).shadow(true);
    let quota = || RateLimitLayer::per_second(100);
    let quotas = || quota().key_by(KeyBy::tenant());
    let named = ResilienceBuilder::new;
    for (index, (builder, responses, is_forced, is_raised)) in [
        (named("a/b").circuit_breaker(tenants()), &[(503, "a")][..], false, true),
        (named("a/b").circuit_breaker(tenants()), &[(503, "a"), (503, "b")], false, true),
        (named("a/b").circuit_breaker(tenants()), &[(503, "a"), (200, "b")], false, false),
        (named("a/b").circuit_breaker(shadow()), &[(503, "a"), (503, "a")], false, false),
        (named("a/b").circuit_breaker(shadow()), &[(503, "a")], true, true),
        (named("a/b").rate_limit(quotas()), &[(429, "a"), (200, "b")], false, false),
        (named("a/b").rate_limit(quotas()), &[(429, "a"), (429, "b")], false, true),
        (
            named("a/b").rate_limit(quotas()).circuit_breaker(tenants()),
            &[(503, "a"), (200, "b")],
            false,
            false,
        ),
        // Each key is closed by one of the gates.
        (
            named("a/b").rate_limit(quotas()).circuit_breaker(tenants()),
            &[(500, "a"), (429, "b")],
            false,
            true,
        ),
        // A gate with one state has it for every key of the other.
        (
            named("a/b").rate_limit(quotas()).circuit_breaker(shadow().shadow(false)),
            &[(503, "a")],
            false,
            true,
        ),
        (named("a/b").rate_limit(quota()).circuit_breaker(tenants()), &[(429, "a"), (200, "b")], false, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut stack, provider) = strict_behind(&builder.build());
        for (status, tenant) in responses {
            // Without a wait the rate limit stays open.
            let wait = if *status == 500 { "0" } else { "900" };
            provider.answer(*status).header("retry-after", wait);
            let _ = send(&mut stack, of_tenant(tenant)).await;
        }
        if is_forced {
            stack.signals().circuit_breaker().force_open();
        }
        let mut monitor = Monitor::new(Settings::default());
        let mut raised = observe(&mut monitor, &mut Instant::now(), 300, &[stack.signals().snapshot()]);
        raised.retain(|(kind, ..)| *kind == AlertKind::AllTargetsCooling);
        assert_eq!(!raised.is_empty(), is_raised, "case {index}: {raised:?}");
    }
}

/// Regression: the alerts of a circuit to which no call came after its cooldown were never cleared.
#[test]
fn a_half_open_circuit_without_a_call_clears_its_alerts_and_raises_none() {
    use AlertKind::{AllTargetsCooling, CircuitOpen, SlowRate, SuccessRate};
    let signals = |circuit_state, is_probing| SignalsSnapshot {
        circuit_state,
        for_alerts: circuit(circuit_state, 0.5, 0.6, is_probing),
        admits_calls: circuit_state != State::Open,
        ..healthy("a/b")
    };
    let (open, idle) = (signals(State::Open, false), signals(State::HalfOpen, false));
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let raised = observe(&mut monitor, &mut now, 100, std::slice::from_ref(&open));
    assert_eq!(raised.len(), 4);
    // A call now and then that fails: the target has not recovered, and what is known of its circuit stays.
    let mut changes = Vec::new();
    for _ in 0..3 {
        changes.extend(observe(&mut monitor, &mut now, 300, std::slice::from_ref(&idle)));
        changes.extend(observe(&mut monitor, &mut now, 30, std::slice::from_ref(&open)));
    }
    changes.retain(|(kind, ..)| *kind != AllTargetsCooling);
    assert_eq!(changes, []);
    let mut cleared = Vec::new();
    for _ in 0..4_000 {
        for alert in monitor.observe(std::slice::from_ref(&idle), &[], now) {
            assert!(alert.alert == AllTargetsCooling || alert.end == Some(AlertEnd::Unknown), "{alert}");
            cleared.push((alert.alert, alert.state, alert.held));
        }
        now += SECOND;
    }
    cleared.retain(|(kind, ..)| *kind != AllTargetsCooling);
    cleared.sort_unstable_by_key(|(kind, ..)| *kind);
    assert_eq!(
        cleared,
        [SuccessRate, SlowRate, CircuitOpen].map(|kind| (kind, AlertState::Cleared, 3_600 * SECOND))
    );
    // With few calls, the circuit has not been closed for all of the time in which it was half-open as well.
    let mut raised = observe(&mut monitor, &mut now, 30, std::slice::from_ref(&open));
    raised.extend(observe(&mut monitor, &mut now, 25, std::slice::from_ref(&idle)));
    assert_eq!(raised, []);
    let raised = observe(&mut monitor, &mut now, 10, std::slice::from_ref(&open));
    assert!(raised.contains(&(CircuitOpen, AlertState::Raised, 60 * SECOND)), "{raised:?}");
    // After a long time without a call, what was observed before it is forgotten.
    let mut monitor = Monitor::new(Settings::default());
    let mut raised = observe(&mut monitor, &mut now, 20, std::slice::from_ref(&open));
    raised.extend(observe(&mut monitor, &mut now, 20_000, &[idle]));
    raised.extend(observe(&mut monitor, &mut now, 20, &[open]));
    assert_eq!(raised, []);
}

/// Regression: the circuit of a key that is no longer used hid the failures of all others.
#[test]
fn an_idle_circuit_of_one_key_hides_no_failing_one() {
    let worst = circuit(State::HalfOpen, 0.0, 0.0, false).worst_of(circuit(State::Closed, 0.5, 0.6, false));
    let signals = SignalsSnapshot { circuit_state: State::HalfOpen, for_alerts: worst, ..healthy("a/b") };
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let mut raised = observe(&mut monitor, &mut now, 100, &[signals]);
    raised.sort_unstable_by_key(|(kind, ..)| *kind);
    let kinds = [AlertKind::SuccessRate, AlertKind::SlowRate];
    assert_eq!(raised, kinds.map(|kind| (kind, AlertState::Raised, 30 * SECOND)));
}

#[test]
fn what_is_raised_can_be_cleared_at_once() {
    let (mut monitor, mut now) = (Monitor::new(Settings::default()), Instant::now());
    let open = open("a/b");
    let raised = observe(&mut monitor, &mut now, 50, std::slice::from_ref(&open));
    assert_eq!(raised, [(AlertKind::AllTargetsCooling, AlertState::Raised, 30 * SECOND)]);
    let cleared = monitor.clear(now);
    assert_eq!(cleared.len(), 1, "the circuit was not raised yet: {cleared:?}");
    assert_eq!((cleared[0].alert, cleared[0].state), (AlertKind::AllTargetsCooling, AlertState::Cleared));
    assert_eq!(monitor.clear(now), []);
    assert_eq!(observe(&mut monitor, &mut now, 29, &[open]), [], "as new");
}

#[test]
fn settings_out_of_range_are_rejected_by_name() {
    let invalid = Settings { success_rate: 90.0, interval: Duration::ZERO, ..Settings::default() };
    let error = invalid.check().unwrap_err().to_string();
    assert!(error.contains("success_rate") && error.contains("interval"), "{error}");
    assert!(Settings::default().check().is_ok());
    for (interval, is_valid) in [
        (Duration::ZERO, false),
        (Duration::from_nanos(1), true),
        (Duration::from_secs(86_400), true),
        (Duration::from_nanos(86_400_000_000_001), false),
        (Duration::MAX, false),
    ] {
        let settings = Settings { interval, ..Settings::default() };
        assert_eq!(settings.check().is_ok(), is_valid, "{interval:?}");
    }
}

proptest! {
    /// Raised and cleared alternate; each follows a time in which the condition did not change, and a
    /// condition that flaps faster than both times causes nothing.
    #[test]
    fn alerts_alternate_and_need_a_steady_condition(holds in prop::collection::vec(any::<bool>(), 1..200), raise in 0_u64..6, clear in 0_u64..6) {
        let (mut condition, start) = (Condition::default(), Instant::now());
        let mut is_raised = false;
        for (second, holds_now) in holds.iter().enumerate() {
            let now = start + SECOND * u32::try_from(second).unwrap();
            let change = condition.observe(Ok(*holds_now), Duration::from_secs(raise), Duration::from_secs(clear), now);
            let steady = holds[..=second].iter().rev().take_while(|value| *value == holds_now).count() as u64 - 1;
            let needed = if *holds_now { raise } else { clear };
            match change {
                Some((state, held)) => {
                    prop_assert_eq!(state == AlertState::Raised, *holds_now);
                    prop_assert_ne!(is_raised, *holds_now);
                    prop_assert!(held.as_secs() >= needed && steady >= needed);
                    is_raised = *holds_now;
                }
                None => prop_assert!(is_raised == *holds_now || steady < needed),
            }
        }
    }
}
