//! The adaptive limit: gathers calls into rounds, and computes a limit from each round. Plain code.

mod prompt_size;
mod served_calls;
mod trimmed_mean;

use std::time::{Duration, Instant};

use self::prompt_size::PromptSizeModel;
use self::served_calls::ServedCalls;
use self::trimmed_mean::TrimmedMean;
use super::limit::{Limit, Round};

/// Gathers responses into rounds, measures the round trip of the unloaded provider, runs the algorithm, and
/// keeps the limit within its bounds.
pub(super) struct AdaptiveLimit {
    algorithm: Box<dyn Limit>,
    bounds: LimitRange,
    limit: f64,
    prompt_sizes: PromptSizeModel,
    round: RoundSamples,
    unloaded: Option<Duration>,
    /// The number of rounds until the next min-RTT probe.
    rounds_until_probe: u32,
    /// The limit at the latest min-RTT probe.
    limit_at_probe: f64,
    last_loss: Option<Instant>,
    lost_in_probe: u32,
    /// Below it the limit grows by one with each success: TCP's slow start threshold. It is the limit after
    /// the latest decrease, and in an outage after the first loss since the latest success. Before any, it is
    /// infinite for an algorithm with slow start, and 0 for the others.
    threshold: f64,
    has_succeeded_since_loss: bool,
    /// The limit at the first of the losses that go on.
    limit_before_losses: f64,
    served: ServedCalls,
}

/// The bounds of an adaptive limit, and its initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitRange {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) initial: usize,
}

/// The measurements of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) started: Instant,
    pub(super) in_flight: usize,
    pub(super) outcome: SampleOutcome,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SampleOutcome {
    /// The response head arrived. `bytes` is the size of the request body, if it is known.
    Success { bytes: Option<u64> },
    /// The provider was overloaded.
    Loss,
}

/// The round trips of the current round.
///
/// The first responses, as many as there were calls in flight when the round started, are skipped: those
/// calls started under another limit. Counting only the calls that started since would be worse: the fast
/// ones among them are answered first, so that a provider with a queue would look unloaded.
#[derive(Default)]
struct RoundSamples {
    to_skip: usize,
    round_trips: Vec<Duration>,
    in_flight: usize,
}

/// A round has as many responses as the limit allows in flight, clamped to this range: at least enough for a
/// meaningful mean, at most a number that arrives in reasonable time.
const SAMPLES_PER_ROUND: (usize, usize) = (16, 64);

/// After this many rounds follows a min-RTT probe: one round with half of the limit. The queue at the
/// provider drains, and the remaining round trip is that of the unloaded provider. Without it, a provider
/// that is always busy would be taken for an unloaded one. BBR version 2 also goes down to half; one round in
/// 33 costs a sixty-sixth of the capacity.
const PROBE_EVERY: u32 = 32;
const PROBE_FRACTION: f64 = 0.5;

/// A probe is given up after this many losses, and another follows one round later.
const MAX_LOST_IN_PROBE: u32 = 3;

/// The fraction of the limit that must have been in use before the limit is raised; an unused limit would
/// otherwise grow without bound (RFC 7661 has the same rule for TCP).
const MIN_UTILIZATION: f64 = 0.8;

impl AdaptiveLimit {
    pub(super) fn new(algorithm: Box<dyn Limit>, bounds: LimitRange) -> Self {
        Self {
            threshold: if algorithm.has_slow_start() { f64::INFINITY } else { 0.0 },
            algorithm,
            bounds,
            limit: bounds.clamp(bounds.initial as f64),
            prompt_sizes: PromptSizeModel::default(),
            round: RoundSamples::default(),
            unloaded: None,
            // The first round is a probe: before it there is no unloaded round trip to compare with.
            rounds_until_probe: 0,
            limit_at_probe: 0.0,
            last_loss: None,
            lost_in_probe: 0,
            has_succeeded_since_loss: true,
            limit_before_losses: 0.0,
            served: ServedCalls::default(),
        }
    }

    /// The limit in force.
    pub(super) fn in_force(&self) -> usize {
        let limit = if self.is_probing() { self.limit * PROBE_FRACTION } else { self.limit };
        self.bounds.clamp(limit) as usize
    }

    /// Records one call.
    pub(super) fn record(&mut self, sample: Sample, now: Instant) {
        let round_trip = now.saturating_duration_since(sample.started);
        match sample.outcome {
            SampleOutcome::Loss => self.record_loss(sample, now),
            SampleOutcome::Success { bytes } => {
                let normalized = bytes.map_or(round_trip, |bytes| {
                    self.prompt_sizes.observe(bytes, round_trip);
                    self.prompt_sizes.normalize(bytes, round_trip)
                });
                self.raise(sample.in_flight, now);
                self.round.add(normalized, sample.in_flight);
                if self.round.round_trips.len()
                    >= self.in_force().clamp(SAMPLES_PER_ROUND.0, SAMPLES_PER_ROUND.1)
                {
                    self.finish_round();
                }
            }
        }
    }

