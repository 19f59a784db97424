use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::iter::{self, Sum};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::Request;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, UnitWeighter};

use crate::key::{KeyBy, KeyId, RequestHead, hasher, shared_hasher};
use crate::store::Store;
use crate::sync::unpoisoned;
use crate::{ErrorCode, Gate, Rejection, RejectionReason, clock};

/// A handle to the state of a gate: one state that all requests share, or with `key_by` one state per key.
///
/// With keys the handle of the layer is a template. It is used by no request; it holds what is the same for
/// all keys. Every look at a gate, whether it admits, peeks, reads or resets, finds the state of a request
/// here.
pub(crate) trait KeyedHandle: Clone {
    /// The gate that rejects a request without a key.
    const GATE: Gate;

    /// The states by key; `None` if all requests share this state.
    fn by_key(&self) -> Option<&Keyed<Self>>;

    /// The state of a new key, with everything that was [changed](Self::change_all) in this template. `None`
    /// is a request without a key.
    fn for_key(&self, key: Option<KeyId>, head: &RequestHead<'_>) -> Self;

    /// Applies what was [changed](Self::change_all) in the template. A key may be created during such a
    /// change.
    fn follow(&self, _template: &Self) {}

    /// Whether a call in flight holds the state or waits for it.
    fn is_in_use(&self) -> bool;

    /// Whether the state behaves like a new one, so that it can be dropped.
    fn is_pristine(&self, now: Instant) -> bool;

    /// The state of the request's key, which is created if there is none; `None` without keys. A request
    /// without a key is rejected.
    #[inline]
    fn get_or_insert<B: 'static>(&self, request: &Request<B>) -> Result<Option<Self>, Rejection> {
        let Some(keys) = self.by_key() else { return Ok(None) };
        let key = keys.key(request).ok_or_else(|| no_key(Self::GATE))?;
        Ok(Some(keys.of(key, &RequestHead::of(request), self)))
    }

    /// The rejection of a request without a key, if there are keys.
    fn missing_key<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        let is_missing = self.by_key().is_some() && self.key_of(request).is_none();
        is_missing.then(|| no_key(Self::GATE))
    }

    /// The state of the request's key, if there is one; without keys this one. Does not count as a use of the
    /// key.
    fn get<B: 'static>(&self, request: &Request<B>) -> Option<Self> {
        match self.by_key() {
            None => Some(self.clone()),
            Some(keys) => keys.states.peek(&self.key_of(request)?),
        }
    }

    /// The state that the request would meet now: that of its key, one like that of a new key, or without
    /// keys this one. It is not kept, and does not count as a use of the key.
    fn get_or_new<B: 'static>(&self, request: &Request<B>) -> Cow<'_, Self> {
        match self.by_key() {
            None => Cow::Borrowed(self),
            Some(_) => {
                let of_new_key = || self.for_key(self.key_of(request), &RequestHead::of(request));
                Cow::Owned(self.get(request).unwrap_or_else(of_new_key))
            }
        }
    }

    /// The key of the request; `None` without keys, and if the request has none.
    fn key_of<B: 'static>(&self, request: &Request<B>) -> Option<KeyId> {
        self.by_key()?.key(request)
    }

    /// The state of a key, or else this one.
    fn at(&self, key: KeyId) -> Cow<'_, Self> {
        let found = self.by_key().and_then(|keys| keys.states.peek(&key));
        found.map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// Whether a request that is still to be addressed to a target meets the same state as afterwards.
    fn is_met_before_addressing(&self) -> bool {
        self.by_key().is_none_or(|keys| keys.key_by.is_of_caller())
    }

    /// The sum of `count` over all states.
    fn sum<N: Sum>(&self, count: impl Fn(&Self) -> N) -> N {
        match self.by_key() {
            None => count(self),
            Some(keys) => keys.iter().map(|(_, state)| count(&state)).sum(),
        }
    }

    /// Changes the template and the states of all keys, present and future.
    fn change_all(&self, change: impl Fn(&Self)) {
        change(self);
        if let Some(keys) = self.by_key() {
            keys.changes.fetch_add(1, Ordering::AcqRel);
            // Collected first, so that no waker runs under a lock of the map.
            let states: Vec<_> = keys.iter().collect();
            states.iter().for_each(|(_, state)| change(state));
        }
    }
}

/// A count since the start. That of a key is also counted for its layer, which outlives its keys.
#[derive(Debug, Default)]
pub(crate) struct KeyedCount {
    count: Arc<AtomicU64>,
    of_layer: OnceLock<Arc<AtomicU64>>,
}

