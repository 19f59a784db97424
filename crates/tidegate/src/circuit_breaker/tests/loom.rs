//! The circuit in the hands of many threads, model-checked: every interleaving, and every order in which a thread
//! may see what another has written, as far as loom's model of the memory goes: of two or three threads with one to
//! three steps each. There is no bound on preemptions, but for the three callers of `p09`: at most two there, as
//! all of them would take minutes. Time is given, so that nothing of it is left to chance.
//!
//! ```text
//! RUSTFLAGS='--cfg tidegate_loom' cargo test -p tidegate --lib loom
//! ```

use std::time::{Duration, Instant};

use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::thread;

use crate::ErrorCode;
use crate::circuit_breaker::State;
use crate::circuit_breaker::shared_circuit::SharedCircuit;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::admission::{RejectionCause, Admission};
use crate::circuit_breaker::settings::Settings;

const FAILURE: AttemptResult = AttemptResult::Failure(ErrorCode::Overloaded, None);
const COOLDOWN: Duration = Duration::from_secs(10);

/// Explores every interleaving of `run`, which gets a circuit that opens at the first failure, and a moment.
fn explore(
    update: impl Fn(&mut Settings) + Sync + Send + 'static,
    run: impl Fn(Arc<SharedCircuit>, Instant) + Sync + Send + 'static,
) {
    explore_some(None, update, run);
}

/// The same with a bound on preemptions.
fn explore_some(
    preemptions: Option<usize>,
    update: impl Fn(&mut Settings) + Sync + Send + 'static,
    run: impl Fn(Arc<SharedCircuit>, Instant) + Sync + Send + 'static,
) {
    let now = Instant::now();
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let mut settings =
            Settings { failure_threshold: 1, cooldown: COOLDOWN, seed: Some(0), ..Settings::default() };
        update(&mut settings);
        run(Arc::new(SharedCircuit::new(&settings, now)), now);
    });
}

fn admit(circuit: &SharedCircuit, now: Instant) -> Option<Admission> {
    circuit.admit(|| now).0.ok()
}

fn record(circuit: &SharedCircuit, admission: Admission, mark: AttemptResult, now: Instant) {
    circuit.record(admission, mark, Latency::Unknown, || now);
}

fn state(circuit: &SharedCircuit, now: Instant) -> State {
    circuit.with_circuit(|circuit| circuit.state(now))
}

/// P09: half-open let everybody in.
#[test]
fn p09_no_more_probes_than_configured_are_under_way() {
    explore_some(
        Some(2),
        |_| (),
        |circuit, start| {
            record(&circuit, admit(&circuit, start).unwrap(), FAILURE, start);
            let now = start + COOLDOWN;
            let under_way = Arc::new(AtomicUsize::new(0));
            let probe = {
                let (circuit, under_way) = (Arc::clone(&circuit), Arc::clone(&under_way));
                move |mark| {
                    let Some(admission) = admit(&circuit, now) else { return };
                    // Those that come after the circuit has closed are none.
                    let is_probe = admission.probe.is_some();
                    assert!(!is_probe || under_way.fetch_add(1, Ordering::SeqCst) == 0);
                    if is_probe {
                        under_way.fetch_sub(1, Ordering::SeqCst);
                    }
                    record(&circuit, admission, mark, now);
                }
            };
            let threads = [AttemptResult::Neutral, AttemptResult::Success].map(|mark| {
                let probe = probe.clone();
                thread::spawn(move || probe(mark))
            });
            probe(AttemptResult::Neutral);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(circuit.with_circuit(|circuit| circuit.probes()), 0, "and none is left");
        },
    );
}

/// P06: a result from before the trip closed, or re-opened, the half-open circuit.
#[test]
fn p06_a_stale_result_changes_nothing() {
    for stale_mark in [FAILURE, AttemptResult::Success, AttemptResult::Quota(None)] {
        explore(
            |_| (),
            move |circuit, start| {
                let stale = admit(&circuit, start).unwrap();
                record(&circuit, admit(&circuit, start).unwrap(), FAILURE, start);
                let now = start + COOLDOWN;
                let late = {
                    let circuit = Arc::clone(&circuit);
                    thread::spawn(move || record(&circuit, stale, stale_mark, now))
                };
                let probe = admit(&circuit, now).unwrap();
                assert_eq!(state(&circuit, now), State::HalfOpen);
                record(&circuit, probe, AttemptResult::Success, now);
                late.join().unwrap();
                assert_eq!(state(&circuit, now), State::Closed);
                // Open, half-open, closed: no other change.
                assert_eq!(circuit.fast_state().generation(), 3);
            },
        );
    }
}

#[test]
fn who_has_opened_the_circuit_finds_it_open_whatever_others_do_meanwhile() {
    explore(
        |_| (),
        |circuit, now| {
            let (ours, theirs) = (admit(&circuit, now).unwrap(), admit(&circuit, now).unwrap());
            let other = {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || {
                    record(&circuit, theirs, AttemptResult::Success, now);
                    // Admitted or not: if it is, then before the opening.
                    if let Some(admission) = admit(&circuit, now) {
                        assert_eq!(admission.generation, 0);
                        record(&circuit, admission, AttemptResult::Success, now);
                    }
                })
            };
            record(&circuit, ours, FAILURE, now);
            assert!(!circuit.fast_state().admits_all());
            assert_eq!(admit(&circuit, now), None);
            other.join().unwrap();
            assert_eq!((state(&circuit, now), admit(&circuit, now)), (State::Open, None));
        },
    );
}

#[test]
fn no_call_is_admitted_in_the_name_of_an_open_circuit() {
    explore(
        |_| (),
        |circuit, now| {
            let ours = admit(&circuit, now).unwrap();
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
            record(&circuit, ours, FAILURE, now);
            let (closed, admission) = (reset.join().unwrap(), caller.join().unwrap());
            // Either the failure came first: open is 1, closed again is 2. Or it was stale: closed again is 1.
            assert!(admission.is_none_or(|admission| admission.generation == 0 || admission.generation == closed));
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
            let fail = move |circuit: &SharedCircuit| {
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

/// What is read at a glance is of one opening: never the cause of the one with the time of the other.
#[test]
fn a_refusal_at_a_glance_is_of_one_piece() {
    explore(
        |_| (),
        |circuit, now| {
            let open = |circuit: &SharedCircuit, mark| record(circuit, admit(circuit, now).unwrap(), mark, now);
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
