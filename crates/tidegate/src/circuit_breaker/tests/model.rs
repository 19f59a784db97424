//! A second breaker, as simple as can be, against the real one: it writes down everything that happens and, when
//! asked, reads it all again.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::ErrorCode;
use crate::circuit_breaker::State;
use crate::circuit_breaker::mark::{Mark, Pace};
use crate::circuit_breaker::pass::{Cause, Pass};
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::state::Circuit;
use crate::circuit_breaker::window::{Span, Tally};

const MILLI: Duration = Duration::from_millis(1);

/// What the model writes down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Opened { until: Instant, own: Option<Duration> },
    HalfOpened,
    Closed { ramps: bool },
    Held { open: bool },
    Asked,
    Admitted { probe: bool },
    ProbeBack { number: usize, succeeded: bool },
    Result { code: Option<ErrorCode> },
    Paced { slow: bool },
}

/// The way of one attempt through the model: the number of the page on which it was admitted, and of its entry there
/// if it is a probe.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    page: usize,
    probe: Option<usize>,
}

struct Model {
    settings: Settings,
    origin: Instant,
    /// A page for each generation, which begins with how it began.
    pages: Vec<Vec<(Instant, Entry)>>,
    last_failure: Option<(ErrorCode, Instant)>,
}

impl Model {
    fn new(settings: Settings, origin: Instant) -> Self {
        let first = vec![(origin, Entry::Closed { ramps: false })];
        Self { settings, origin, pages: vec![first], last_failure: None }
    }

    fn page(&self) -> &[(Instant, Entry)] {
        self.pages.last().unwrap()
    }

    fn phase(&self) -> (Instant, Entry) {
        self.page()[0]
    }

    fn write(&mut self, now: Instant, entry: Entry) {
        self.pages.last_mut().unwrap().push((now, entry));
    }

    fn turn(&mut self, now: Instant, entry: Entry) {
        self.pages.push(vec![(now, entry)]);
    }

    fn state(&self, now: Instant) -> State {
        match self.phase().1 {
            Entry::Opened { until, .. } if now < until => State::Open,
            Entry::Opened { .. } | Entry::HalfOpened => State::HalfOpen,
            Entry::Held { open: true } => State::Open,
            _ => State::Closed,
        }
    }

    /// The probes under way on this page whose lease has not ended: how long each still has.
    fn leases(&self, now: Instant) -> Vec<Duration> {
        let back = |number| {
            self.page()
                .iter()
                .any(|(_, entry)| matches!(entry, Entry::ProbeBack { number: n, .. } if *n == number))
        };
        let probes = self
            .page()
            .iter()
            .enumerate()
            .filter(|(number, (_, entry))| *entry == Entry::Admitted { probe: true } && !back(*number));
        probes
            .map(|(_, (sent, _))| (*sent + self.settings.probe_lease).saturating_duration_since(now))
            .filter(|rest| !rest.is_zero())
            .collect()
    }

    /// Whether a probe still has its place: its lease may have ended, but then nobody has been sent since.
    fn has_its_place(&self, number: usize) -> bool {
        let (sent, _) = self.page()[number];
        let ends = sent + self.settings.probe_lease;
        let later = &self.page()[number + 1..];
        let is_back = |entry: &Entry| matches!(entry, Entry::ProbeBack { number: n, .. } if *n == number);
        !later
            .iter()
            .any(|(at, entry)| is_back(entry) || (*entry == Entry::Admitted { probe: true } && *at >= ends))
    }

