//! The circuit used by many threads, model-checked with loom: every interleaving, and every order in which a
//! thread may see the writes of another, as far as loom models the memory. Each test has two or three threads
//! with one to three steps each. Preemptions are not bounded, except for the three callers of
//! `no_more_probes_than_configured_are_in_flight`: at most two there, because all of them would take minutes.
//! The time is an argument, so the runs are deterministic. `.ci/loom` runs them.

use std::time::{Duration, Instant};

use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::thread;

use crate::ErrorCode;
use crate::circuit_breaker::State;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::circuit::{AdmissionKind, CircuitAdmission};
use crate::circuit_breaker::concurrent_circuit::ConcurrentCircuit;
use crate::circuit_breaker::rejections::RejectionCause;
use crate::circuit_breaker::settings::{CircuitBreakerSettings, Settings};
use crate::thread_shard::TEST_SHARD;

const FAILURE: AttemptResult = AttemptResult::Failure(ErrorCode::Overloaded, None);
const COOLDOWN: Duration = Duration::from_secs(10);

/// Explores every interleaving of `run`, which gets a circuit that opens at the first failure, and a time.
fn explore(
    update: impl Fn(&mut Settings) + Sync + Send + 'static,
    run: impl Fn(Arc<ConcurrentCircuit>, Instant) + Sync + Send + 'static,
) {
    explore_some(None, update, run);
}

/// Explores with a bound on preemptions.
fn explore_some(
    preemptions: Option<usize>,
    update: impl Fn(&mut Settings) + Sync + Send + 'static,
    run: impl Fn(Arc<ConcurrentCircuit>, Instant) + Sync + Send + 'static,
) {
    let now = Instant::now();
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let settings = Settings { failure_threshold: 1, cooldown: COOLDOWN, ..Settings::default() };
        let mut settings = CircuitBreakerSettings::from(settings);
        settings.hooks.seed = Some(0);
        update(&mut settings);
        run(Arc::new(ConcurrentCircuit::new(&settings, now)), now);
    });
}

fn admit(circuit: &ConcurrentCircuit, now: Instant) -> Option<CircuitAdmission> {
    circuit.admit(|| now).0.ok()
}

fn record(circuit: &ConcurrentCircuit, admission: CircuitAdmission, result: AttemptResult, now: Instant) {
    circuit.record(admission, result, Latency::Unknown, || now);
}

fn state(circuit: &ConcurrentCircuit, now: Instant) -> State {
    circuit.with_circuit(|circuit| circuit.state(now))
}

/// Pitfall P09 (docs/pitfalls.md): half-open admitted every call.
#[test]
fn no_more_probes_than_configured_are_in_flight() {
    explore_some(
        Some(2),
        |_| (),
        |circuit, start| {
            record(&circuit, admit(&circuit, start).unwrap(), FAILURE, start);
            let now = start + COOLDOWN;
            let in_flight = Arc::new(AtomicUsize::new(0));
            let probe = {
                let (circuit, in_flight) = (Arc::clone(&circuit), Arc::clone(&in_flight));
                move |result| {
                    let Some(admission) = admit(&circuit, now) else { return };
                    // Calls admitted after the circuit has closed are not probes.
                    let is_probe = admission.is_probe();
                    assert!(!is_probe || in_flight.fetch_add(1, Ordering::SeqCst) == 0);
                    if is_probe {
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                    }
                    record(&circuit, admission, result, now);
                }
            };
            let threads = [AttemptResult::Neutral, AttemptResult::Success].map(|result| {
                let probe = probe.clone();
                thread::spawn(move || probe(result))
            });
            probe(AttemptResult::Neutral);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(circuit.with_circuit(|circuit| circuit.probes()), 0, "and none is left");
        },
    );
}

/// Pitfall P06 (docs/pitfalls.md): a result from before the opening closed, or re-opened, the half-open
/// circuit.
#[test]
fn a_stale_result_changes_nothing() {
    for stale_result in [FAILURE, AttemptResult::Success, AttemptResult::Quota(None)] {
        explore(
            |_| (),
            move |circuit, start| {
                let stale = admit(&circuit, start).unwrap();
                record(&circuit, admit(&circuit, start).unwrap(), FAILURE, start);
                let now = start + COOLDOWN;
                let late = {
                    let circuit = Arc::clone(&circuit);
                    thread::spawn(move || record(&circuit, stale, stale_result, now))
                };
                let probe = admit(&circuit, now).unwrap();
                assert_eq!(state(&circuit, now), State::HalfOpen);
                record(&circuit, probe, AttemptResult::Success, now);
                late.join().unwrap();
                assert_eq!(state(&circuit, now), State::Closed);
                // The circuit opened, became half-open and closed, and changed in no other way.
                assert_eq!(circuit.fast_state().generation(), 3);
            },
        );
    }
}

#[test]
fn the_thread_that_opened_the_circuit_finds_it_open_whatever_others_do() {
    explore(
        |_| (),
        |circuit, now| {
            let (first, second) = (admit(&circuit, now).unwrap(), admit(&circuit, now).unwrap());
            let other = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || {
                    record(&circuit, second, AttemptResult::Success, now);
                    // If this call is admitted, it was admitted before the opening.
                    if let Some(admission) = admit(&circuit, now) {
                        assert_eq!(admission.generation, 0);
                        record(&circuit, admission, AttemptResult::Success, now);
                    }
                })
            };
            record(&circuit, first, FAILURE, now);
            assert!(!circuit.fast_state().admits_all());
            assert_eq!(admit(&circuit, now), None);
            other.join().unwrap();
            assert_eq!((state(&circuit, now), admit(&circuit, now)), (State::Open, None));
        },
    );
}

