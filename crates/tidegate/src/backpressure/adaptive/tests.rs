use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::limit::{Aimd, Gradient, Vegas};
use super::*;
use crate::testing::SECOND;

const LONG: u64 = 100_000;

/// The name of an algorithm, and how to build it.
type Algorithm = (&'static str, fn() -> Box<dyn Limit>);

const AIMD: Algorithm = ("aimd", || Box::new(Aimd::new()));
const VEGAS: Algorithm = ("vegas", || Box::new(Vegas::new()));
const GRADIENT: Algorithm = ("gradient", || Box::new(Gradient::new()));

/// A provider with a fixed number of workers and an unbounded queue, under callers that always have another
/// call ready. A discrete-event simulation: no clock, no runtime.
struct Simulation {
    now: Instant,
    limit: AdaptiveLimit,
    /// The instants at which the provider's workers become free.
    workers: BinaryHeap<Reverse<Instant>>,
    /// The calls in flight, ordered by the time of their response.
    calls: BinaryHeap<Reverse<SimulatedCall>>,
    /// The median duration of a call without load; `noise` is the standard deviation of its logarithm.
    service_time: Duration,
    noise: f64,
    /// The queue length at which the provider responds with 503; never if `None`.
    max_queue: Option<usize>,
    /// The range of prompt sizes; a prompt of `LONG` bytes takes eleven times as long as an empty one.
    prompts: std::ops::RangeInclusive<u64>,
    /// The share of the calls that fail at once, whatever the load.
    failing: f64,
    /// The number of concurrent callers.
    callers: usize,
    random: fastrand::Rng,
}

/// A call in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SimulatedCall {
    finished: Instant,
    started: Instant,
    in_flight: usize,
    /// The size of its prompt; `None` if it is rejected.
    bytes: Option<u64>,
}

impl Simulation {
    fn new(algorithm: Box<dyn Limit>, capacity: usize) -> Self {
        Self::seeded(algorithm, capacity, 7)
    }

    fn seeded(algorithm: Box<dyn Limit>, capacity: usize, seed: u64) -> Self {
        let start = Instant::now();
        let bounds = LimitRange { min: 1, max: 1_000, initial: 20 };
        Self {
            now: start,
            limit: AdaptiveLimit::new(algorithm, bounds),
            workers: (0..capacity).map(|_| Reverse(start)).collect(),
            calls: BinaryHeap::new(),
            service_time: SECOND,
            noise: 0.1,
            max_queue: None,
            prompts: 0..=0,
            failing: 0.0,
            callers: 10_000,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Changes the number of workers.
    fn capacity(&mut self, capacity: usize) {
        while self.workers.len() > capacity {
            self.workers.pop();
        }
        while self.workers.len() < capacity {
            self.workers.push(Reverse(self.now));
        }
    }

    fn start_calls(&mut self) {
        while self.calls.len() < self.limit.in_force().min(self.callers) {
            let in_flight = self.calls.len() + 1;
            let rejected = self.max_queue.is_some_and(|most| in_flight > self.workers.len() + most)
                || (self.failing > 0.0 && self.random.f64() < self.failing);
            let (finished, bytes) = if rejected {
                (self.now + SECOND / 100, None)
            } else {
                let Reverse(free) = self.workers.pop().unwrap();
                let bytes = self.random.u64(self.prompts.clone());
                // The sum of twelve uniform values approximates a normal distribution.
                let normal = (0..12).map(|_| self.random.f64()).sum::<f64>() - 6.0;
                let service_time = self.service_time.mul_f64(1.0 + bytes as f64 / LONG as f64 * 10.0);
                let done = free.max(self.now) + service_time.mul_f64((self.noise * normal).exp());
                self.workers.push(Reverse(done));
                (done, Some(bytes))
            };
            self.calls.push(Reverse(SimulatedCall { finished, started: self.now, in_flight, bytes }));
        }
    }

    /// Runs the simulation for `time` and returns the time-weighted mean of the limit in force.
    fn run(&mut self, time: Duration) -> f64 {
        let (started, mut sum) = (self.now, 0.0);
        while self.now < started + time {
            self.start_calls();
            let Reverse(SimulatedCall { finished, started: since, in_flight, bytes }) =
                self.calls.pop().unwrap();
            sum += self.limit.in_force() as f64 * (finished - self.now).as_secs_f64();
            self.now = finished;
            let outcome = match bytes {
                Some(_) => SampleOutcome::Success { bytes },
                None => SampleOutcome::Loss,
            };
            self.limit.record(Sample { started: since, in_flight, outcome }, self.now);
            if bytes.is_some() {
                self.limit.record_served(self.now - since, self.now);
            }
        }
        sum / (self.now - started).as_secs_f64()
    }
}

fn assert_near(name: &str, found: f64, capacity: usize) {
    let ratio = found / capacity as f64;
    assert!((0.8..=1.2).contains(&ratio), "{name} found {found:.1} where the capacity is {capacity}");
}

fn finds_the_capacity_and_follows_it((name, algorithm): Algorithm) {
    for seed in 1..=5 {
        let mut simulation = Simulation::seeded(algorithm(), 40, seed);
        for capacity in [40, 20, 60, 30] {
            simulation.capacity(capacity);
            simulation.run(200 * SECOND);
            assert_near(name, simulation.run(100 * SECOND), capacity);
        }
    }
}

#[test]
fn aimd_finds_the_capacity_and_follows_it_down_and_up() {
    finds_the_capacity_and_follows_it(AIMD);
}

#[test]
fn vegas_finds_the_capacity_and_follows_it_down_and_up() {
    finds_the_capacity_and_follows_it(VEGAS);
}

#[test]
fn gradient_finds_the_capacity_and_follows_it_down_and_up() {
    finds_the_capacity_and_follows_it(GRADIENT);
}

/// Times to the first token vary widely; the variance must neither look like an overloaded provider nor hide
/// one.
#[test]
fn noise_neither_collapses_the_limit_nor_lets_it_grow_without_bound() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        for noise in [0.3, 0.6, 0.9] {
            let of_seed = |seed| {
                let mut simulation = Simulation::seeded(algorithm(), 40, seed);
                simulation.noise = noise;
                simulation.run(300 * SECOND);
                simulation.run(600 * SECOND) / 40.0
            };
            // One seed in ten is far from the others.
            let found = (1..=8).map(of_seed).sum::<f64>() / 8.0;
            assert!(
                (0.75..1.3).contains(&found),
                "{name} with a spread of {noise} found {found:.2} of the capacity"
            );
        }
    }
}

