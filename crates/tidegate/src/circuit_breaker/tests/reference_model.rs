//! A reference model of the circuit, compared with the real one. The model logs every event, and computes
//! every answer from the whole log.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::ErrorCode;
use crate::circuit_breaker::State;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::circuit::{Circuit, CircuitAdmission};
use crate::circuit_breaker::rejections::RejectionCause;
use crate::circuit_breaker::settings::Settings;
use crate::store::{WindowSpan, WindowTotals};
use crate::testing::MILLI;

/// The draw for the jitter of each cooldown.
const RANDOM: f64 = 0.5;

/// An entry of the model's log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LogEntry {
    Opened {
        until: Instant,
        own: Option<Duration>,
        cause: RejectionCause,
    },
    HalfOpened,
    Closed {
        ramps: bool,
    },
    Forced {
        open: bool,
    },
    RampChecked,
    Admitted {
        probe: bool,
    },
    /// The head of a response has proven that the provider works.
    Head,
    BodyEnded {
        head: usize,
    },
    ProbeEnded {
        number: usize,
        succeeded: bool,
    },
    Result {
        code: Option<ErrorCode>,
        is_of_body: bool,
    },
    Measured {
        slow: bool,
    },
    /// The provider has sent a wait.
    Waits {
        until: Instant,
    },
}

/// The admission of one attempt by the model: its generation, and in the log of that generation its entry if
/// it is a probe, and that of its head.
#[derive(Clone, Copy, Debug)]
struct ModelAdmission {
    generation: usize,
    probe: Option<usize>,
    head: Option<usize>,
}

struct Model {
    settings: Settings,
    origin: Instant,
    /// The log of each generation. Its first entry is the one that began the generation.
    generations: Vec<Vec<(Instant, LogEntry)>>,
    last_failure: Option<(ErrorCode, Instant)>,
}

impl Model {
    fn new(settings: Settings, origin: Instant) -> Self {
        let first = vec![(origin, LogEntry::Closed { ramps: false })];
        Self { settings, origin, generations: vec![first], last_failure: None }
    }

    fn generation(&self) -> &[(Instant, LogEntry)] {
        self.generations.last().unwrap()
    }

    fn phase(&self) -> (Instant, LogEntry) {
        self.generation()[0]
    }

    fn append(&mut self, now: Instant, entry: LogEntry) {
        self.generations.last_mut().unwrap().push((now, entry));
    }

    fn begin_generation(&mut self, now: Instant, entry: LogEntry) {
        self.generations.push(vec![(now, entry)]);
    }

    fn state(&self, now: Instant) -> State {
        match self.phase().1 {
            LogEntry::Opened { until, .. } if now < until => State::Open,
            LogEntry::Opened { .. } | LogEntry::HalfOpened => State::HalfOpen,
            LogEntry::Forced { open: true } => State::Open,
            _ => State::Closed,
        }
    }

    /// Returns the remaining lease of each probe in flight in this generation.
    fn remaining_leases(&self, now: Instant) -> Vec<Duration> {
        let has_ended = |number| {
            self.generation()
                .iter()
                .any(|(_, entry)| matches!(entry, LogEntry::ProbeEnded { number: n, .. } if *n == number))
        };
        let probes = self.generation().iter().enumerate().filter(|(number, (_, entry))| {
            *entry == LogEntry::Admitted { probe: true } && !has_ended(*number)
        });
        probes
            .map(|(_, (started, _))| (*started + self.settings.probe_lease).saturating_duration_since(now))
            .filter(|remaining| !remaining.is_zero())
            .collect()
    }

    /// Returns whether a probe still holds its slot. After its lease has ended it does so until another probe
    /// starts.
    fn holds_probe_slot(&self, number: usize) -> bool {
        let (started, _) = self.generation()[number];
        let ends = started + self.settings.probe_lease;
        let later = &self.generation()[number + 1..];
        let has_ended =
            |entry: &LogEntry| matches!(entry, LogEntry::ProbeEnded { number: n, .. } if *n == number);
        !later.iter().any(|(at, entry)| {
            has_ended(entry) || (*entry == LogEntry::Admitted { probe: true } && *at >= ends)
        })
    }

