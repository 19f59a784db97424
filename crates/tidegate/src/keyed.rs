use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, UnitWeighter};

use crate::key::{Key, KeyBy};
use crate::{Deadline, clock};

/// A bounded map with one state per key, which is created at the first request with that key.
///
/// A state that is [pristine](KeyedState::is_pristine) is dropped within about a minute, without any effect.
/// Above `max_keys` the least used states are evicted with their counts, by the rules of S3-FIFO: a flood of
/// keys that occur once does not evict those that occur often. A state that is [in
/// use](KeyedState::is_in_use) is never evicted, so the map may exceed `max_keys` by the number of calls in
/// flight.
pub(crate) struct Keyed<T: KeyedState>(Arc<KeyedInner<T>>);

/// A state in a [`Keyed`] map: cheap to clone, and evictable when it is not in use.
pub(crate) trait KeyedState: Clone {
    /// Whether a call in flight holds the state or waits for it.
    fn is_in_use(&self) -> bool;

    /// Whether the state behaves like a new one, so that it can be dropped.
    fn is_pristine(&self, now: Instant) -> bool;
}

struct KeyedInner<T: KeyedState> {
    key_by: KeyBy,
    hash_secret: RandomState,
    states: Cache<Key, T, UnitWeighter, quick_cache::DefaultHashBuilder, PinInUse>,
    max_keys: usize,
    next_sweep: Mutex<Instant>,
}

/// Pins the states that are in use, so that they are not evicted.
#[derive(Clone, Copy)]
struct PinInUse;

/// The default of `max_keys`.
pub(crate) const DEFAULT_MAX_KEYS: usize = 10_000;

/// The interval between sweeps for pristine states; long enough that the cost of visiting all keys is
/// negligible.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The same while the map is full, so that pristine states are dropped before states with counts are evicted.
const SWEEP_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

impl<T: KeyedState> Keyed<T> {
    pub(crate) fn new(key_by: KeyBy, max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let states =
            Cache::with(max_keys.min(1024), max_keys as u64, UnitWeighter, Default::default(), PinInUse);
        let next_sweep = Mutex::new(next_sweep(clock::now()));
        Self(Arc::new(KeyedInner { key_by, hash_secret: RandomState::new(), states, max_keys, next_sweep }))
    }

    /// The state of the request's key, which is created if there is none.
    pub(crate) fn of<B>(&self, request: &Request<B>, fresh: impl FnOnce() -> T) -> T {
        let map = &*self.0;
        let key = map.key_by.key(request, map.hash_secret.build_hasher());
        if let Some(state) = map.states.get(&key) {
            return state;
        }
        map.sweep(clock::now());
        match map.states.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(fresh())) {
            Ok(state) => state,
        }
    }

    /// The state of the request's key, if there is one. Does not count as a use.
    pub(crate) fn find<B>(&self, request: &Request<B>) -> Option<T> {
        self.0.states.peek(&self.0.key_by.key(request, self.0.hash_secret.build_hasher()))
    }

    /// All states.
    pub(crate) fn states(&self) -> impl Iterator<Item = T> {
        self.0.states.iter().map(|(_, state)| state)
    }

    /// The number of keys that have a state.
    pub(crate) fn len(&self) -> usize {
        self.0.states.len()
    }
}

impl<T: KeyedState> KeyedInner<T> {
    fn sweep(&self, now: Instant) {
        {
            let mut next = self.next_sweep.lock().unwrap_or_else(PoisonError::into_inner);
            let is_full = self.states.len() >= self.max_keys;
            let advance_by = if is_full { SWEEP_INTERVAL - SWEEP_INTERVAL_WHEN_FULL } else { Duration::ZERO };
            if now + advance_by < *next {
                return;
            }
            *next = next_sweep(now);
        }
        self.states.retain(|_, state| state.is_in_use() || !state.is_pristine(now));
    }
}

fn next_sweep(now: Instant) -> Instant {
    Deadline::after(SWEEP_INTERVAL, now).instant()
}

impl<T: KeyedState> Lifecycle<Key, T> for PinInUse {
    type RequestState = <DefaultLifecycle<Key, T> as Lifecycle<Key, T>>::RequestState;

    fn is_pinned(&self, _: &Key, state: &T) -> bool {
        state.is_in_use()
    }
}

impl<T: KeyedState> Clone for Keyed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: KeyedState> fmt::Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("by", &self.0.key_by).field("keys", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Count(Arc<AtomicBool>);

    impl KeyedState for Count {
        fn is_in_use(&self) -> bool {
            Arc::strong_count(&self.0) > 1
        }

        fn is_pristine(&self, _: Instant) -> bool {
            !self.0.load(Ordering::Relaxed)
        }
    }

    fn keyed(max_keys: usize) -> Keyed<Count> {
        Keyed::new(KeyBy::path(), max_keys)
    }

    fn call(keyed: &Keyed<Count>, key: usize) -> Count {
        keyed.of(&Request::builder().uri(format!("/{key}")).body(()).unwrap(), Count::default)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_keeps_its_state() {
        let keyed = keyed(100);
        call(&keyed, 1).0.store(true, Ordering::Relaxed);
        assert!(call(&keyed, 1).0.load(Ordering::Relaxed) && !call(&keyed, 2).0.load(Ordering::Relaxed));
        assert_eq!(keyed.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_is_bounded_and_keeps_states_in_use() {
        let keyed = keyed(100);
        let held = call(&keyed, 0);
        held.0.store(true, Ordering::Relaxed);
        for key in 1..100_000 {
            call(&keyed, key).0.store(true, Ordering::Relaxed);
        }
        assert!(keyed.len() <= 101, "{}", keyed.len());
        assert!(Arc::ptr_eq(&call(&keyed, 0).0, &held.0));
    }

    #[tokio::test(start_paused = true)]
    async fn states_with_counts_are_not_evicted_by_pristine_ones() {
        let keyed = keyed(100);
        call(&keyed, 0).0.store(true, Ordering::Relaxed);
        for key in 1..2_000 {
            call(&keyed, key);
            if key % 50 == 0 {
                tokio::time::advance(SWEEP_INTERVAL_WHEN_FULL).await;
            }
        }
        assert!(call(&keyed, 0).0.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn pristine_states_are_dropped_and_states_with_counts_stay() {
        let keyed = keyed(100);
        call(&keyed, 0).0.store(true, Ordering::Relaxed);
        for key in 1..50 {
            call(&keyed, key);
        }
        let in_use = call(&keyed, 50);
        tokio::time::advance(SWEEP_INTERVAL).await;
        call(&keyed, 60);
        assert_eq!(keyed.len(), 3);
        assert!(call(&keyed, 0).0.load(Ordering::Relaxed));
        assert!(Arc::ptr_eq(&call(&keyed, 50).0, &in_use.0));
    }
}
