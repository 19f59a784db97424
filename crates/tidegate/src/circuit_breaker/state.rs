//! The circuit as plain data: results and a `now` in, verdicts out.
//!
//! ```text
//!              failure_threshold consecutive failures,
//!              failure_rate_threshold or slow_call_rate_threshold reached,
//!      ┌────────┐ or the quota ran out                             ┌──────┐
//!      │ closed │ ───────────────────────────────────────────────▶ │ open │ ◀─┐
//!      └────────┘ ◀──────────────┐                                 └──────┘   │ any failure,
//!   (ramp_up: a growing          │                 cooldown passed    │       │ a slow probe,
//!    share of calls)             │         (seen by the next call)    │       │ quota
//!              success_threshold │                                    ▼       │
//!              probes in a row   └─────────────────────────────── ┌───────────┐
//!                                                                 │ half-open │
//!                                                                 └───────────┘
//!
//!      from anywhere:  force_open ─▶ held open     force_closed ─▶ held closed     reset ─▶ closed, as new
//! ```
//!
//! Every change of state begins a new generation. A result carries the generation in which its attempt was
//! admitted; one of an earlier generation changes nothing. Nothing counts while a state is held.

use std::time::{Duration, Instant};

use super::cooldown::{Cooldown, jittered};
use super::evidence::Evidence;
use super::mark::{Mark, Pace};
use super::pass::{Cause, Pass, Refusal};
use super::probes::Probes;
use super::ramp::Ramp;
use super::reason::Reason;
use super::settings::Settings;
use super::transition::{State, Transition};
use super::window::Tally;
use crate::{Deadline, ErrorCode};

#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    generation: u64,
    phase: Phase,
    evidence: Evidence,
    cooldown: Cooldown,
    latest: Option<Transition>,
    last_failure: Option<(ErrorCode, Instant)>,
}