#[test]
fn longer_prompts_do_not_look_like_a_slower_provider() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        let mut simulation = Simulation::new(algorithm(), 40);
        simulation.prompts = 0..=LONG / 10;
        simulation.run(400 * SECOND);
        assert_near(name, simulation.run(200 * SECOND), 40);
        // From at most ten thousand bytes to a hundred thousand, without a dip other than the min-RTT probes.
        simulation.prompts = LONG / 20..=LONG;
        for _ in 0..10 {
            let found = simulation.run(30 * SECOND) / 40.0;
            assert!((0.7..1.3).contains(&found), "{name} found {found:.2} of the capacity");
        }
    }
}

#[test]
fn losses_alone_are_enough_for_a_provider_that_rejects() {
    let aimd: Algorithm = ("aimd", || Box::new(Aimd::new().tolerance(f64::INFINITY)));
    for (name, algorithm) in [aimd, VEGAS, GRADIENT] {
        let mut simulation = Simulation::new(algorithm(), 40);
        simulation.max_queue = Some(4);
        simulation.run(200 * SECOND);
        assert_near(name, simulation.run(100 * SECOND), 40);
    }
}

#[test]
fn a_provider_that_becomes_permanently_slower_is_not_treated_as_overloaded() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        let mut simulation = Simulation::new(algorithm(), 40);
        simulation.run(200 * SECOND);
        simulation.service_time = 4 * SECOND;
        simulation.run(300 * SECOND);
        assert_near(name, simulation.run(400 * SECOND), 40);
    }
}

/// Regression: the lower the limit, the later a probe showed that there was no queue. A limit of one or two
/// calls lasted for a quarter of an hour.
#[test]
fn longer_answers_of_an_idle_provider_lower_the_limit_for_some_round_trips() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        for (seed, slower) in [(1, 2), (2, 2), (3, 2), (1, 4), (2, 4), (3, 4)] {
            let mut simulation = Simulation::seeded(algorithm(), 10_000, seed);
            (simulation.callers, simulation.noise) = (30, 0.2);
            simulation.run(200 * SECOND);
            simulation.service_time *= slower;
            simulation.run(40 * slower * SECOND);
            let found = simulation.run(20 * slower * SECOND);
            assert!(found >= 15.0, "{name} found {found:.1} for 30 calls, {slower} times as long");
        }
    }
}

#[test]
fn an_initial_limit_far_above_the_capacity_is_corrected() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        let mut simulation = Simulation::new(algorithm(), 4);
        simulation.run(1_000 * SECOND);
        let found = simulation.run(400 * SECOND);
        assert!((3.0..=7.0).contains(&found), "{name} found {found:.1} where the capacity is 4");
    }
}

