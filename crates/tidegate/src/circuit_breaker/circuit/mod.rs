//! The circuit as plain data: results and a `now` in, verdicts out.
//!
//! ```text
//!              failure_threshold consecutive failures,
//!              failure_rate_threshold or slow_call_rate_threshold reached,
//!      ┌────────┐ or the quota exhausted                           ┌──────┐
//!      │ closed │ ───────────────────────────────────────────────▶ │ open │ ◀─┐
//!      └────────┘ ◀──────────────┐                                 └──────┘   │ any failure,
//!   (ramp_up: a growing          │                 cooldown passed    │       │ a slow probe,
//!    share of calls)             │         (seen by the next call)    │       │ quota
//!              success_threshold │                                    ▼       │
//!              probes in a row   └─────────────────────────────── ┌───────────┐
//!                                                                 │ half-open │
//!                                                                 └───────────┘
//!      from anywhere:  force_open ─▶ forced open     force_closed ─▶ forced closed     reset ─▶ closed, as new
//! ```
//!
//! Every change of state begins a new generation. A result carries the generation in which its attempt was
//! admitted. A result of an earlier generation changes nothing, but for the end of an open circuit: a wait
//! that the provider sends is never shortened. Nothing counts while a state is forced.

mod cooldown;
mod probes;
pub(super) mod ramp_up;
mod sharing;
mod streak;
pub(super) mod window;
mod windows;

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use self::cooldown::{Cooldown, jittered};
use self::probes::Probes;
use self::ramp_up::RampUp;
use self::windows::CircuitWindows;
use super::attempt_result::{AttemptResult, Latency};
use super::reason::Reason;
use super::rejections::{CircuitRejection, RejectionCause};
use super::settings::Settings;
use super::shared::LocalTurn;
use super::snapshot::{EvaluatedRates, RATES_LIFETIME};
use super::transition::{State, Transition};
use crate::ErrorCode;
use crate::clock;
use crate::store::WindowTotals;

#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    generation: u64,
    phase: Phase,
    windows: CircuitWindows,
    /// When the latest call of the closed circuit ended.
    last_result: Option<Instant>,
    cooldown: Cooldown,
    /// The latest end of the waits that the provider has sent since the latest success, with their jitter.
    reported_end: Option<Instant>,
    last_transition: Option<Transition>,
    last_failure: Option<(ErrorCode, Instant)>,
    /// When the circuit was closed for the last time, unless it is closed now.
    not_closed_since: Option<Instant>,
    last_recovery: Option<Duration>,
    /// The turn of this process to probe, if one of several does at a time.
    turn: Option<LocalTurn>,
    /// The latest change of state, if this process has made it and the store has not replied to it.
    unshared: Option<UnsharedChange>,
}

#[derive(Clone, Copy, Debug)]
struct UnsharedChange {
    generation: u64,
    at: Instant,
    /// It was sent. Whether it has reached the store is not known.
    is_sent: bool,
}

#[derive(Debug)]
enum Phase {
    Closed {
        ramp_up: Option<RampUp>,
    },
    Open {
        until: Instant,
        cause: RejectionCause,
    },
    HalfOpen {
        probes: Probes,
    },
    Forced {
        open: bool,
        /// Probes were in flight when it was forced.
        has_probes: bool,
    },
}

/// The admission of one attempt by the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircuitAdmission {
    pub(super) generation: u64,
    pub(super) kind: AdmissionKind,
}

/// What is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdmissionKind {
    Call,
    /// With its number. The circuit is half-open.
    Probe(NonZeroU64),
    /// The body of a response that has begun with a token.
    Body,
    /// The body of such a response. Until it ends, its head separates this many failures from later ones.
    SeparatingBody {
        failures_before: u64,
    },
}

impl CircuitAdmission {
    /// The admission of an attempt while the circuit is open. Its result does not change the state.
    pub(super) const WHILE_OPEN: Self = Self::of_call(u64::MAX);

    pub(super) const fn of_call(generation: u64) -> Self {
        Self { generation, kind: AdmissionKind::Call }
    }

    pub(super) const fn is_probe(self) -> bool {
        matches!(self.kind, AdmissionKind::Probe(_))
    }

    /// Whether the circuit keeps track of the attempt, so that even a neutral end changes it.
    pub(super) const fn is_tracked(self) -> bool {
        matches!(self.kind, AdmissionKind::Probe(_) | AdmissionKind::SeparatingBody { .. })
    }

