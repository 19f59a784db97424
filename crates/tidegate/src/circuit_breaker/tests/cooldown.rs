//! How long a circuit stays open.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::SECOND;
use super::state::{FAILURE, RecordExt, circuit};
use crate::ErrorCode;
use crate::circuit_breaker::State;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::settings::Settings;

fn growing(settings: &mut Settings) {
    settings.failure_threshold = 1;
    settings.cooldown_growth = 2.0;
    settings.max_cooldown = Some(60 * SECOND);
}

fn failure_with_hint(wait: Duration) -> AttemptResult {
    AttemptResult::Failure(ErrorCode::Overloaded, Some(wait))
}

#[test]
fn grows_each_time_it_opens_again_up_to_its_cap() {
    let (mut circuit, mut now) = (circuit(growing), Instant::now());
    for seconds in [10, 20, 40, 60, 60] {
        circuit.call(FAILURE, Latency::Unknown, now);
        assert_eq!(circuit.cooldown_remaining(now), Some(seconds * SECOND));
        assert_eq!(circuit.last_transition().unwrap().cooldown, Some(seconds * SECOND));
        now += seconds * SECOND;
    }
}

#[test]
fn one_successful_probe_does_not_reset_the_growth_but_a_healthy_time_does() {
    let (mut circuit, mut now) = (circuit(growing), Instant::now());
    for (calm, seconds) in [(0, 10), (0, 20), (19, 40), (40, 10), (0, 20)] {
        now += calm * SECOND;
        circuit.call(FAILURE, Latency::Unknown, now);
        assert_eq!(circuit.cooldown_remaining(now), Some(seconds * SECOND), "after {calm} s");
        now += seconds * SECOND;
        circuit.call(AttemptResult::Success, Latency::Unknown, now);
        assert_eq!(circuit.state(now), State::Closed);
    }
    circuit.reset(now);
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.cooldown_remaining(now), Some(10 * SECOND), "a reset clears the growth");
}

/// Pitfall P28 (docs/pitfalls.md): a default cooldown shortened a long one sent by the server, and the second
/// failure did not extend it.
#[test]
fn a_wait_sent_by_the_provider_is_never_shortened_and_the_second_failure_extends_it() {
    let (mut circuit, now) = (circuit(growing), Instant::now());
    circuit.call(failure_with_hint(90 * SECOND), Latency::Unknown, now);
    assert_eq!(circuit.cooldown_remaining(now), Some(90 * SECOND), "longer than the cap");
    let now = now + 90 * SECOND;
    circuit.call(failure_with_hint(15 * SECOND), Latency::Unknown, now);
    assert_eq!(circuit.cooldown_remaining(now), Some(20 * SECOND), "the second one, by its own growth");
}

#[test]
fn absurd_numbers_do_not_overflow() {
    for (cooldown, factor, max) in [
        (Duration::MAX, 2.0, Duration::MAX),
        (SECOND, f64::INFINITY, Duration::MAX),
        (SECOND, 1e300, Duration::ZERO),
        (Duration::ZERO, f64::INFINITY, SECOND),
    ] {
        let mut circuit = circuit(|settings| {
            growing(settings);
            (settings.cooldown, settings.cooldown_growth, settings.max_cooldown) =
                (cooldown, factor, Some(max));
            settings.cooldown_jitter = 1.0;
        });
        let mut now = Instant::now();
        for _ in 0..3 {
            let admission = circuit.admit(now).unwrap();
            circuit.record(admission, failure_with_hint(Duration::MAX), Latency::Unknown, now, 1.0);
            now += circuit.cooldown_remaining(now).unwrap_or_default();
        }
    }
}

proptest! {
    #[test]
    fn jitter_makes_no_cooldown_shorter_and_none_longer_than_its_share(
        ratio in 0.0f64..=1.0, random in 0.0f64..1.0, wait in 0u64..200, quota: bool,
    ) {
        let (wait, now) = (Duration::from_secs(wait), Instant::now());
        let mut circuit = circuit(|settings| {
            growing(settings);
            settings.cooldown_jitter = ratio;
        });
        let admission = circuit.admit(now).unwrap();
        let result = if quota { AttemptResult::Quota(Some(wait)) } else { failure_with_hint(wait) };
        let least = match quota {
            true if wait.is_zero() => 60 * SECOND,
            true => wait,
            false => wait.max(10 * SECOND),
        };
        circuit.record(admission, result, Latency::Unknown, now, random);
        let open = circuit.cooldown_remaining(now).unwrap();
        prop_assert!(open >= least && open <= least.mul_f64(1.0 + ratio) + Duration::from_nanos(1), "{open:?}");
    }
}

