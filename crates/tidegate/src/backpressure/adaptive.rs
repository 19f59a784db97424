//! From calls to rounds, and from rounds to a limit: plain code.

use std::fmt;
use std::time::{Duration, Instant};

use super::limit::{Limit, Round};
use super::prompt_size::PromptSizeModel;
use super::trimmed_mean::TrimmedMean;

/// A limit that moves. Gathers answers into rounds, knows how quick the provider is at ease, asks the algorithm, and
/// keeps to the bounds.
pub(super) struct AdaptiveLimit {
    algorithm: Box<dyn Limit>,
    bounds: LimitRange,
    limit: f64,
    prompt_sizes: PromptSizeModel,
    round: RoundSamples,
    unloaded: Option<Duration>,
    /// Rounds until the provider is next seen at ease.
    rounds_until_probe: u32,
    last_loss: Option<Instant>,
}

/// No less, no more, and where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitRange {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) initial: usize,
}

/// One call, as far as it says something about the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) started: Instant,
    pub(super) in_flight: usize,
    pub(super) outcome: SampleOutcome,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SampleOutcome {
    /// The head of the answer came; with the size of the prompt, if it is known.
    Success { bytes: Option<u64> },
    /// The provider could not take it.
    Loss,
}

/// The answers of a round so far.
///
/// The first to come, as many as were in flight when it began, are not counted: those calls began under another limit.
/// (Counting just the calls that began since would be worse: of those, the quick ones are answered first, and a
/// provider that lets some of them wait would look like one at ease.)
#[derive(Default)]
struct RoundSamples {
    to_skip: usize,
    round_trips: Vec<Duration>,
    in_flight: usize,
}

/// As many answers make a round as the limit allows at once, but no fewer than make a mean worth its name, and
/// no more than are worth waiting for.
const SAMPLES_PER_ROUND: (usize, usize) = (16, 64);

/// In one round of so many, only half of the limit may be in flight: what the provider queued runs dry, and what is
/// left of the round trip is its own. Else a provider that is always busy would come to look like one at ease.
/// Half is what BBR version 2 goes down to for this; one in 32 costs a sixty-fourth of the capacity.
const PROBE_EVERY: u32 = 32;
const PROBE_FRACTION: f64 = 0.5;

/// A limit is raised only if so much of it was in use; else one that nobody needs would grow for ever
/// (RFC 7661 says the same of TCP).
const MIN_UTILIZATION: f64 = 0.8;

impl AdaptiveLimit {
    pub(super) fn new(algorithm: Box<dyn Limit>, bounds: LimitRange) -> Self {
        Self {
            algorithm,
            bounds,
            limit: bounds.clamp(bounds.initial as f64),
            prompt_sizes: PromptSizeModel::default(),
            round: RoundSamples::default(),
            unloaded: None,
            // The first round shows it at ease: there is nothing to compare with before.
            rounds_until_probe: 0,
            last_loss: None,
        }
    }

    /// The limit in force.
    pub(super) fn in_force(&self) -> usize {
        let limit = if self.is_probing() { self.limit * PROBE_FRACTION } else { self.limit };
        self.bounds.clamp(limit) as usize
    }

    /// Hears of one call.
    pub(super) fn record(&mut self, sample: Sample, now: Instant) {
        let round_trip = now.saturating_duration_since(sample.started);
        match sample.outcome {
            SampleOutcome::Loss => self.record_loss(sample, now),
            SampleOutcome::Success { bytes } => {
                let normalized = bytes.map_or(round_trip, |bytes| {
                    self.prompt_sizes.observe(bytes, round_trip);
                    self.prompt_sizes.normalize(bytes, round_trip)
                });
                self.round.add(normalized, sample.in_flight);
                if self.round.round_trips.len()
                    >= self.in_force().clamp(SAMPLES_PER_ROUND.0, SAMPLES_PER_ROUND.1)
                {
                    self.finish_round();
                }
            }
        }
    }

    /// One loss a round trip: calls that began before the limit was lowered are lost to the limit that was too high,
    /// and must not lower it again (as in TCP's recovery, RFC 6582).
    fn record_loss(&mut self, sample: Sample, now: Instant) {
        if self.last_loss.is_some_and(|last| sample.started < last) {
            return;
        }
        let round_trip =
            self.round.trimmed_mean().map(|round| round.low).or(self.unloaded).unwrap_or_default();
        let unloaded = self.unloaded.unwrap_or(round_trip);
        let lowered = self.next_limit(&Round::new(round_trip, unloaded, sample.in_flight, true));
        self.limit = lowered.min(self.limit);
        self.last_loss = Some(now);
        self.round.restart(sample.in_flight);
    }

    fn finish_round(&mut self) {
        let in_flight = self.round.in_flight;
        let Some(round) = self.round.trimmed_mean() else { return };
        self.round.restart(in_flight);
        if self.is_probing() {
            self.unloaded = Some(match self.unloaded {
                // The same but for chance: the truth is in between.
                Some(previous) if round.low <= previous && previous <= round.high => {
                    previous / 4 * 3 + round.mean / 4
                }
                _ => round.mean,
            });
            self.rounds_until_probe = PROBE_EVERY;
            if !self.prompt_sizes.has_reference() {
                self.prompt_sizes.fix_reference();
            }
            return;
        }
        let unloaded = self.unloaded.map_or(round.high, |unloaded| unloaded.min(round.high));
        self.unloaded = Some(unloaded);
        let limit = self.next_limit(&Round::new(round.low, unloaded, in_flight, false));
        if limit <= self.limit || in_flight as f64 >= self.limit.floor() * MIN_UTILIZATION {
            self.limit = limit;
        }
        self.rounds_until_probe -= 1;
        if self.is_probing() {
            self.prompt_sizes.fix_reference();
        }
    }

    fn next_limit(&mut self, round: &Round) -> f64 {
        let limit = self.algorithm.update(self.limit, round);
        if limit.is_nan() { self.limit } else { self.bounds.clamp(limit) }
    }

    fn is_probing(&self) -> bool {
        self.rounds_until_probe == 0
    }
}

impl LimitRange {
    fn clamp(self, limit: f64) -> f64 {
        let min = self.min.max(1);
        limit.clamp(min as f64, self.max.max(min) as f64)
    }
}

impl RoundSamples {
    fn restart(&mut self, in_flight_before: usize) {
        self.to_skip = in_flight_before;
        self.round_trips.clear();
        self.in_flight = 0;
    }

    fn add(&mut self, round_trip: Duration, in_flight: usize) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        self.round_trips.push(round_trip);
        self.in_flight = self.in_flight.max(in_flight);
    }

    fn trimmed_mean(&mut self) -> Option<TrimmedMean> {
        TrimmedMean::of(&mut self.round_trips)
    }
}

impl fmt::Debug for AdaptiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive")
            .field("bounds", &self.bounds)
            .field("limit", &self.limit)
            .field("unloaded", &self.unloaded)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
