//! The circuit as plain data: results and a `now` in, verdicts out.
//!
//! ```text
//!              failure_threshold consecutive failures, or the quota ran out
//!      ┌────────┐ ───────────────────────────────────────────────▶ ┌──────┐
//!      │ closed │                                                  │ open │ ◀─┐
//!      └────────┘ ◀──────────────┐                 cooldown passed └──────┘   │
//!                                │                 (seen by the next call) │  │ any failure
//!              success_threshold │                                        ▼  │
//!              probes in a row   └─────────────────────────────── ┌───────────┐
//!                                                                 │ half-open │
//!                                                                 └───────────┘
//! ```
//!
//! Every change of state begins a new generation. A result carries the generation in which its attempt was
//! admitted; one of an earlier generation changes nothing.

use std::fmt;
use std::time::{Duration, Instant};

use super::layer::Settings;
use crate::{Deadline, ErrorCode, Failure, Outcome};

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are refused until the cooldown has passed.
    Open,
    /// A few probes pass, to see whether the provider is back.
    HalfOpen,
}

/// The way through the circuit for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) generation: u64,
    /// The number of the probe, in half-open.
    pub(super) probe: Option<u64>,
}

/// No way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) reason: Reason,
    pub(super) retry_after: Option<Duration>,
}

/// Why a circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// So many failures in a row; the code is the last one's.
    Failures(u32, ErrorCode),
    /// A probe failed.
    ProbeFailed(ErrorCode),
    /// The account's quota ran out.
    Quota,
    /// All probes are under way.
    Probing,
}

/// What an attempt came to, as far as a circuit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Success,
    Failure(ErrorCode, Option<Duration>),
    Quota(Option<Duration>),
    Neutral,
}

#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    generation: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant, reason: Reason },
    HalfOpen { probes: Vec<Probe>, next: u64, successes: u32 },
}

#[derive(Debug)]
struct Probe {
    id: u64,
    lease_ends: Instant,
}