    fn admit(&mut self, now: Instant) -> Result<Ticket, (Cause, Option<Duration>)> {
        if let Entry::Opened { until, .. } = self.phase().1
            && now >= until
        {
            self.turn(now, Entry::HalfOpened);
        }
        let probe = match self.phase() {
            (_, Entry::Opened { until, own: None }) => return Err((Cause::Quota, Some(until - now))),
            (_, Entry::Opened { until, .. }) => return Err((Cause::Failing, Some(until - now))),
            (_, Entry::Held { open: true }) => return Err((Cause::Held, None)),
            (_, Entry::HalfOpened) => {
                let leases = self.leases(now);
                if leases.len() >= self.settings.half_open_max as usize {
                    let wait = *leases.iter().min().unwrap();
                    return Err((Cause::Probing, Some(wait.min(1_000 * MILLI))));
                }
                true
            }
            (closed_at, Entry::Closed { ramps: true }) => {
                let over = self.settings.ramp_up.unwrap();
                let share = |at: Instant| (at - closed_at).as_secs_f64() / over.as_secs_f64() * 0.9 + 0.1;
                self.write(now, Entry::Asked);
                let asked = self.page().iter().filter(|(_, entry)| *entry == Entry::Asked);
                let due: f64 = asked.map(|(at, _)| share(*at).min(1.0)).sum();
                let passed = self.page().iter().filter(|(_, e)| matches!(e, Entry::Admitted { .. })).count();
                // To the rounding of a sum, in favour of the call.
                let rest = over.saturating_sub(now - closed_at);
                if due + 1e-9 < passed as f64 && !rest.is_zero() {
                    return Err((Cause::Ramping, Some(rest.min(1_000 * MILLI))));
                }
                false
            }
            _ => false,
        };
        self.write(now, Entry::Admitted { probe });
        let number = self.page().len() - 1;
        Ok(Ticket { page: self.pages.len() - 1, probe: probe.then_some(number) })
    }

    fn commit(&mut self, ticket: Ticket, pace: Pace, now: Instant) -> Option<Ticket> {
        let mark = if ticket.probe.is_some() { Mark::Success } else { Mark::Neutral };
        if ticket.page != self.pages.len() - 1 {
            return None;
        }
        self.record(ticket, mark, pace, now);
        let open = matches!(self.phase().1, Entry::Opened { .. });
        (!open).then_some(Ticket { page: self.pages.len() - 1, probe: None })
    }

    fn record(&mut self, ticket: Ticket, mark: Mark, pace: Pace, now: Instant) {
        let is_stale = ticket.page != self.pages.len() - 1;
        let is_closed = matches!(self.phase().1, Entry::Closed { .. });
        if is_stale || !(is_closed || self.phase().1 == Entry::HalfOpened) {
            return;
        }
        match mark {
            Mark::Quota(told) => {
                self.last_failure = Some((ErrorCode::QuotaExhausted, now));
                let wait = told.filter(|told| !told.is_zero()).unwrap_or(self.settings.quota_cooldown);
                self.turn(now, Entry::Opened { until: now + wait, own: None });
                return;
            }
            Mark::Failure(code, _) => self.last_failure = Some((code, now)),
            Mark::Success | Mark::Neutral => {}
        }
        let opens = if is_closed {
            self.write_down(mark, pace, now);
            self.is_too_bad(mark, pace, now)
        } else {
            let in_time = ticket.probe.is_some_and(|number| self.has_its_place(number));
            let is_slow = pace == Pace::Slow;
            let succeeded = mark == Mark::Success && ticket.probe.is_some() && !is_slow;
            if let Some(number) = ticket.probe {
                self.write(now, Entry::ProbeBack { number, succeeded });
            }
            match mark {
                Mark::Failure(..) => in_time || ticket.probe.is_none(),
                _ => is_slow && in_time,
            }
        };
        let successes =
            self.page().iter().filter(|(_, e)| matches!(e, Entry::ProbeBack { succeeded: true, .. })).count();
        if opens {
            let own = self.own_cooldown(now);
            let told = if let Mark::Failure(_, Some(told)) = mark { told } else { Duration::ZERO };
            self.turn(now, Entry::Opened { until: now + own.max(told), own: Some(own) });
        } else if !is_closed && successes >= self.settings.success_threshold as usize {
            self.turn(now, Entry::Closed { ramps: self.settings.ramp_up.is_some() });
        }
    }

    fn write_down(&mut self, mark: Mark, pace: Pace, now: Instant) {
        match mark {
            Mark::Failure(code, _) => self.write(now, Entry::Result { code: Some(code) }),
            Mark::Success => self.write(now, Entry::Result { code: None }),
            Mark::Neutral | Mark::Quota(_) => {}
        }
        if pace != Pace::Unknown {
            self.write(now, Entry::Paced { slow: pace == Pace::Slow });
        }
    }