/// Regression: an exhausted quota in between reset the count of the provider's failures.
#[test]
fn an_exhausted_quota_does_not_count_as_a_healthy_time() {
    let (mut circuit, mut now) = (circuit(growing), Instant::now());
    for seconds in [10, 20] {
        circuit.call(FAILURE, Latency::Unknown, now);
        now += seconds * SECOND;
    }
    circuit.call(AttemptResult::Success, Latency::Unknown, now);
    circuit.call(AttemptResult::Quota(Some(3600 * SECOND)), Latency::Unknown, now);
    now += 3600 * SECOND;
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.cooldown_remaining(now), Some(40 * SECOND));
}

/// Pitfall P28 (docs/pitfalls.md): the waits of the failures before the one that opens the circuit were lost.
#[test]
fn the_latest_wait_of_a_streak_applies() {
    let quota = AttemptResult::Quota;
    let success = AttemptResult::Success;
    let waits = |seconds: u32| failure_with_hint(seconds * SECOND);
    for (results, seconds) in [
        (vec![waits(300), FAILURE, FAILURE], 300),
        (vec![waits(300), waits(40), waits(20)], 300),
        (vec![waits(5), FAILURE, FAILURE], 10),
        (vec![waits(300), quota(None)], 300),
        (vec![waits(300), quota(Some(20 * SECOND))], 300),
        (vec![waits(300), success, FAILURE, FAILURE, FAILURE], 10),
        (vec![waits(300), success, quota(Some(20 * SECOND))], 20),
    ] {
        let (mut circuit, now) = (circuit(|_| ()), Instant::now());
        results.iter().for_each(|result| circuit.call(*result, Latency::Unknown, now));
        assert_eq!(circuit.cooldown_remaining(now), Some(seconds * SECOND), "{results:?}");
    }
}

/// Pitfall P28 (docs/pitfalls.md): the wait of an attempt from before the opening or a reset was lost.
#[test]
fn a_wait_applies_whenever_its_attempt_was_admitted() {
    for is_reset in [false, true] {
        let (mut circuit, start) = (circuit(|settings| settings.failure_threshold = 1), Instant::now());
        let late = circuit.admit(start).unwrap();
        circuit.call(FAILURE, Latency::Unknown, start);
        let now = start + 10 * SECOND;
        if is_reset {
            circuit.reset(now);
        }
        let probe = circuit.admit(now).unwrap();
        circuit.record_result(late, failure_with_hint(300 * SECOND), now);
        assert_eq!(circuit.cooldown_remaining(now), None, "a result from before the opening opens nothing");
        circuit.record_result(probe, FAILURE, now);
        assert_eq!(circuit.cooldown_remaining(now), Some(300 * SECOND), "reset: {is_reset}");
    }
}

proptest! {
    /// Pitfall P28 (docs/pitfalls.md): a wait that arrives when the circuit is open was lost.
    #[test]
    fn an_open_circuit_outlasts_every_wait_that_the_provider_sent(
        failures in prop::collection::vec((0u64..9, prop::option::of(1u64..400), any::<bool>()), 4..20),
        ratio in prop_oneof![Just(0.0), 0.0f64..1.0], random in 0.0f64..1.0,
    ) {
        let mut circuit = circuit(|settings| settings.cooldown_jitter = ratio);
        let start = Instant::now();
        let admissions = Vec::from_iter(failures.iter().map(|_| circuit.admit(start).unwrap()));
        let (mut now, mut end, mut has_opened) = (start, start, false);
        for ((seconds, wait, is_quota), admission) in failures.into_iter().zip(admissions) {
            let wait = wait.map(Duration::from_secs);
            let result = if is_quota { AttemptResult::Quota(wait) } else { AttemptResult::Failure(ErrorCode::Overloaded, wait) };
            now += Duration::from_secs(seconds);
            circuit.record(admission, result, Latency::Unknown, now, random);
            let opens = !has_opened && circuit.state(now) == State::Open;
            has_opened |= opens;
            let own = match (is_quota, wait) {
                (true, Some(_)) => None,
                // After the cooldown, a quota without a wait is no news.
                (true, None) => (opens || now < end).then_some(60 * SECOND),
                (false, _) => opens.then_some(10 * SECOND),
            };
            for wait in [wait, own].into_iter().flatten() {
                end = end.max(now + wait + wait.mul_f64(ratio * random));
            }
            if has_opened {
                let expected = end.saturating_duration_since(now);
                let open = circuit.cooldown_remaining(now).unwrap_or_default();
                prop_assert!(open.abs_diff(expected) < Duration::from_micros(1), "{open:?}, not {expected:?}");
            }
        }
        prop_assert!(has_opened);
    }
}