    fn admit(&mut self, now: Instant) -> Result<ModelAdmission, (RejectionCause, Option<Duration>)> {
        if let LogEntry::Opened { until, .. } = self.phase().1
            && now >= until
        {
            self.begin_generation(now, LogEntry::HalfOpened);
        }
        let probe = match self.phase() {
            (_, LogEntry::Opened { until, cause, .. }) => return Err((cause, Some(until - now))),
            (_, LogEntry::Forced { open: true }) => return Err((RejectionCause::ForcedOpen, None)),
            (_, LogEntry::HalfOpened) => {
                let remaining_leases = self.remaining_leases(now);
                if remaining_leases.len() >= self.settings.half_open_max as usize {
                    let wait = *remaining_leases.iter().min().unwrap();
                    return Err((RejectionCause::Probing, Some(wait.min(1_000 * MILLI))));
                }
                true
            }
            (closed_at, LogEntry::Closed { ramps: true }) => {
                let over = self.settings.ramp_up.unwrap();
                let share = |at: Instant| (at - closed_at).as_secs_f64() / over.as_secs_f64() * 0.9 + 0.1;
                self.append(now, LogEntry::RampChecked);
                let checked = self.generation().iter().filter(|(_, entry)| *entry == LogEntry::RampChecked);
                let due: f64 = checked.map(|(at, _)| share(*at).min(1.0)).sum();
                let admitted =
                    self.generation().iter().filter(|(_, e)| matches!(e, LogEntry::Admitted { .. })).count();
                // To the rounding of a sum, in favour of the call.
                let remaining = over.saturating_sub(now - closed_at);
                if due + 1e-9 < admitted as f64 && !remaining.is_zero() {
                    return Err((RejectionCause::Ramping, Some(remaining.min(1_000 * MILLI))));
                }
                false
            }
            _ => false,
        };
        self.append(now, LogEntry::Admitted { probe });
        let number = self.generation().len() - 1;
        Ok(ModelAdmission {
            generation: self.generations.len() - 1,
            probe: probe.then_some(number),
            head: None,
        })
    }

    fn record_head(
        &mut self,
        admission: ModelAdmission,
        is_proven: bool,
        latency: Latency,
        now: Instant,
    ) -> Option<ModelAdmission> {
        let result = if admission.probe.is_some() { AttemptResult::Success } else { AttemptResult::Neutral };
        if admission.generation != self.generations.len() - 1 {
            return None;
        }
        self.record(admission, result, latency, now);
        if matches!(self.phase().1, LogEntry::Opened { .. }) {
            return None;
        }
        if is_proven {
            self.append(now, LogEntry::Head);
        }
        let head = is_proven.then(|| self.generation().len() - 1);
        Some(ModelAdmission { generation: self.generations.len() - 1, probe: None, head })
    }

    fn record(&mut self, admission: ModelAdmission, result: AttemptResult, latency: Latency, now: Instant) {
        let wait = match result {
            AttemptResult::Failure(_, wait) | AttemptResult::Quota(wait) => wait.unwrap_or_default(),
            AttemptResult::Uncounted(wait) => wait,
            AttemptResult::Success | AttemptResult::Neutral => Duration::ZERO,
        };
        let is_quota = matches!(result, AttemptResult::Quota(_));
        let is_reported = !wait.is_zero();
        let wait = if is_quota && wait.is_zero() { self.settings.quota_cooldown } else { wait };
        let jittered_end = self.jittered_end(wait, now);
        if let (_, LogEntry::Opened { until, cause, .. }) = &mut self.generations.last_mut().unwrap()[0]
            && (is_reported || now < *until)
        {
            *until = (*until).max(jittered_end);
            if is_quota {
                *cause = RejectionCause::Quota;
            }
        }
        let is_closed = matches!(self.phase().1, LogEntry::Closed { .. });
        if !(is_closed || self.phase().1 == LogEntry::HalfOpened) {
            return;
        }
        if !wait.is_zero() {
            self.append(now, LogEntry::Waits { until: jittered_end });
        }
        if admission.generation != self.generations.len() - 1 {
            return;
        }
        if let Some(head) = admission.head {
            self.append(now, LogEntry::BodyEnded { head });
        }
        match result {
            AttemptResult::Quota(_) => {
                self.last_failure = Some((ErrorCode::QuotaExhausted, now));
                let until = jittered_end.max(self.end_of_waits(now));
                self.begin_generation(
                    now,
                    LogEntry::Opened { until, own: None, cause: RejectionCause::Quota },
                );
                return;
            }
            AttemptResult::Failure(code, _) => self.last_failure = Some((code, now)),
            AttemptResult::Success | AttemptResult::Uncounted(_) | AttemptResult::Neutral => {}
        }
        let opens = if is_closed {
            let is_of_body = admission.head.is_some();
            self.append_result(result, is_of_body, latency, now);
            self.should_open(result, is_of_body, latency, now)
        } else {
            let in_time = admission.probe.is_some_and(|number| self.holds_probe_slot(number));
            let is_slow = latency == Latency::Slow;
            let succeeded = result == AttemptResult::Success && admission.probe.is_some() && !is_slow;
            if let Some(number) = admission.probe {
                self.append(now, LogEntry::ProbeEnded { number, succeeded });
            }
            match result {
                AttemptResult::Failure(..) => in_time || admission.probe.is_none(),
                _ => is_slow && in_time,
            }
        };
        let successes = self
            .generation()
            .iter()
            .filter(|(_, e)| matches!(e, LogEntry::ProbeEnded { succeeded: true, .. }))
            .count();
        if opens {
            let own = self.base_cooldown(now);
            let until = self.jittered_end(own, now).max(self.end_of_waits(now));
            self.begin_generation(
                now,
                LogEntry::Opened { until, own: Some(own), cause: RejectionCause::Failing },
            );
        } else if !is_closed && successes >= self.settings.success_threshold as usize {
            self.begin_generation(now, LogEntry::Closed { ramps: self.settings.ramp_up.is_some() });
        }
    }