#[derive(Debug)]
enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Instant, cause: Cause },
    HalfOpen { probes: Probes },
    Held { open: bool },
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            generation: 0,
            phase: Phase::Closed { ramp: None },
            evidence: Evidence::new(&settings),
            cooldown: Cooldown::default(),
            latest: None,
            last_failure: None,
            settings,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every call passes, so that none needs to ask.
    pub(super) fn is_passable(&self) -> bool {
        matches!(self.phase, Phase::Closed { ramp: None } | Phase::Held { open: false })
    }

    /// Whether every call passes and a success would change nothing.
    pub(super) fn is_spotless(&self) -> bool {
        match self.phase {
            Phase::Closed { ramp: None } => self.evidence.is_spotless(),
            Phase::Held { open } => !open,
            Phase::Closed { ramp: Some(_) } | Phase::Open { .. } | Phase::HalfOpen { .. } => false,
        }
    }

    /// Why every call is refused, and until when, if all are.
    pub(super) fn refuses_all(&self) -> Option<(Cause, Option<Instant>)> {
        match self.phase {
            Phase::Open { until, cause } => Some((cause, Some(until))),
            Phase::Held { open: true } => Some((Cause::Held, None)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Held { .. } => None,
        }
    }

    /// Whether nothing would be lost with it: nothing is held against the provider.
    pub(super) fn is_as_new(&mut self, now: Instant) -> bool {
        let closed = match &self.phase {
            Phase::Closed { ramp } => ramp.as_ref().is_none_or(|ramp| ramp.is_over(now)),
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Held { .. } => false,
        };
        closed && self.cooldown.is_over(now) && self.evidence.is_clean(now)
    }

    /// The state at `now`. An open circuit whose cooldown has passed is half-open, though no call has come yet.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Open { until, .. } if now >= until => State::HalfOpen,
            _ => self.state_told(),
        }
    }

    /// Whether a call is bound to be refused at `now`, and for how long. Takes nothing. A ramp binds nobody: whose
    /// turn it is shows only when asked.
    pub(super) fn peek(&self, now: Instant) -> Option<Refusal> {
        match &self.phase {
            Phase::Held { open: true } => Some(Refusal { cause: Cause::Held, retry_after: None }),
            Phase::Open { until, cause } if now < *until => {
                Some(Refusal { cause: *cause, retry_after: Some(*until - now) })
            }
            Phase::HalfOpen { probes } => {
                let wait = probes.full_for(self.settings.half_open_max, now)?;
                Some(Refusal { cause: Cause::Probing, retry_after: Some(wait.min(PROBING)) })
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Held { .. } => None,
        }
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Refusal> {
        if let Some(refusal) = self.peek(now) {
            return Err(refusal);
        }
        if matches!(self.phase, Phase::Open { .. }) {
            self.begin(Phase::HalfOpen { probes: Probes::default() }, Reason::CooldownPassed, now);
        }
        let probe = match &mut self.phase {
            Phase::HalfOpen { probes } => Some(probes.send(self.settings.probe_lease, now)),
            Phase::Closed { ramp: ramp @ Some(_) } => {
                ramp.take_if(|ramp| ramp.is_over(now));
                if let Some(Err(wait)) = ramp.as_mut().map(|ramp| ramp.admit(now)) {
                    return Err(Refusal { cause: Cause::Ramping, retry_after: Some(wait) });
                }
                None
            }
            Phase::Closed { ramp: None } | Phase::Open { .. } | Phase::Held { .. } => None,
        };
        Ok(Pass { generation: self.generation, probe })
    }

    /// The head of a good answer is here, so its pace is known. A probe has done its work with that; the pass
    /// returned is for its body, which is judged as one of the generation that follows. None, if the attempt came
    /// too late to count, or was the one that was too slow.
    pub(super) fn commit(&mut self, pass: Pass, pace: Pace, now: Instant, random: f64) -> Option<Pass> {
        if pass.generation != self.generation {
            return None;
        }
        let mark = if pass.probe.is_some() { Mark::Success } else { Mark::Neutral };
        self.record(pass, mark, pace, now, random);
        let open = matches!(self.phase, Phase::Open { .. });
        (!open).then_some(Pass { generation: self.generation, probe: None })
    }

    /// Takes note of what an attempt came to. `random`, from 0 to 1, is for the jitter.
    pub(super) fn record(&mut self, pass: Pass, mark: Mark, pace: Pace, now: Instant, random: f64) {
        // An open circuit admits nobody, so none of its generation can report.
        let is_deaf = matches!(self.phase, Phase::Open { .. } | Phase::Held { .. });
        if pass.generation != self.generation || is_deaf {
            return;
        }
        let (code, told) = match mark {
            Mark::Failure(code, told) => (Some(code), told),
            Mark::Quota(told) => (Some(ErrorCode::QuotaExhausted), told.filter(|wait| !wait.is_zero())),
            Mark::Success | Mark::Neutral => (None, None),
        };
        self.last_failure = code.map(|code| (code, now)).or(self.last_failure);
        if let Mark::Quota(_) = mark {
            self.cooldown.interrupted(now);
            let wait = told.unwrap_or(self.settings.quota_cooldown);
            self.open(jittered(wait, &self.settings, random), Reason::Quota, now);
        } else if let Some(reason) = self.judge(pass, mark, pace, now) {
            let wait = self.cooldown.next(told, &self.settings, now, random);
            self.open(wait, reason, now);
        }
    }

    /// Whether what an attempt came to opens the circuit. Probes enough that succeed close it.
    fn judge(&mut self, pass: Pass, mark: Mark, pace: Pace, now: Instant) -> Option<Reason> {
        let Self { evidence, settings, .. } = self;
        match (&mut self.phase, mark) {
            (Phase::Closed { .. }, mark) => {
                let failed = match mark {
                    Mark::Failure(code, _) => evidence.failed(code, settings, now),
                    Mark::Success => {
                        evidence.succeeded(now);
                        None
                    }
                    Mark::Neutral | Mark::Quota(_) => None,
                };
                let slow = match pace {
                    Pace::Slow | Pace::Fast => evidence.paced(pace == Pace::Slow, settings, now),
                    Pace::Unknown => None,
                };
                failed.or(slow)
            }
            (Phase::HalfOpen { probes }, mark) => {
                // A probe whose lease has ended has been replaced. That it was slow or failed says nothing new; that
                // it succeeded after all does, or a provider slower than the lease would never be let in again.
                let in_time = pass.probe.is_some_and(|probe| probes.is_back(probe));
                match (mark, pace) {
                    // Without a probe it is the answer of one that had succeeded, and broke off.
                    (Mark::Failure(code, _), _) if in_time || pass.probe.is_none() => {
                        return Some(Reason::ProbeFailed(code));
                    }
                    (Mark::Success | Mark::Neutral, Pace::Slow) => {
                        return in_time.then_some(Reason::ProbeSlow);
                    }
                    (Mark::Success, _) if pass.probe.is_some() => probes.successes += 1,
                    (Mark::Success | Mark::Failure(..) | Mark::Neutral | Mark::Quota(_), _) => {}
                }
                let successes = probes.successes;
                if successes >= settings.success_threshold {
                    let ramp = settings.ramp_up.map(|over| Ramp::new(over, now));
                    self.close(ramp, Reason::ProbesSucceeded(successes), now);
                }
                None
            }
            (Phase::Open { .. } | Phase::Held { .. }, _) => None,
        }
    }

    /// Closes the circuit and forgets what came before.
    pub(super) fn reset(&mut self, now: Instant) {
        self.cooldown = Cooldown::default();
        self.last_failure = None;
        self.close(None, Reason::Reset, now);
    }

    /// Holds the circuit open, or closed, until it is reset.
    pub(super) fn hold(&mut self, open: bool, now: Instant) {
        self.begin(Phase::Held { open }, Reason::Forced, now);
    }

    /// Whether the circuit is held, and whether open.
    pub(super) fn held(&self) -> Option<bool> {
        match self.phase {
            Phase::Held { open } => Some(open),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// How long until an open circuit lets a probe through.
    pub(super) fn cooldown_remaining(&self, now: Instant) -> Option<Duration> {
        let open = self.peek(now).filter(|refusal| refusal.cause != Cause::Probing);
        open.and_then(|refusal| refusal.retry_after)
    }

    /// How many probes are under way.
    pub(super) fn probes(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen { probes } => probes.len(),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Held { .. } => 0,
        }
    }

    /// The latest change of state, unless there was none yet.
    pub(super) fn latest(&self) -> Option<Transition> {
        self.latest
    }

    /// The code of the latest failure that counted, and when it was.
    pub(super) fn last_failure(&self) -> Option<(ErrorCode, Instant)> {
        self.last_failure
    }

    /// How many of the calls in the window failed, and how many of those whose pace is known were slow.
    pub(super) fn tallies(&mut self, now: Instant) -> [Tally; 2] {
        [self.evidence.failures(now), self.evidence.slow_calls(now)]
    }

    fn close(&mut self, ramp: Option<Ramp>, reason: Reason, now: Instant) {
        self.evidence.clear();
        self.cooldown.closed(now);
        self.begin(Phase::Closed { ramp }, reason, now);
    }

    fn open(&mut self, cooldown: Duration, reason: Reason, now: Instant) {
        let cause = if reason == Reason::Quota { Cause::Quota } else { Cause::Failing };
        self.begin(Phase::Open { until: Deadline::after(cooldown, now).instant(), cause }, reason, now);
    }

    fn begin(&mut self, phase: Phase, reason: Reason, now: Instant) {
        let from = self.state_told();
        self.generation += 1;
        self.phase = phase;
        let cooldown = match self.phase {
            Phase::Open { until, .. } => Some(until.saturating_duration_since(now)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Held { .. } => None,
        };
        self.latest = Some(Transition { from, to: self.state_told(), reason, cooldown });
    }

    /// The state that was last told to whoever listens: an open circuit stays so until a call comes.
    fn state_told(&self) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::Held { open: false } => State::Closed,
            Phase::Open { .. } | Phase::Held { open: true } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

/// When to ask again while probes are under way: their answer is expected soon, but nobody knows when.
const PROBING: Duration = Duration::from_secs(1);
