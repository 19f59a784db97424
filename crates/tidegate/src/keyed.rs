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

/// A state per key: made at the first call with that key, and bounded in number.
///
/// What nobody needs goes first. A state that is [as new](KeyedState::is_pristine) is dropped within a minute or so, and
/// nobody can tell. Past `max_keys` the least used go (by the rules of S3-FIFO, so that a flood of keys that come
/// once does not wash out those that come often), with whatever was counted against them; a state
/// [in use](KeyedState::is_in_use) stays, so there may be as many more as there are calls under way.
pub(crate) struct Keyed<T: KeyedState>(Arc<KeyedInner<T>>);

/// A state that is cheap to clone, and may be forgotten at times.
pub(crate) trait KeyedState: Clone {
    /// Whether a call under way holds it, or waits for it.
    fn is_in_use(&self) -> bool;

    /// Whether a fresh state would act the same.
    fn is_pristine(&self, now: Instant) -> bool;
}

struct KeyedInner<T: KeyedState> {
    key_by: KeyBy,
    hash_secret: RandomState,
    states: Cache<Key, T, UnitWeighter, quick_cache::DefaultHashBuilder, PinInUse>,
    max_keys: usize,
    next_sweep: Mutex<Instant>,
}

/// Keeps what is in use.
#[derive(Clone, Copy)]
struct PinInUse;

/// So many keys are kept if nothing else is said.
pub(crate) const DEFAULT_MAX_KEYS: usize = 10_000;

/// How often what is as new is looked for: seldom enough that looking at all keys costs nothing to speak of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// And how often where there is no more room, so that what counts does not make room for what is as new.
const SWEEP_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

impl<T: KeyedState> Keyed<T> {
    pub(crate) fn new(key_by: KeyBy, max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let states =
            Cache::with(max_keys.min(1024), max_keys as u64, UnitWeighter, Default::default(), PinInUse);
        let next_sweep = Mutex::new(next_sweep(clock::now()));
        Self(Arc::new(KeyedInner { key_by, hash_secret: RandomState::new(), states, max_keys, next_sweep }))
    }

    /// The state of the key of this request.
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

    /// The state of the key of this request, if there is one. Counts as no use.
    pub(crate) fn find<B>(&self, request: &Request<B>) -> Option<T> {
        self.0.states.peek(&self.0.key_by.key(request, self.0.hash_secret.build_hasher()))
    }

    /// All states there are.
    pub(crate) fn states(&self) -> impl Iterator<Item = T> {
        self.0.states.iter().map(|(_, state)| state)
    }

    /// How many keys have a state.
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
    async fn a_key_finds_its_state_again() {
        let keyed = keyed(100);
        call(&keyed, 1).0.store(true, Ordering::Relaxed);
        assert!(call(&keyed, 1).0.load(Ordering::Relaxed) && !call(&keyed, 2).0.load(Ordering::Relaxed));
        assert_eq!(keyed.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_is_bounded_and_leaves_what_is_in_use() {
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
    async fn what_counts_does_not_make_room_for_what_is_as_new() {
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
    async fn what_is_as_new_goes_and_what_counts_stays() {
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