    fn jittered_end(&self, wait: Duration, now: Instant) -> Instant {
        now + wait + wait.mul_f64(self.settings.cooldown_jitter * RANDOM)
    }

    /// Returns the latest end of the waits since the latest success of this generation.
    fn end_of_waits(&self, now: Instant) -> Instant {
        let ends = self.since_success().filter_map(|entry| match entry {
            LogEntry::Waits { until } => Some(until),
            _ => None,
        });
        ends.max().unwrap_or(now)
    }

    /// Returns the entries since the latest success of this generation, from the latest one back.
    fn since_success(&self) -> impl Iterator<Item = LogEntry> {
        let entries = self.generation().iter().rev().map(|(_, entry)| *entry);
        entries.take_while(|entry| !matches!(entry, LogEntry::Result { code: None, .. }))
    }

    fn append_result(&mut self, result: AttemptResult, is_of_body: bool, latency: Latency, now: Instant) {
        let entry = |code| LogEntry::Result { code, is_of_body };
        match result {
            AttemptResult::Failure(code, _) => self.append(now, entry(Some(code))),
            AttemptResult::Success => self.append(now, entry(None)),
            AttemptResult::Neutral | AttemptResult::Uncounted(_) | AttemptResult::Quota(_) => {}
        }
        if latency != Latency::Unknown {
            self.append(now, LogEntry::Measured { slow: latency == Latency::Slow });
        }
    }

    fn should_open(&self, result: AttemptResult, is_of_body: bool, latency: Latency, now: Instant) -> bool {
        let has_ended = |head| self.generation().iter().any(|(_, e)| *e == LogEntry::BodyEnded { head });
        let is_separator = |(number, entry)| match entry {
            LogEntry::Result { code, .. } => code.is_none(),
            LogEntry::Head => !has_ended(number),
            _ => false,
        };
        let entries = self.generation().iter().map(|(_, entry)| *entry).enumerate();
        let since_separator = entries.rev().take_while(|entry| !is_separator(*entry));
        let streak = since_separator.filter(|(_, e)| matches!(e, LogEntry::Result { .. })).count();
        let is_broken = |entry: &LogEntry| matches!(entry, LogEntry::Result { is_of_body: true, .. });
        let broken = self.since_success().filter(is_broken).count();
        // A failure at the head opens for itself, whatever bodies have broken.
        let streak = if is_of_body { streak.max(broken) } else { streak };
        let failed = matches!(result, AttemptResult::Failure(..));
        let too_many = |[bad, calls]: [u64; 2], threshold: f64, window| {
            let enough = match window {
                WindowSpan::Calls(size) => size.min(self.settings.minimum_throughput),
                WindowSpan::Time(_) => self.settings.minimum_throughput,
            };
            calls > 0 && calls >= enough.into() && bad as f64 / calls as f64 >= threshold
        };
        let [failures, slow_calls] = self.window_totals(now);
        let rate = self.settings.failure_rate_threshold;
        let failing = streak >= self.settings.failure_threshold as usize
            || rate.is_some_and(|rate| too_many(failures, rate, self.settings.window()));
        let slow = self.settings.slow_call_threshold.is_some()
            && too_many(slow_calls, self.settings.slow_call_rate(), self.settings.slow_call_window());
        failed && failing || latency == Latency::Slow && slow
    }