    /// The admission of the body, if its head separates no failures.
    pub(super) const fn of_body(self, is_proven: bool) -> Self {
        let kind = if is_proven { AdmissionKind::Body } else { AdmissionKind::Call };
        Self { kind, ..self }
    }
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            generation: 0,
            phase: Phase::Closed { ramp_up: None },
            windows: CircuitWindows::new(&settings),
            last_result: None,
            cooldown: Cooldown::default(),
            reported_end: None,
            last_transition: None,
            last_failure: None,
            not_closed_since: None,
            last_recovery: None,
            turn: None,
            unshared: None,
            settings,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every call is admitted, so that none needs the lock.
    pub(super) fn admits_all(&self) -> bool {
        matches!(self.phase, Phase::Closed { ramp_up: None } | Phase::Forced { open: false, .. })
    }

    /// Whether every call is admitted and a success would change nothing.
    pub(super) fn ignores_success(&self) -> bool {
        match self.phase {
            Phase::Closed { ramp_up: None } => self.reported_end.is_none() && self.windows.ignores_success(),
            Phase::Forced { open, .. } => !open,
            Phase::Closed { ramp_up: Some(_) } | Phase::Open { .. } | Phase::HalfOpen { .. } => false,
        }
    }

    /// Whether there are failures that the head of a response separates from later ones.
    pub(super) fn has_streak(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. }) && self.windows.has_streak()
    }

    /// Whether a success of this generation can be [recorded](Self::record_successes) later than it ended.
    pub(super) fn defers_success(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. }) && self.windows.defers_success()
    }

    /// Records successes that were deferred in this generation.
    pub(super) fn record_successes(&mut self, calls: u64, now: Instant) {
        self.last_result = Some(now);
        self.reported_end = None;
        self.windows.record_successes(calls);
    }

    /// Why every call is rejected, and until when, if all are.
    pub(super) fn rejects_all(&self) -> Option<(RejectionCause, Option<Instant>)> {
        match self.phase {
            Phase::Open { until, cause } => Some((cause, Some(until))),
            Phase::Forced { open: true, .. } => Some((RejectionCause::ForcedOpen, None)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => None,
        }
    }

    /// Whether the state equals that of a new circuit, so that it can be dropped.
    pub(super) fn is_pristine(&mut self, now: Instant) -> bool {
        let is_closed = match &self.phase {
            Phase::Closed { ramp_up } => ramp_up.as_ref().is_none_or(|ramp_up| ramp_up.is_over(now)),
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => false,
        };
        let has_waited = self.reported_end.is_none_or(|end| now >= end);
        is_closed && has_waited && self.cooldown.has_decayed(now) && self.windows.is_clean(now)
    }

    /// The state at `now`. An open circuit is half-open once its cooldown has passed, even before the
    /// first call arrives.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Open { until, .. } if now >= until => State::HalfOpen,
            _ => self.last_reported_state(),
        }
    }

    /// The rejection that a call would get at `now`. Acquires nothing. A ramp never rejects here:
    /// which calls it admits is decided only when a call arrives.
    pub(super) fn peek(&self, now: Instant) -> Option<CircuitRejection> {
        match &self.phase {
            Phase::Forced { open: true, .. } => {
                Some(CircuitRejection { cause: RejectionCause::ForcedOpen, retry_after: None })
            }
            Phase::Open { until, cause } if now < *until => {
                Some(CircuitRejection { cause: *cause, retry_after: Some(*until - now) })
            }
            Phase::HalfOpen { probes } => {
                let wait = probes.full_for(self.settings.half_open_max, now)?;
                Some(CircuitRejection {
                    cause: RejectionCause::Probing,
                    retry_after: Some(wait.min(PROBE_RETRY_AFTER)),
                })
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Forced { .. } => None,
        }
    }

    /// Admits an attempt or rejects it.
    pub(super) fn admit(&mut self, now: Instant) -> Result<CircuitAdmission, CircuitRejection> {
        if let Some(rejection) = self.peek(now) {
            return Err(rejection);
        }
        // In shadow mode no call is held back.
        let needs_turn =
            !self.settings.shadow && matches!(self.phase, Phase::Open { .. } | Phase::HalfOpen { .. });
        if needs_turn && self.turn.as_ref().is_some_and(|turn| !turn.admits(now)) {
            let retry_after = Some(SHARED_PROBE_RETRY_AFTER);
            return Err(CircuitRejection { cause: RejectionCause::Probing, retry_after });
        }
        if matches!(self.phase, Phase::Open { .. }) {
            self.transition_to(Phase::HalfOpen { probes: Probes::default() }, Reason::CooldownPassed, now);
        }
        let kind = match &mut self.phase {
            Phase::HalfOpen { probes } => AdmissionKind::Probe(probes.start(self.settings.probe_lease, now)),
            Phase::Closed { ramp_up: ramp_up @ Some(_) } => {
                ramp_up.take_if(|ramp_up| ramp_up.is_over(now));
                if let Some(Err(wait)) = ramp_up.as_mut().map(|ramp_up| ramp_up.admit(now)) {
                    return Err(CircuitRejection { cause: RejectionCause::Ramping, retry_after: Some(wait) });
                }
                AdmissionKind::Call
            }
            Phase::Closed { ramp_up: None } | Phase::Open { .. } | Phase::Forced { .. } => {
                AdmissionKind::Call
            }
        };
        Ok(CircuitAdmission { generation: self.generation, kind })
    }

    /// Handles the head of a successful response, at which the latency is known. For a probe this is the
    /// whole success. If it is proven, the head separates the failures before it from later ones. Returns the
    /// admission of the body, which belongs to the generation that follows. Returns `None` if the attempt came
    /// too late to count, or opened the circuit by being too slow.
    pub(super) fn record_head(
        &mut self,
        admission: CircuitAdmission,
        is_proven: bool,
        latency: Latency,
        now: Instant,
        random: f64,
    ) -> Option<CircuitAdmission> {
        if admission.generation != self.generation {
            return None;
        }
        let result = if admission.is_probe() { AttemptResult::Success } else { AttemptResult::Neutral };
        self.record(admission, result, latency, now, random);
        let failures_before = match self.phase {
            Phase::Open { .. } => return None,
            Phase::Closed { .. } if is_proven => self.windows.add_head(),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => None,
        };
        let body = CircuitAdmission::of_call(self.generation).of_body(is_proven);
        Some(failures_before.map_or(body, |failures_before| CircuitAdmission {
            kind: AdmissionKind::SeparatingBody { failures_before },
            ..body
        }))
    }

    /// Records the result of an attempt. `random`, from 0 to 1, is for the jitter.
    pub(super) fn record(
        &mut self,
        admission: CircuitAdmission,
        result: AttemptResult,
        latency: Latency,
        now: Instant,
        random: f64,
    ) {
        let is_quota = matches!(result, AttemptResult::Quota(_));
        let wait = result.wait().or(is_quota.then_some(self.settings.quota_cooldown));
        let reported = wait.map(|wait| self.jittered_end(wait, now, random));
        match &mut self.phase {
            // An open circuit admits no call, so its generation has no results.
            Phase::Open { until, cause } => {
                // After the cooldown only a wait of the provider extends it.
                if let Some(end) = reported.filter(|_| now < *until || result.wait().is_some()) {
                    *until = end.max(*until);
                    if is_quota {
                        *cause = RejectionCause::Quota;
                    }
                }
                return;
            }
            Phase::Forced { .. } => return,
            Phase::Closed { .. } | Phase::HalfOpen { .. } => {}
        }
        self.reported_end = reported.max(self.reported_end);
        if admission.generation != self.generation {
            return;
        }
        self.last_failure = result.error_code().map(|code| (code, now)).or(self.last_failure);
        if let (true, Some(end)) = (is_quota, reported) {
            self.cooldown.on_quota_opening(now);
            self.open(end, RejectionCause::Quota, Reason::Quota, now);
        } else if let Some(reason) = self.evaluate(admission, result, latency, now) {
            self.open_for_cooldown(reason, now, random);
        }
    }

    /// The end of a wait of the provider, with jitter: clients that got the same wait must not all come back at
    /// once.
    fn jittered_end(&self, wait: Duration, now: Instant, random: f64) -> Instant {
        clock::after(jittered(wait, &self.settings, random), now)
    }

    /// The reason to open the circuit, if the result is one.
    fn evaluate(
        &mut self,
        admission: CircuitAdmission,
        result: AttemptResult,
        latency: Latency,
        now: Instant,
    ) -> Option<Reason> {
        match self.phase {
            Phase::Closed { .. } => self.evaluate_closed(admission.kind, result, latency, now),
            Phase::HalfOpen { .. } => self.evaluate_probe(admission.kind, result, latency, now),
            Phase::Open { .. } | Phase::Forced { .. } => None,
        }
    }

    /// The reason to open the closed circuit, if the result is one.
    fn evaluate_closed(
        &mut self,
        kind: AdmissionKind,
        result: AttemptResult,
        latency: Latency,
        now: Instant,
    ) -> Option<Reason> {
        self.last_result = Some(now);
        let Self { windows, settings, .. } = self;
        if let AdmissionKind::SeparatingBody { failures_before } = kind {
            windows.remove_head(failures_before);
        }
        let is_of_body = matches!(kind, AdmissionKind::Body | AdmissionKind::SeparatingBody { .. });
        let failed = match result {
            AttemptResult::Failure(code, _) => windows.record_failure(code, is_of_body, settings, now),
            AttemptResult::Success => {
                windows.record_success(now);
                self.reported_end = None;
                None
            }
            AttemptResult::Neutral | AttemptResult::Uncounted(_) | AttemptResult::Quota(_) => None,
        };
        let slow = match latency {
            Latency::Slow | Latency::Fast => windows.record_latency(latency == Latency::Slow, settings, now),
            Latency::Unknown => None,
        };
        failed.or(slow)
    }

    /// The reason to open the half-open circuit again, if the result of this probe is one. Closes the circuit
    /// after enough successful probes. Without a probe it is the response body of a probe that had succeeded.
    fn evaluate_probe(
        &mut self,
        kind: AdmissionKind,
        result: AttemptResult,
        latency: Latency,
        now: Instant,
    ) -> Option<Reason> {
        let Phase::HalfOpen { probes } = &mut self.phase else { return None };
        let probe = if let AdmissionKind::Probe(number) = kind { Some(number) } else { None };
        // A probe with an expired lease has been replaced. If it was slow or failed, that adds no
        // information. If it succeeded after all, it counts; otherwise a provider slower than the lease would
        // never be admitted again.
        // If it is the turn of this process no longer, another one may have replaced it as well.
        let lease_counts = self.turn.as_ref().is_some_and(|turn| !turn.admits(now));
        let in_time = probe
            .and_then(|probe| probes.complete(probe))
            .is_some_and(|lease_ends| !lease_counts || now < lease_ends);
        match (result, latency) {
            (AttemptResult::Failure(code, _), _) if in_time || probe.is_none() => {
                return Some(Reason::ProbeFailed(code));
            }
            (
                AttemptResult::Success | AttemptResult::Uncounted(_) | AttemptResult::Neutral,
                Latency::Slow,
            ) => {
                return in_time.then_some(Reason::ProbeSlow);
            }
            (AttemptResult::Success, _) if probe.is_some() => probes.successes += 1,
            (
                AttemptResult::Success
                | AttemptResult::Failure(..)
                | AttemptResult::Neutral
                | AttemptResult::Uncounted(_)
                | AttemptResult::Quota(_),
                _,
            ) => {}
        }
        let successes = probes.successes;
        if successes >= self.settings.success_threshold {
            self.close(self.new_ramp_up(now), Reason::ProbesSucceeded(successes), now);
        }
        None
    }

    /// Closes the circuit and clears its windows.
    pub(super) fn reset(&mut self, now: Instant) {
        self.cooldown = Cooldown::default();
        self.last_failure = None;
        self.close(None, Reason::Reset, now);
    }

    /// Forces the circuit open or closed until it is reset.
    pub(super) fn force(&mut self, open: bool, now: Instant) {
        let has_probes = self.probes() > 0 || self.is_forced_with_probes();
        self.transition_to(Phase::Forced { open, has_probes }, Reason::Forced, now);
    }

    /// Whether the circuit is forced, and whether open.
    pub(super) fn forced(&self) -> Option<bool> {
        match self.phase {
            Phase::Forced { open, .. } => Some(open),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// How long until an open circuit admits a probe.
    pub(super) fn cooldown_remaining(&self, now: Instant) -> Option<Duration> {
        let open = self.peek(now).filter(|rejection| rejection.cause != RejectionCause::Probing);
        open.and_then(|rejection| rejection.retry_after)
    }

    /// How many probes are in flight.
    pub(super) fn probes(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen { probes } => probes.len(),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Forced { .. } => 0,
        }
    }

    /// The latest change of state, if there was one.
    pub(super) fn last_transition(&self) -> Option<Transition> {
        self.last_transition
    }

    /// How long the circuit was not closed, the last time.
    pub(super) fn last_recovery(&self) -> Option<Duration> {
        self.last_recovery
    }

    /// The code and the time of the latest failure that counted.
    pub(super) fn last_failure(&self) -> Option<(ErrorCode, Instant)> {
        self.last_failure
    }

    /// How many calls in the window failed, and how many of those with a known latency were slow.
    pub(super) fn window_totals(&mut self, now: Instant) -> [WindowTotals; 2] {
        self.windows.totals(&self.settings, now)
    }

    /// Returns the rates of these totals, of results and of latencies, where there are enough calls to
    /// evaluate. A closed circuit without a call for an hour has none: a window by calls does not age.
    pub(super) fn evaluated_rates(
        &self,
        [failures, slow_calls]: [WindowTotals; 2],
        now: Instant,
    ) -> EvaluatedRates {
        let age = self.last_result.map(|last| now.saturating_duration_since(last));
        let lapsed = age.filter(|age| matches!(self.phase, Phase::Closed { .. }) && *age >= RATES_LIFETIME);
        if lapsed.is_some() {
            return EvaluatedRates { lapsed, ..EvaluatedRates::default() };
        }
        let rate = |totals: WindowTotals, window| {
            totals.rate().filter(|_| totals.calls >= self.settings.enough_calls(window))
        };
        EvaluatedRates {
            failures: rate(failures, self.settings.window()),
            slow_calls: rate(slow_calls, self.settings.slow_call_window()),
            lapsed: None,
        }
    }

    /// The ramp of a circuit that closes now, unless all its traffic comes back at once.
    fn new_ramp_up(&self, now: Instant) -> Option<RampUp> {
        self.settings.ramp_up.map(|over| RampUp::new(over, now))
    }

    fn close(&mut self, ramp_up: Option<RampUp>, reason: Reason, now: Instant) {
        self.windows.clear(now);
        self.reported_end = None;
        self.cooldown.on_close(now);
        self.transition_to(Phase::Closed { ramp_up }, reason, now);
    }

    /// Opens the circuit for the next cooldown.
    fn open_for_cooldown(&mut self, reason: Reason, now: Instant, random: f64) {
        let cooldown = self.cooldown.next_cooldown(&self.settings, now, random);
        self.open(clock::after(cooldown, now), RejectionCause::Failing, reason, now);
    }

    /// Opens the circuit until `end`, and until every wait has passed that the provider has sent.
    fn open(&mut self, end: Instant, cause: RejectionCause, reason: Reason, now: Instant) {
        let until = self.reported_end.map_or(end, |reported| reported.max(end));
        self.transition_to(Phase::Open { until, cause }, reason, now);
    }

    fn transition_to(&mut self, phase: Phase, reason: Reason, now: Instant) {
        let from = self.last_reported_state();
        self.generation += 1;
        self.phase = phase;
        if !matches!(self.phase, Phase::HalfOpen { .. }) {
            self.end_turn();
        }
        let cooldown = match self.phase {
            Phase::Open { until, .. } => Some(until.saturating_duration_since(now)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => None,
        };
        let to = self.last_reported_state();
        let recovery = match to {
            State::Closed => self.not_closed_since.take().map(|since| now.saturating_duration_since(since)),
            State::Open | State::HalfOpen => {
                self.not_closed_since.get_or_insert(now);
                None
            }
        };
        if to != State::HalfOpen {
            let is_unshared = self.turn.is_some() && reason.is_shared();
            let change = UnsharedChange { generation: self.generation, at: now, is_sent: false };
            self.unshared = is_unshared.then_some(change);
        }
        self.last_recovery = recovery.or(self.last_recovery);
        self.last_transition = Some(Transition { from, to, reason, cooldown, at: now, recovery, key: None });
    }

    /// The state that was last reported to listeners. An open circuit stays open there until a call
    /// arrives.
    fn last_reported_state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::Forced { open: false, .. } => State::Closed,
            Phase::Open { .. } | Phase::Forced { open: true, .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

/// When to retry while it is not the turn of this process to probe. It is requested at the first call.
const SHARED_PROBE_RETRY_AFTER: Duration = Duration::from_millis(50);

/// When to retry while probes are in flight. Their results are expected soon, at an unknown time.
const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);