    fn is_too_bad(&self, mark: Mark, pace: Pace, now: Instant) -> bool {
        let results = self.page().iter().rev().filter_map(|(_, entry)| match entry {
            Entry::Result { code } => Some(code),
            _ => None,
        });
        let streak = results.take_while(|code| code.is_some()).count();
        let failed = matches!(mark, Mark::Failure(..));
        let too_many = |[bad, calls]: [u64; 2], threshold: f64| {
            let enough = match self.settings.window {
                Span::Calls(size) => size.min(self.settings.minimum_throughput),
                Span::Time(_) => self.settings.minimum_throughput,
            };
            calls > 0 && calls >= enough.into() && bad as f64 / calls as f64 >= threshold
        };
        let [failures, slow_calls] = self.tallies(now);
        let rate = self.settings.failure_rate_threshold;
        let failing = streak >= self.settings.failure_threshold as usize
            || rate.is_some_and(|rate| too_many(failures, rate));
        let slow = self.settings.slow_call_threshold.is_some()
            && too_many(slow_calls, self.settings.slow_call_rate_threshold);
        failed && failing || pace == Pace::Slow && slow
    }

    /// Bad ones and all, of the results and of the paces, since the circuit last closed.
    fn tallies(&self, now: Instant) -> [[u64; 2]; 2] {
        let is_closed = |page: &&Vec<(Instant, Entry)>| matches!(page[0].1, Entry::Closed { .. });
        let page = self.pages.iter().rev().find(is_closed).unwrap();
        let tally = |samples: Vec<(Instant, bool)>| {
            let seen: Vec<_> = match self.settings.window {
                Span::Calls(size) => samples.into_iter().rev().take(size as usize).collect(),
                Span::Time(span) => {
                    let slice = |at: Instant| (at - self.origin).as_nanos() / (span / 10).as_nanos();
                    samples.into_iter().filter(|(at, _)| slice(*at) + 10 > slice(now)).collect()
                }
            };
            [seen.iter().filter(|(_, bad)| *bad).count() as u64, seen.len() as u64]
        };
        let results = page.iter().filter_map(|(at, entry)| match entry {
            Entry::Result { code } => Some((*at, code.is_some())),
            _ => None,
        });
        let paces = page.iter().filter_map(|(at, entry)| match entry {
            Entry::Paced { slow } => Some((*at, *slow)),
            _ => None,
        });
        let measured = |is_measured: bool, samples| if is_measured { tally(samples) } else { [0, 0] };
        [
            measured(self.settings.failure_rate_threshold.is_some(), results.collect()),
            measured(self.settings.slow_call_threshold.is_some(), paces.collect()),
        ]
    }

    /// So many times longer as it opened in a row. The row breaks where a closed time was as long as the last open.
    fn own_cooldown(&self, now: Instant) -> Duration {
        let mut row: Vec<Duration> = Vec::new();
        let mut closed_at = None;
        let openings = self.pages.iter().map(|page| page[0]);
        for (at, entry) in openings.chain([(now, Entry::Opened { until: now, own: Some(Duration::ZERO) })]) {
            let was_well =
                closed_at.is_some_and(|closed: Instant| row.last().is_some_and(|last| at - closed >= *last));
            match entry {
                Entry::Closed { .. } => closed_at = Some(at),
                Entry::Opened { own: Some(own), .. } => {
                    if was_well {
                        row.clear();
                    }
                    closed_at = None;
                    row.push(own);
                }
                // For want of quota: that the circuit was open is no time in which the provider was well.
                Entry::Opened { own: None, .. } if !was_well => closed_at = None,
                _ => {}
            }
        }
        let grown = self.settings.cooldown.mul_f64(self.settings.cooldown_growth.powi(row.len() as i32 - 1));
        grown.min(self.settings.max_cooldown)
    }