    /// The bad calls and all calls, of the results and of the latencies, since the circuit last closed.
    fn window_totals(&self, now: Instant) -> [[u64; 2]; 2] {
        let is_closed =
            |generation: &&Vec<(Instant, LogEntry)>| matches!(generation[0].1, LogEntry::Closed { .. });
        let generation = self.generations.iter().rev().find(is_closed).unwrap();
        let totals = |samples: Vec<(Instant, bool)>, window| {
            let seen: Vec<_> = match window {
                WindowSpan::Calls(size) => samples.into_iter().rev().take(size as usize).collect(),
                WindowSpan::Time(span) => {
                    let slice = |at: Instant| (at - self.origin).as_nanos() / (span / 10).as_nanos();
                    samples.into_iter().filter(|(at, _)| slice(*at) + 10 > slice(now)).collect()
                }
            };
            [seen.iter().filter(|(_, bad)| *bad).count() as u64, seen.len() as u64]
        };
        let results = generation.iter().filter_map(|(at, entry)| match entry {
            LogEntry::Result { code, .. } => Some((*at, code.is_some())),
            _ => None,
        });
        let latencies = generation.iter().filter_map(|(at, entry)| match entry {
            LogEntry::Measured { slow } => Some((*at, *slow)),
            _ => None,
        });
        let (window, slow_call_window) = (self.settings.window(), self.settings.slow_call_window());
        let shows_results =
            self.settings.failure_rate_threshold.is_some() || matches!(window, WindowSpan::Calls(_));
        let measures_latency = self.settings.slow_call_threshold.is_some();
        [
            if shows_results { totals(results.collect(), window) } else { [0, 0] },
            if measures_latency { totals(latencies.collect(), slow_call_window) } else { [0, 0] },
        ]
    }

    /// Returns the cooldown after growth by the number of openings in a row. The row ends when the circuit
    /// was closed for as long as it was last open.
    fn base_cooldown(&self, now: Instant) -> Duration {
        let mut cooldowns: Vec<Duration> = Vec::new();
        let mut closed_at = None;
        let openings = self.generations.iter().map(|generation| generation[0]);
        for (at, entry) in openings.chain([(
            now,
            LogEntry::Opened { until: now, own: Some(Duration::ZERO), cause: RejectionCause::Failing },
        )]) {
            let was_healthy = closed_at
                .is_some_and(|closed: Instant| cooldowns.last().is_some_and(|last| at - closed >= *last));
            match entry {
                LogEntry::Closed { .. } => closed_at = Some(at),
                LogEntry::Opened { own: Some(own), .. } => {
                    if was_healthy {
                        cooldowns.clear();
                    }
                    closed_at = None;
                    cooldowns.push(own);
                }
                // The circuit opened for lack of quota. That time does not count as healthy.
                LogEntry::Opened { own: None, .. } if !was_healthy => closed_at = None,
                _ => {}
            }
        }
        let grown =
            self.settings.cooldown.mul_f64(self.settings.cooldown_growth.powi(cooldowns.len() as i32 - 1));
        grown.min(self.settings.longest_cooldown())
    }

