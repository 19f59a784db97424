use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::adaptive::{AdaptiveLimit, LimitRange, Sample};
use super::answer_times::{AnswerTime, AnswerTimes};
use super::settings::BackpressureSettings;
use crate::priority_semaphore::PrioritySemaphore;
use crate::sync::unpoisoned;
use crate::thread_shard::SHARDS;

/// One limit: the semaphore, and the adaptive limit that adjusts it, if any.
///
/// Every call changes the reference count of the surrounding `Arc` and the state of the semaphore. In this
/// field order the two are adjacent, so that one cache line moves between the cores instead of two.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Bulkhead {
    pub(super) semaphore: PrioritySemaphore,
    adaptive: Option<Mutex<AdaptiveLimit>>,
    answer_times: Mutex<AnswerTimes>,
}

/// The initial value of an adaptive limit, as in Netflix's concurrency-limits.
const INITIAL_LIMIT: usize = 20;

impl From<&BackpressureSettings> for Bulkhead {
    fn from(settings: &BackpressureSettings) -> Self {
        let limit = settings.max_inflight;
        let bounds = LimitRange { min: settings.min_inflight.min(limit), max: limit, initial: INITIAL_LIMIT };
        let adaptive = settings.algorithm().map(|algorithm| AdaptiveLimit::new(algorithm, bounds));
        let limit = adaptive.as_ref().map_or(limit, AdaptiveLimit::in_force);
        // A limit that changes with every round would have to collect the permits; one of many keys has few
        // calls.
        let is_sharded = adaptive.is_none() && !settings.hooks.is_of_key && settings.key_by.is_none();
        let threads = if is_sharded { SHARDS } else { 0 };
        Self {
            semaphore: PrioritySemaphore::new(limit, settings.max_queued, settings.order).kept_by(threads),
            adaptive: adaptive.map(Mutex::new),
            answer_times: Mutex::default(),
        }
    }
}

impl Bulkhead {
    pub(super) fn is_adaptive(&self) -> bool {
        self.adaptive.is_some()
    }

    /// Records the outcome of one call and returns the new limit, if it changed.
    pub(super) fn record(&self, sample: Sample, now: Instant) -> Option<usize> {
        let mut adaptive = unpoisoned(self.adaptive.as_ref()?.lock());
        let before = adaptive.in_force();
        adaptive.record(sample, now);
        let limit = adaptive.in_force();
        if limit == before {
            return None;
        }
        // Stored under the lock, so that two changes cannot be applied in reverse order; waiters are woken
        // after it.
        self.semaphore.store_limit(limit);
        drop(adaptive);
        self.semaphore.grant_waiting();
        Some(limit)
    }

    /// Records the end of a successful call, which held its permit for `held`.
    pub(super) fn record_served(&self, held: Duration, now: Instant) {
        if let Some(adaptive) = &self.adaptive {
            unpoisoned(adaptive.lock()).record_served(held, now);
        }
    }

    /// Records the time of an answer, or of its head.
    pub(super) fn record_answer(&self, time: AnswerTime, now: Instant) {
        unpoisoned(self.answer_times.lock()).record(time, now);
    }

    /// The time that most answers take at most; zero if it is unknown.
    pub(super) fn answer_time(&self, now: Instant) -> Duration {
        unpoisoned(self.answer_times.lock()).typical(now)
    }

    /// The time that most heads of successful responses take at most; zero if it is unknown.
    pub(super) fn head_time(&self, now: Instant) -> Duration {
        unpoisoned(self.answer_times.lock()).typical_head(now)
    }

    /// Changes a fixed limit.
    pub(super) fn set_limit(&self, limit: usize) {
        if !self.is_adaptive() {
            self.semaphore.set_limit(limit);
        }
    }
}