#[test]
fn no_call_is_admitted_in_the_generation_of_an_open_circuit() {
    explore(
        |_| (),
        |circuit, now| {
            let first = admit(&circuit, now).unwrap();
            let reset = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || {
                    circuit.update(|circuit, _| circuit.reset(now));
                    circuit.fast_state().generation()
                })
            };
            let caller = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || admit(&circuit, now))
            };
            record(&circuit, first, FAILURE, now);
            let (closed, admission) = (reset.join().unwrap(), caller.join().unwrap());
            // Either the failure came first: open is generation 1, closed again is 2. Or the failure was
            // stale: closed again is generation 1.
            assert!(
                admission.is_none_or(|admission| admission.generation == 0 || admission.generation == closed)
            );
            assert_eq!(state(&circuit, now), State::Closed);
        },
    );
}

#[test]
fn no_failure_is_lost() {
    explore(
        |settings| {
            settings.failure_threshold = 3;
            settings.failure_rate_threshold = Some(1.0);
        },
        |circuit, now| {
            let fail = move |circuit: &ConcurrentCircuit| {
                let admission = admit(circuit, now).unwrap();
                record(circuit, admission, FAILURE, now);
            };
            let threads = [(); 2].map(|()| {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || fail(&circuit))
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(circuit.with_circuit(|circuit| circuit.window_totals(now)[0].bad), 2);
            fail(&circuit);
            assert_eq!(state(&circuit, now), State::Open);
        },
    );
}

/// The head of a response in flight is between the failures, or came too late. When the body has ended, it
/// separates none.
#[test]
fn a_head_separates_failures_until_its_body_ends() {
    explore(
        |settings| settings.failure_threshold = 2,
        |circuit, now| {
            let fail = move |circuit: &ConcurrentCircuit| {
                record(circuit, admit(circuit, now).unwrap(), FAILURE, now);
            };
            let stream = admit(&circuit, now).unwrap();
            fail(&circuit);
            let other = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || fail(&circuit))
            };
            let (body, _) = circuit.record_head(stream, true, Latency::Unknown, || now);
            other.join().unwrap();
            let is_between =
                body.filter(|body| body.kind == AdmissionKind::SeparatingBody { failures_before: 1 });
            assert_eq!(state(&circuit, now) == State::Closed, is_between.is_some());
            if let Some(body) = is_between {
                record(&circuit, body, AttemptResult::Neutral, now);
                assert_eq!(state(&circuit, now), State::Closed);
                fail(&circuit);
            }
            assert_eq!(state(&circuit, now), State::Open);
        },
    );
}

/// Successes that threads count for themselves are in the window when a failure is recorded after them.
#[test]
fn a_failure_finds_every_success_that_was_recorded_before_it() {
    explore(
        |settings| {
            settings.failure_threshold = 9;
            settings.failure_rate_threshold = Some(1.0);
        },
        |circuit, now| {
            let recorded = Arc::new(AtomicUsize::new(0));
            let succeed = |shard: usize| {
                let (circuit, recorded) = (Arc::clone(&circuit), Arc::clone(&recorded));
                let admission = admit(&circuit, now).unwrap();
                move || {
                    TEST_SHARD.with(|test| test.set(Some(shard)));
                    record(&circuit, admission, AttemptResult::Success, now);
                    recorded.fetch_add(1, Ordering::SeqCst);
                }
            };
            let threads = [0, 1].map(|shard| thread::spawn(succeed(shard)));
            let before = recorded.load(Ordering::SeqCst) as u64;
            record(&circuit, admit(&circuit, now).unwrap(), FAILURE, now);
            let totals = circuit.with_circuit(|circuit| circuit.window_totals(now)[0]);
            assert!(totals.bad == 1 && (before + 1..=3).contains(&totals.calls), "{totals:?} after {before}");
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(circuit.with_circuit(|circuit| circuit.window_totals(now)[0].calls), 3);
        },
    );
}

/// A success of a generation is in its window, or came too late; it is never in the window of a later
/// generation.
#[test]
fn a_deferred_success_is_not_counted_in_a_later_generation() {
    explore(
        |settings| settings.failure_rate_threshold = Some(1.0),
        |circuit, now| {
            let [early, late] = [(); 2].map(|()| admit(&circuit, now).unwrap());
            record(&circuit, early, AttemptResult::Success, now);
            let other = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || {
                    TEST_SHARD.with(|test| test.set(Some(1)));
                    record(&circuit, late, AttemptResult::Success, now);
                })
            };
            circuit.update(|circuit, _| circuit.reset(now));
            other.join().unwrap();
            assert_eq!(circuit.with_circuit(|circuit| circuit.window_totals(now)[0].calls), 0);
            record(&circuit, admit(&circuit, now).unwrap(), AttemptResult::Success, now);
            assert_eq!(circuit.with_circuit(|circuit| circuit.window_totals(now)[0].calls), 1);
        },
    );
}

/// A fast rejection belongs to one opening: it never combines the cause of one with the time of another.
#[test]
fn a_fast_rejection_belongs_to_one_opening() {
    explore(
        |_| (),
        |circuit, now| {
            let open = |circuit: &ConcurrentCircuit, result| {
                record(circuit, admit(circuit, now).unwrap(), result, now)
            };
            open(&circuit, FAILURE);
            let caller = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || circuit.admit(|| now).0.err())
            };
            circuit.update(|circuit, _| circuit.reset(now));
            open(&circuit, AttemptResult::Quota(Some(3 * COOLDOWN)));
            if let Some(rejection) = caller.join().unwrap() {
                let wait = if rejection.cause == RejectionCause::Quota { 3 * COOLDOWN } else { COOLDOWN };
                assert_eq!(rejection.retry_after, Some(wait));
            }
        },
    );
}