    fn reset(&mut self, now: Instant) {
        // Clears the logs, and keeps the number of generations.
        for generation in &mut self.generations {
            *generation = vec![(generation[0].0, LogEntry::HalfOpened)];
        }
        self.last_failure = None;
        self.begin_generation(now, LogEntry::Closed { ramps: false });
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Commit(usize, bool, Latency),
    End(usize, AttemptResult, Latency),
    Wait(u32),
    Force(bool),
    Reset,
}

fn latencies() -> impl Strategy<Value = Latency> {
    prop_oneof![Just(Latency::Unknown), Just(Latency::Fast), Just(Latency::Slow)]
}

fn results() -> impl Strategy<Value = AttemptResult> {
    let retry_after = || prop::option::weighted(0.2, (0u32..4_000).prop_map(|wait| wait * MILLI));
    let codes = prop_oneof![Just(ErrorCode::Overloaded), Just(ErrorCode::Timeout)];
    prop_oneof![
        6 => Just(AttemptResult::Success),
        6 => (codes, retry_after()).prop_map(|(code, retry_after)| AttemptResult::Failure(code, retry_after)),
        2 => Just(AttemptResult::Neutral),
        1 => retry_after().prop_map(AttemptResult::Quota),
        1 => (1u32..4_000).prop_map(|wait| AttemptResult::Uncounted(wait * MILLI)),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => Just(Step::Admit),
        8 => (any::<usize>(), prop::bool::weighted(0.8), latencies())
            .prop_map(|(which, is_proven, latency)| Step::Commit(which, is_proven, latency)),
        16 => (any::<usize>(), results(), latencies()).prop_map(|(which, result, latency)| Step::End(which, result, latency)),
        8 => (0u32..300).prop_map(Step::Wait),
        4 => (300u32..3_000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Force),
        1 => Just(Step::Reset),
    ]
}

/// Rates that few calls can have, and others.
fn rate_thresholds() -> impl Strategy<Value = Option<f64>> {
    let rates = prop_oneof![prop::sample::select(vec![0.25, 0.5, 1.0]), 0.0f64..=1.0];
    prop::option::of(rates)
}

prop_compose! {
    fn settings()(
        failure_threshold in prop_oneof![1u32..5, Just(u32::MAX)],
        failure_rate_threshold in rate_thresholds(),
        slow_call_threshold in prop::option::of(Just(1_000 * MILLI)),
        slow_call_rate_threshold in rate_thresholds(),
        cooldown_jitter in prop_oneof![Just(0.0), Just(0.5)],
        slow_call_window_size in prop::option::of(1u32..8),
        minimum_throughput in 0u32..6,
        window in prop_oneof![
            (1u32..8).prop_map(WindowSpan::Calls),
            (10u32..5_000).prop_map(|span| WindowSpan::Time(span * MILLI)),
        ],
        success_threshold in 1u32..4,
        cooldown_growth in prop_oneof![Just(1.0), Just(2.0)],
        ramp_up in prop::option::of((1u32..3_000).prop_map(|over| over * MILLI)),
        half_open_max in 1u32..4,
    ) -> Settings {
        let mut settings = Settings {
            failure_threshold, failure_rate_threshold, slow_call_threshold, slow_call_rate_threshold,
            slow_call_window_size, minimum_throughput, success_threshold, cooldown_growth, ramp_up, half_open_max,
            cooldown_jitter,
            cooldown: 1_000 * MILLI, max_cooldown: Some(3_000 * MILLI), quota_cooldown: 1_500 * MILLI,
            probe_lease: 800 * MILLI, ..Settings::default()
        };
        settings.set_window(window);
        settings
    }
}

proptest! {
    #![proptest_config(Config::with_cases(10_000))]

    #[test]
    fn the_circuit_equals_the_reference_model_for_any_events(
        settings in settings(), steps in prop::collection::vec(steps(), 1..50),
    ) {
        let start = Instant::now();
        let (mut circuit, mut model) = (Circuit::new(settings.clone()), Model::new(settings, start));
        circuit.window_totals(start);
        let mut live: Vec<(CircuitAdmission, ModelAdmission)> = Vec::new();
        let mut now = start;
        for step in steps {
            match step {
                Step::Admit => {
                    let real = circuit.admit(now).map_err(|rejection| {
                        (rejection.cause, rejection.retry_after)
                    });
                    match (real, model.admit(now)) {
                        (Ok(admission), Ok(expected)) => {
                            prop_assert_eq!(admission.is_probe(), expected.probe.is_some());
                            live.push((admission, expected));
                        }
                        (real, model) => prop_assert_eq!(real.err(), model.err()),
                    }
                }
                Step::Commit(which, is_proven, latency) if !live.is_empty() => {
                    let (admission, expected) = live.swap_remove(which % live.len());
                    let admission = circuit.record_head(admission, is_proven, latency, now, RANDOM);
                    let expected = model.record_head(expected, is_proven, latency, now);
                    prop_assert_eq!(admission.is_some(), expected.is_some());
                    live.extend(admission.zip(expected));
                }
                Step::End(which, result, latency) if !live.is_empty() => {
                    let (admission, expected) = live.swap_remove(which % live.len());
                    circuit.record(admission, result, latency, now, RANDOM);
                    model.record(expected, result, latency, now);
                }
                Step::Wait(millis) => now += millis * MILLI,
                Step::Force(open) => {
                    circuit.force(open, now);
                    model.begin_generation(now, LogEntry::Forced { open });
                }
                Step::Reset => {
                    circuit.reset(now);
                    model.reset(now);
                }
                Step::Commit(..) | Step::End(..) => {}
            }
            prop_assert_eq!(circuit.state(now), model.state(now));
            prop_assert_eq!(circuit.last_failure(), model.last_failure);
            let window_totals = circuit.window_totals(now).map(|WindowTotals { bad, calls }| [bad, calls]);
            prop_assert_eq!(window_totals, model.window_totals(now));
            prop_assert_eq!(circuit.generation() as usize + 1, model.generations.len());
        }
    }
}