    fn reset(&mut self, now: Instant) {
        // Forgets: what came before is not asked for again. The numbers of pages go on.
        for page in &mut self.pages {
            *page = vec![(page[0].0, Entry::HalfOpened)];
        }
        self.last_failure = None;
        self.turn(now, Entry::Closed { ramps: false });
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Commit(usize, Pace),
    End(usize, Mark, Pace),
    Wait(u32),
    Hold(bool),
    Reset,
}

fn paces() -> impl Strategy<Value = Pace> {
    prop_oneof![Just(Pace::Unknown), Just(Pace::Fast), Just(Pace::Slow)]
}

fn marks() -> impl Strategy<Value = Mark> {
    let told = || prop::option::weighted(0.2, (0u32..4_000).prop_map(|wait| wait * MILLI));
    let codes = prop_oneof![Just(ErrorCode::Overloaded), Just(ErrorCode::Timeout)];
    prop_oneof![
        6 => Just(Mark::Success),
        6 => (codes, told()).prop_map(|(code, told)| Mark::Failure(code, told)),
        2 => Just(Mark::Neutral),
        1 => told().prop_map(Mark::Quota),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => Just(Step::Admit),
        8 => (any::<usize>(), paces()).prop_map(|(which, pace)| Step::Commit(which, pace)),
        16 => (any::<usize>(), marks(), paces()).prop_map(|(which, mark, pace)| Step::End(which, mark, pace)),
        8 => (0u32..300).prop_map(Step::Wait),
        4 => (300u32..3_000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::Reset),
    ]
}

prop_compose! {
    fn settings()(
        failure_threshold in prop_oneof![1u32..5, Just(u32::MAX)],
        failure_rate_threshold in prop::option::of(0.0f64..=1.0),
        slow_call_threshold in prop::option::of(Just(1_000 * MILLI)),
        slow_call_rate_threshold in 0.0f64..=1.0,
        minimum_throughput in 0u32..6,
        window in prop_oneof![
            (1u32..8).prop_map(Span::Calls),
            (10u32..5_000).prop_map(|span| Span::Time(span * MILLI)),
        ],
        success_threshold in 1u32..4,
        cooldown_growth in prop_oneof![Just(1.0), Just(2.0)],
        ramp_up in prop::option::of((1u32..3_000).prop_map(|over| over * MILLI)),
        half_open_max in 1u32..4,
    ) -> Settings {
        Settings {
            failure_threshold, failure_rate_threshold, slow_call_threshold, slow_call_rate_threshold,
            minimum_throughput, window, success_threshold, cooldown_growth, ramp_up, half_open_max,
            cooldown: 1_000 * MILLI, max_cooldown: 3_000 * MILLI, quota_cooldown: 1_500 * MILLI,
            probe_lease: 800 * MILLI, ..Settings::default()
        }
    }
}

proptest! {
    #![proptest_config(Config::with_cases(10_000))]

    #[test]
    fn whatever_happens_the_circuit_does_what_the_simple_one_does(
        settings in settings(), steps in prop::collection::vec(steps(), 1..50),
    ) {
        let start = Instant::now();
        let (mut circuit, mut model) = (Circuit::new(settings.clone()), Model::new(settings, start));
        circuit.tallies(start);
        let mut live: Vec<(Pass, Ticket)> = Vec::new();
        let mut now = start;
        for step in steps {
            match step {
                Step::Admit => {
                    let real = circuit.admit(now).map_err(|refusal| {
                        (refusal.cause, refusal.retry_after)
                    });
                    match (real, model.admit(now)) {
                        (Ok(pass), Ok(ticket)) => {
                            prop_assert_eq!(pass.probe.is_some(), ticket.probe.is_some());
                            live.push((pass, ticket));
                        }
                        (real, model) => prop_assert_eq!(real.err(), model.err()),
                    }
                }
                Step::Commit(which, pace) if !live.is_empty() => {
                    let (pass, ticket) = live.swap_remove(which % live.len());
                    let (pass, ticket) = (circuit.commit(pass, pace, now, 0.5), model.commit(ticket, pace, now));
                    prop_assert_eq!(pass.is_some(), ticket.is_some());
                    live.extend(pass.zip(ticket));
                }
                Step::End(which, mark, pace) if !live.is_empty() => {
                    let (pass, ticket) = live.swap_remove(which % live.len());
                    circuit.record(pass, mark, pace, now, 0.5);
                    model.record(ticket, mark, pace, now);
                }
                Step::Wait(millis) => now += millis * MILLI,
                Step::Hold(open) => {
                    circuit.hold(open, now);
                    model.turn(now, Entry::Held { open });
                }
                Step::Reset => {
                    circuit.reset(now);
                    model.reset(now);
                }
                Step::Commit(..) | Step::End(..) => {}
            }
            prop_assert_eq!(circuit.state(now), model.state(now));
            prop_assert_eq!(circuit.last_failure(), model.last_failure);
            let tallies = circuit.tallies(now).map(|Tally { bad, calls }| [bad, calls]);
            prop_assert_eq!(tallies, model.tallies(now));
            prop_assert_eq!(circuit.generation() as usize + 1, model.pages.len());
        }
    }
}