impl KeyedCount {
    pub(crate) fn add(&self, count: u64) {
        for counter in iter::once(&self.count).chain(self.of_layer.get()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The count of this state; for the template of a layer with keys, that of all keys.
    pub(crate) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts for the layer of this template from now on.
    pub(crate) fn join(&self, template: &Self) {
        let _ = self.of_layer.set(Arc::clone(&template.count));
    }
}

/// A bounded map with one state per key, which is created at the first request with that key.
///
/// A state that is [pristine](KeyedHandle::is_pristine) is dropped within about a minute, without any effect.
/// Above `max_keys` the least used states are evicted with their counts, by the rules of S3-FIFO: a flood of
/// keys that occur once does not evict those that occur often. A state that is [in
/// use](KeyedHandle::is_in_use) is never evicted, so the map may exceed `max_keys` by the number of calls in
/// flight.
pub(crate) struct Keyed<T> {
    key_by: KeyBy,
    /// Carries the secret of the hashes: that of the process, or of all processes that share the states.
    hasher: DefaultHasher,
    states: Cache<KeyId, T, UnitWeighter, quick_cache::DefaultHashBuilder, PinInUse>,
    max_keys: usize,
    next_sweep: Mutex<Instant>,
    /// How often all states have been changed together.
    changes: AtomicU64,
}

/// Pins the states that are in use, so that they are not evicted.
#[derive(Clone, Copy)]
struct PinInUse;

/// The default of `max_keys`.
pub(crate) const DEFAULT_MAX_KEYS: usize = 10_000;

/// The interval between sweeps for pristine states; long enough that the cost of visiting all keys is
/// negligible.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The interval between sweeps while the map is full, so that pristine states are dropped before states with
/// counts are evicted.
const SWEEP_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

impl<T: KeyedHandle> Keyed<T> {
    /// The map of a layer with these settings; `None` without a key.
    pub(crate) fn new(key_by: Option<&KeyBy>, max_keys: usize, store: Option<&Store>) -> Option<Self> {
        let (key_by, max_keys) = (key_by?.clone(), max_keys.max(1));
        let states =
            Cache::with(max_keys.min(1024), max_keys as u64, UnitWeighter, Default::default(), PinInUse);
        let next_sweep = Mutex::new(next_sweep(clock::now()));
        let hasher = store.map_or_else(hasher, |store| shared_hasher(store.shared.salt()));
        Some(Self { key_by, hasher, states, max_keys, next_sweep, changes: AtomicU64::new(0) })
    }

    fn key<B: 'static>(&self, request: &Request<B>) -> Option<KeyId> {
        self.key_by.key(request, self.hasher.clone())
    }

    fn of(&self, key: KeyId, head: &RequestHead<'_>, template: &T) -> T {
        if let Some(state) = self.states.get(&key) {
            return state;
        }
        self.sweep(clock::now());
        let mut changes = self.changes.load(Ordering::Acquire);
        let fresh = || Ok::<_, std::convert::Infallible>(template.for_key(Some(key), head));
        let Ok(state) = self.states.get_or_insert_with(&key, fresh);
        // A change of all states either sees the new one in the map, or is seen here.
        loop {
            let latest = self.changes.load(Ordering::Acquire);
            if latest == changes {
                return state;
            }
            state.follow(template);
            changes = latest;
        }
    }

    /// Gives a key this state.
    pub(crate) fn insert(&self, key: KeyId, state: T) {
        self.states.insert(key, state);
    }

    /// All keys with their states.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, T)> {
        self.states.iter()
    }

    /// The number of keys that have a state.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    fn sweep(&self, now: Instant) {
        {
            let mut next = unpoisoned(self.next_sweep.lock());
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

/// The rejection of a request without a key. One state for all such requests would make them share the limit
/// of one model.
#[cold]
fn no_key(gate: Gate) -> Rejection {
    Rejection::new(gate, ErrorCode::InvalidRequest).because(RejectionReason::NoModel)
}

fn next_sweep(now: Instant) -> Instant {
    clock::after(SWEEP_INTERVAL, now)
}

impl<T: KeyedHandle> Lifecycle<KeyId, T> for PinInUse {
    type RequestState = <DefaultLifecycle<KeyId, T> as Lifecycle<KeyId, T>>::RequestState;

    fn is_pinned(&self, _: &KeyId, state: &T) -> bool {
        state.is_in_use()
    }
}

impl<T: KeyedHandle> fmt::Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("by", &self.key_by).field("keys", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Used, if its flag is set.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicBool>);

    impl KeyedHandle for Count {
        const GATE: Gate = Gate::RateLimit;

        fn by_key(&self) -> Option<&Keyed<Self>> {
            None
        }

        fn for_key(&self, _: Option<KeyId>, _: &RequestHead<'_>) -> Self {
            Self::default()
        }

        fn follow(&self, template: &Self) {
            self.0.store(template.0.load(Ordering::Relaxed), Ordering::Relaxed);
        }

        fn is_in_use(&self) -> bool {
            Arc::strong_count(&self.0) > 1
        }

        fn is_pristine(&self, _: Instant) -> bool {
            !self.0.load(Ordering::Relaxed)
        }
    }

    fn keyed(max_keys: usize) -> Keyed<Count> {
        Keyed::new(Some(&KeyBy::path()), max_keys, None).unwrap()
    }

    fn call(keyed: &Keyed<Count>, key: usize) -> Count {
        let request = Request::builder().uri(format!("/{key}")).body(()).unwrap();
        let key = keyed.key_by.key(&request, hasher()).unwrap();
        keyed.of(key, &RequestHead::of(&request), &Count::default())
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