impl Mark {
    pub(super) fn of(outcome: &Outcome, settings: &Settings) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Neutral => Self::Neutral,
            Outcome::Failure(failure) => Self::of_failure(failure, settings),
        }
    }

    fn of_failure(failure: &Failure, settings: &Settings) -> Self {
        match failure.code {
            ErrorCode::QuotaExhausted => Self::Quota(failure.wait()),
            ErrorCode::RateLimited if settings.count_rate_limited => {
                Self::Failure(failure.code, failure.wait())
            }
            code if code.counts_against_health() => Self::Failure(code, failure.wait()),
            _ => Self::Neutral,
        }
    }
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, generation: 0, phase: Phase::Closed { failures: 0 } }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether nothing speaks against the provider: closed, and no failure since the last success.
    pub(super) fn is_spotless(&self) -> bool {
        matches!(self.phase, Phase::Closed { failures: 0 })
    }

    /// The state at `now`. An open circuit whose cooldown has passed is half-open, though no call has come yet.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until, .. } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether a call would be refused at `now`, and for how long. Takes nothing.
    pub(super) fn peek(&self, now: Instant) -> Option<Closed> {
        match &self.phase {
            Phase::Open { until, reason } if now < *until => {
                Some(Closed { reason: *reason, retry_after: Some(*until - now) })
            }
            Phase::HalfOpen { probes, .. } => {
                let live = probes.iter().filter(|probe| now < probe.lease_ends);
                let full = live.clone().count() >= self.settings.half_open_max as usize;
                let soonest = live.map(|probe| probe.lease_ends - now).min();
                full.then_some(Closed { reason: Reason::Probing, retry_after: soonest.min(Some(PROBING)) })
            }
            Phase::Closed { .. } | Phase::Open { .. } => None,
        }
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Closed> {
        if let Some(closed) = self.peek(now) {
            return Err(closed);
        }
        if matches!(self.phase, Phase::Open { .. }) {
            self.begin(Phase::HalfOpen { probes: Vec::new(), next: 0, successes: 0 });
        }
        let generation = self.generation;
        let Phase::HalfOpen { probes, next, .. } = &mut self.phase else {
            return Ok(Pass { generation, probe: None });
        };
        probes.retain(|probe| now < probe.lease_ends);
        let id = *next;
        *next += 1;
        let lease_ends = Deadline::after(self.settings.probe_lease, now).instant();
        probes.push(Probe { id, lease_ends });
        Ok(Pass { generation, probe: Some(id) })
    }

    /// The head of a good answer is here. A probe has done its work with that; the pass returned is for its body,
    /// which is judged as one of the generation that follows. None, if the probe came too late to count.
    pub(super) fn commit(&mut self, pass: Pass, now: Instant) -> Option<Pass> {
        if pass.generation != self.generation {
            return None;
        }
        self.record(pass, Mark::Success, now);
        Some(Pass { generation: self.generation, probe: None })
    }

    /// Takes note of what an attempt came to.
    pub(super) fn record(&mut self, pass: Pass, mark: Mark, now: Instant) {
        if pass.generation != self.generation {
            return;
        }
        match (&mut self.phase, mark) {
            (Phase::Closed { .. } | Phase::HalfOpen { .. }, Mark::Quota(wait)) => {
                let told = wait.filter(|wait| !wait.is_zero());
                self.open(Reason::Quota, told.unwrap_or(self.settings.quota_cooldown), now);
            }
            (Phase::Closed { failures }, Mark::Success) => *failures = 0,
            (Phase::Closed { failures }, Mark::Failure(code, wait)) => {
                *failures += 1;
                if *failures >= self.settings.failure_threshold {
                    let reason = Reason::Failures(*failures, code);
                    self.open(reason, self.cooldown(wait), now);
                }
            }
            // The answer of a probe that had succeeded broke off: a failure of its own.
            (Phase::HalfOpen { .. }, Mark::Failure(code, wait)) if pass.probe.is_none() => {
                self.open(Reason::ProbeFailed(code), self.cooldown(wait), now);
            }
            (Phase::HalfOpen { probes, successes, .. }, mark) => {
                // A probe whose lease has ended has been replaced. That it was slow to fail says nothing new; that
                // it succeeded after all does, or a provider slower than the lease would never be let in again.
                let slot = probes.iter().position(|probe| Some(probe.id) == pass.probe);
                if let Some(slot) = slot {
                    probes.swap_remove(slot);
                }
                match mark {
                    Mark::Success if pass.probe.is_some() => {
                        *successes += 1;
                        if *successes >= self.settings.success_threshold {
                            self.begin(Phase::Closed { failures: 0 });
                        }
                    }
                    Mark::Failure(code, wait) if slot.is_some() => {
                        self.open(Reason::ProbeFailed(code), self.cooldown(wait), now);
                    }
                    Mark::Success | Mark::Failure(..) | Mark::Neutral | Mark::Quota(_) => {}
                }
            }
            // An open circuit admits nobody, so none of its generation can report.
            (Phase::Closed { .. }, Mark::Neutral) | (Phase::Open { .. }, _) => {}
        }
    }

    /// Closes the circuit and forgets what came before.
    pub(super) fn reset(&mut self) {
        self.begin(Phase::Closed { failures: 0 });
    }

    /// Why the circuit is open, if it is.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::Open { reason, .. } => Some(reason),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// A wait that the provider told is never shortened by our own.
    fn cooldown(&self, told: Option<Duration>) -> Duration {
        self.settings.cooldown.max(told.unwrap_or_default())
    }

    fn open(&mut self, reason: Reason, cooldown: Duration, now: Instant) {
        let until = Deadline::after(cooldown, now).instant();
        self.begin(Phase::Open { until, reason });
    }

    fn begin(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }
}

/// When to ask again while probes are under way: their answer is expected soon, but nobody knows when.
const PROBING: Duration = Duration::from_secs(1);

impl State {
    /// The name in the protocol: `closed`, `open`, `half_open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count, code) => {
                write!(f, "{count} consecutive failures, the last {}", code.code())
            }
            Self::ProbeFailed(code) => write!(f, "a probe failed with {}", code.code()),
            Self::Quota => f.write_str("quota exhausted"),
            Self::Probing => f.write_str("probes are under way"),
        }
    }
}