    /// Records the end of a successful call, which held its permit for `held`.
    pub(super) fn record_served(&mut self, held: Duration, now: Instant) {
        self.served.record(held, now);
    }

    /// Raises the limit by one for each success up to the threshold: TCP's slow start (RFC 5681, section
    /// 3.1). Over repeated losses the threshold stays the same: an outage has shown nothing about the load.
    fn raise(&mut self, in_flight: usize, now: Instant) {
        self.has_succeeded_since_loss = true;
        if in_flight as f64 >= self.limit.floor() * MIN_UTILIZATION {
            let raised = (self.limit + 1.0).min(self.threshold).max(self.floor(now));
            self.limit = self.bounds.clamp(raised.max(self.limit));
        }
    }

    /// The lowest limit while losses go on: one more than the calls in flight that succeed. So failures that do
    /// not depend on the load neither lower the limit without end nor keep it low. The floor is at most the
    /// limit before the losses, since calls in a queue at the provider succeed as well.
    fn floor(&self, now: Instant) -> f64 {
        if self.is_losing(now) { (self.served.mean(now) + 1.0).min(self.limit_before_losses) } else { 0.0 }
    }

    /// Whether losses go on: the mean of the calls that succeed still covers the time of the latest.
    fn is_losing(&self, now: Instant) -> bool {
        self.last_loss.is_some_and(|loss| self.served.covers(loss, now))
    }

    /// Lowers the limit at most once per round trip: losses of calls that started before the last decrease
    /// are due to the previous limit, and must not lower it again (as in TCP's recovery, RFC 6582).
    fn record_loss(&mut self, sample: Sample, now: Instant) {
        if self.last_loss.is_some_and(|last| sample.started < last) {
            return;
        }
        let round_trip =
            self.round.trimmed_mean().map(|round| round.low).or(self.unloaded).unwrap_or_default();
        let unloaded = self.unloaded.unwrap_or(round_trip);
        if !self.is_losing(now) {
            self.limit_before_losses = self.limit;
        }
        let lowered = self.next_limit(&Round::new(round_trip, unloaded, sample.in_flight, true));
        // Slow start has not found the capacity before: back to what was in use for certain.
        let is_first = self.threshold.is_infinite();
        let lowered = if is_first { lowered.min(self.limit * MIN_UTILIZATION) } else { lowered };
        self.limit = lowered.max(self.floor(now)).min(self.limit);
        if std::mem::take(&mut self.has_succeeded_since_loss) {
            self.threshold = self.limit;
        }
        self.last_loss = Some(now);
        self.lost_in_probe += u32::from(self.is_probing());
        if self.lost_in_probe > MAX_LOST_IN_PROBE {
            // Where losses go on, no round would end the probe and its half of the limit.
            (self.lost_in_probe, self.rounds_until_probe) = (0, 1);
        }
        self.round.restart(sample.in_flight);
    }

    fn finish_round(&mut self) {
        let in_flight = self.round.in_flight;
        let Some(round) = self.round.trimmed_mean() else { return };
        self.round.restart(in_flight);
        if self.is_probing() {
            self.unloaded = Some(match self.unloaded {
                // The difference is within the margin of chance: smooth the two values.
                Some(previous) if round.low <= previous && previous <= round.high => {
                    previous / 4 * 3 + round.mean / 4
                }
                _ => round.mean,
            });
            (self.lost_in_probe, self.rounds_until_probe) = (0, PROBE_EVERY);
            self.limit_at_probe = self.limit;
            if !self.prompt_sizes.has_reference() {
                self.prompt_sizes.fix_reference();
            }
            return;
        }
        let unloaded = self.unloaded.map_or(round.high, |unloaded| unloaded.min(round.high));
        self.unloaded = Some(unloaded);
        let limit = self.next_limit(&Round::new(round.low, unloaded, in_flight, false));
        self.rounds_until_probe -= 1;
        if limit < self.limit {
            self.threshold = limit;
            // The latest probe has shown that there is no queue at this limit: the provider has become slower.
            if limit <= self.limit_at_probe * PROBE_FRACTION {
                self.rounds_until_probe = 0;
            }
        }
        if limit <= self.limit || in_flight as f64 >= self.limit.floor() * MIN_UTILIZATION {
            self.limit = limit;
        }
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

partial_debug!([] AdaptiveLimit, "AdaptiveLimit", bounds, limit, unloaded);

#[cfg(test)]
mod tests;