#[test]
fn an_unused_limit_is_not_raised() {
    let mut simulation = Simulation::new(Box::new(Aimd::new()), 40);
    simulation.callers = 5;
    simulation.run(200 * SECOND);
    assert_eq!(simulation.limit.limit, 20.0);
}

fn adaptive(algorithm: impl Limit) -> AdaptiveLimit {
    AdaptiveLimit::new(Box::new(algorithm), LimitRange { min: 2, max: 50, initial: 20 })
}

fn loss(started: Instant) -> Sample {
    Sample { started, in_flight: 20, outcome: SampleOutcome::Loss }
}

/// Twenty calls that are sent and rejected together are one signal, not twenty.
#[test]
fn losses_of_one_round_trip_lower_the_limit_once() {
    let start = Instant::now();
    let mut limit = adaptive(Aimd::new());
    for _ in 0..20 {
        limit.record(loss(start), start + SECOND);
    }
    assert!((limit.limit - 16.0).abs() < 1e-9, "{}", limit.limit);
    limit.record(loss(start + SECOND), start + 2 * SECOND);
    assert!((limit.limit - 14.4).abs() < 1e-9, "{}", limit.limit);
}

#[test]
fn the_result_of_an_algorithm_is_clamped_to_the_bounds() {
    #[derive(Clone)]
    struct Constant(f64);
    impl Limit for Constant {
        fn update(&mut self, _: f64, _: &Round) -> f64 {
            self.0
        }
    }
    let start = Instant::now();
    for (value, expected) in
        [(f64::NAN, 20.0), (f64::INFINITY, 20.0), (f64::NEG_INFINITY, 2.0), (0.0, 2.0), (7.5, 7.5)]
    {
        let mut limit = adaptive(Constant(value));
        limit.record(loss(start), start + SECOND);
        assert_eq!(limit.limit, expected, "a loss never raises the limit");
    }
    let high = AdaptiveLimit::new(Box::new(Constant(1e300)), LimitRange { min: 9, max: 3, initial: 0 });
    assert_eq!(high.limit, 9.0);
}

/// The limit grew by one for sixteen responses after an outage had lowered it to one.
#[test]
fn an_outage_lowers_the_limit_only_while_it_lasts() {
    let mut simulation = Simulation::new(Box::new(Aimd::new()), 40);
    simulation.run(200 * SECOND);
    let before = simulation.limit.limit;
    for _ in 0..60 {
        simulation.now += SECOND;
        let started = simulation.now - SECOND / 100;
        simulation
            .limit
            .record(Sample { started, in_flight: 1, outcome: SampleOutcome::Loss }, simulation.now);
    }
    assert!(simulation.limit.limit < 2.0, "{}", simulation.limit.limit);
    simulation.calls.clear();
    simulation.run(15 * SECOND);
    assert!(simulation.limit.limit > before * 0.8, "{} of {before}", simulation.limit.limit);
}

/// A provider that rejected half of the requests whatever the load had a limit of one.
#[test]
fn losses_whatever_the_load_leave_room_for_what_is_served() {
    let mut simulation = Simulation::new(Box::new(Aimd::new()), 1_000);
    simulation.callers = 12;
    simulation.failing = 0.5;
    simulation.run(300 * SECOND);
    let found = simulation.run(300 * SECOND);
    assert!((9.0..=20.0).contains(&found), "{found:.1} for twelve callers");
}

/// After a loss the limit grew with each success: every queued call is served in the end.
#[test]
fn losses_do_not_hide_a_queue_at_the_provider() {
    for (name, algorithm) in [AIMD, VEGAS, GRADIENT] {
        for failing in [0.0, 0.02] {
            let mut simulation = Simulation::new(algorithm(), 10);
            simulation.run(200 * SECOND);
            let started = simulation.now - SECOND / 100;
            let loss = Sample { started, in_flight: 10, outcome: SampleOutcome::Loss };
            simulation.limit.record(loss, simulation.now);
            simulation.failing = failing;
            simulation.run(200 * SECOND);
            let found = simulation.run(400 * SECOND);
            assert!((6.0..=15.0).contains(&found), "{name} found {found:.1} of 10 with {failing} lost");
        }
    }
}

/// The limit grew from its initial value by one in a round, so that a burst waited for minutes.
#[test]
fn aimd_raises_the_limit_by_a_quarter_in_each_round_until_the_first_loss() {
    for seed in 1..=5 {
        let mut simulation = Simulation::seeded(Box::new(Aimd::new().tolerance(f64::INFINITY)), 1_000, seed);
        simulation.noise = 0.6;
        simulation.run(10 * SECOND);
        let found = simulation.limit.limit;
        assert!(found >= 80.0, "{found} with seed {seed}");
    }
}
