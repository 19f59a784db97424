use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::Request;

use super::RateLimitLayer;
use super::overload_hints::OverloadHints;
use super::queue::{ConcurrentQueue, LockedQueue};
use super::settings::RateLimitSettings;
use super::shared::{RateLink, SharedRate};
use crate::key::{KeyId, RequestHead};
use crate::keyed::{Keyed, KeyedCount, KeyedHandle};
use crate::layer_state::LayerState;
use crate::settings::Hook;
use crate::store::Store;
use crate::thread_shard::{ByThread, SHARDS};
use crate::{Classifier, Gate, LimitUnit, clock};

/// The limit that a layer, its services and their clones share.
///
/// If the layer has [keys](super::RateLimitLayer::key_by), [`of`](Self::of) finds the limit of a key. This
/// handle then shows what a new key has left; [`waiting`](Self::waiting), [`ignored`](Self::ignored) and
/// [`reset`](Self::reset) apply to all keys together.
#[derive(Clone)]
pub struct Handle(pub(super) LayerState<RateLimitSettings, RateLimitState>);

/// What is made from the settings.
#[derive(Debug)]
pub(super) struct RateLimitState {
    pub(super) queue: ConcurrentQueue,
    /// Some quota counts tokens, so calls have to be estimated and metered.
    pub(super) has_token_quota: AtomicBool,
    /// The provider has reported a limit.
    pub(super) has_reported_quotas: AtomicBool,
    /// The wire below records every attempt that it sends. An attempt that is not recorded was not sent.
    pub(super) wire_reports: AtomicBool,
    pub(super) overload_hints: OverloadHints,
    /// The number of reported limits that were ignored.
    pub(super) ignored: KeyedCount,
    /// Reads the limits in response headers when the layer has no classifier of its own.
    pub(super) classifier: OnceLock<Hook<dyn Classifier>>,
    /// The store with which the quotas are shared, if they are.
    pub(super) store: Option<RateLink>,
    keys: Option<Keyed<Handle>>,
}

impl From<&RateLimitSettings> for RateLimitState {
    fn from(settings: &RateLimitSettings) -> Self {
        let now = clock::now();
        let mut limits = settings.quota_set(now);
        // With keys, the limit of each key is shared.
        let shared = settings.hooks.store.as_ref().filter(|_| settings.enabled && settings.key_by.is_none());
        if let Some(store) = shared {
            limits.share(store.shared.settings(), &store.seen_processes, settings.longest_wait(), now);
        }
        // The limit of one of many keys has few calls.
        let is_sharded = settings.enabled && settings.key_by.is_none() && !settings.hooks.is_of_key;
        let threads = if is_sharded { SHARDS } else { 0 };
        let has_token_quota = AtomicBool::new(limits.has_token_quota());
        let queue = ConcurrentQueue::new(limits, settings.max_waiting, threads, now);
        Self {
            store: shared.cloned().map(RateLink::new),
            has_token_quota,
            queue: if settings.enabled { queue } else { queue.disabled() },
            has_reported_quotas: AtomicBool::new(false),
            wire_reports: AtomicBool::new(false),
            overload_hints: OverloadHints::default(),
            ignored: KeyedCount::default(),
            classifier: OnceLock::new(),
            keys: Keyed::new(
                settings.key_by.as_ref().filter(|_| settings.enabled),
                settings.max_keys,
                settings.hooks.store.as_ref(),
            ),
        }
    }
}

impl KeyedHandle for Handle {
    const GATE: Gate = Gate::RateLimit;

    fn by_key(&self) -> Option<&Keyed<Self>> {
        self.0.keys.as_ref()
    }

    fn for_key(&self, key: Option<KeyId>, head: &RequestHead<'_>) -> Self {
        let template = self.0.settings();
        match &template.hooks.per_key {
            Some(per_key) => {
                let layer = per_key(head, RateLimitLayer::of_handle(self.of_key(key, self, template)));
                let own = layer.handle();
                self.of_key(key, if own.0.target().is_empty() { self } else { &own }, own.0.settings())
            }
            None => self.of_key(key, self, template),
        }
    }

    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    /// A key is dropped once its quotas are full again.
    fn is_pristine(&self, now: Instant) -> bool {
        let queue = self.lock();
        queue.backlog.total() == 0 && queue.limits.is_pristine(now)
    }
}

impl Handle {
    /// The limit of a key of this template, with the name of `name_of` and these settings.
    fn of_key(&self, key: Option<KeyId>, name_of: &Self, settings: &RateLimitSettings) -> Self {
        let fresh = Self(name_of.0.fresh_for_key(key, |own| {
            *own = settings.clone();
            own.key_by = None;
            own.hooks.is_of_key = true;
            own.hooks.inherit(&self.0.settings().hooks);
        }));
        fresh.0.ignored.join(&self.0.ignored);
        if let Some(classifier) = self.0.classifier.get() {
            fresh.set_default_classifier(&classifier.0);
        }
        fresh
    }

    /// The handle as the services hold it.
    pub(crate) fn by_thread(self) -> ByThread<Self> {
        ByThread::new(self, |handle| Self(handle.0.copy()))
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.0.settings().enabled
    }

    /// The store of the layer, if it has one.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.0.settings().hooks.store.as_ref()
    }

    /// How many requests could be sent at once now, or `None` without a quota.
    #[must_use]
    pub fn remaining(&self) -> Option<u32> {
        let left = self.lock().limits.remaining(|unit| unit == LimitUnit::Requests, clock::now());
        left.map(|left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// How many tokens could be spent at once now, or `None` without a token quota. Where input and
    /// output are counted separately, this is the lesser of the two.
    #[must_use]
    pub fn tokens_remaining(&self) -> Option<u64> {
        let queue = self.lock();
        queue.limits.remaining(LimitUnit::is_tokens, clock::now()).filter(|_| queue.limits.has_token_quota())
    }

    /// How many requests could be sent at once with a full quota, or `None` without a quota. Of several
    /// quotas it is the one with the least [remaining](Self::remaining).
    #[must_use]
    pub fn capacity(&self) -> Option<u32> {
        let capacity = self.lock().limits.capacity(|unit| unit == LimitUnit::Requests, clock::now());
        capacity.map(|capacity| u32::try_from(capacity).unwrap_or(u32::MAX))
    }

    /// How many tokens could be spent at once with a full quota, or `None` without a token quota. Of several
    /// quotas it is the one with the least [remaining](Self::tokens_remaining).
    #[must_use]
    pub fn tokens_capacity(&self) -> Option<u64> {
        self.lock().limits.capacity(LimitUnit::is_tokens, clock::now())
    }

    /// How the limit is shared with other processes, or `None` if it is not. With keys it is that of the key
    /// for which the store was unavailable, if there is one.
    #[must_use]
    pub fn shared(&self) -> Option<SharedRate> {
        let own = |it: &Self| it.lock().limits.shared().map(|shared| shared.status());
        match self.by_key() {
            None => own(self),
            Some(keys) => {
                keys.iter().filter_map(|(_, limit)| own(&limit)).min_by_key(|status| status.available)
            }
        }
    }

    /// How much longer the provider keeps the gate closed, if it does.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.lock().limits.closed_for(clock::now())
    }

    /// How many calls wait in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sum(Self::own_waiting)
    }

    /// How many calls wait in the queue of this limit, without those of the keys.
    pub(crate) fn own_waiting(&self) -> usize {
        self.lock().backlog.total()
    }

    /// The limit of the key of this request, if it exists already. Without keys, this limit. The key is
    /// not dropped as long as the returned handle exists.
    #[must_use]
    pub fn of<B: 'static>(&self, request: &Request<B>) -> Option<Self> {
        self.get(request)
    }

    /// How many keys have a limit, or zero if the layer has no keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.by_key().map_or(0, Keyed::len)
    }

    /// How many of the provider's reports about its limits were ignored: stale, contradictory or
    /// implausible.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.0.ignored.get()
    }

    /// Resets all quotas to full, and drops what the provider has reported. Quotas that are shared with other
    /// processes stay as they are in the store; a gate that is closed opens in all of them. A reset that does
    /// not reach the store is sent again, and opens no gate that was closed after it; a closing time from
    /// before the reset closes none.
    pub fn reset(&self) {
        self.change_all(|it| {
            let fresh = it.0.settings().quota_set(clock::now());
            it.0.has_token_quota.store(fresh.has_token_quota(), Ordering::Relaxed);
            it.0.has_reported_quotas.store(false, Ordering::Relaxed);
            it.0.overload_hints.clear();
            it.change(|queue, now| {
                it.0.queue.clear_headroom();
                if it.0.store.is_some() {
                    queue.limits.open_for_all(now);
                }
                queue.limits.reset(fresh);
            });
            it.share_opening();
        });
    }

    /// Begins with the quotas of `other`, and if it is of the same account, with what the provider has reported.
    pub(super) fn begin_as(&self, other: &Self, has_same_account: bool) {
        let (now, before) = (clock::now(), other.lock().limits.clone());
        {
            let mut queue = self.lock();
            self.0.queue.clear_headroom();
            queue.limits.begin_as(before, has_same_account, now);
            self.0.has_token_quota.store(queue.limits.has_token_quota(), Ordering::Relaxed);
            self.0.has_reported_quotas.store(queue.limits.has_reported_quotas(), Ordering::Relaxed);
        }
        let keys = self.by_key().zip(other.by_key());
        // The settings of one key depend on its request.
        if let Some((keys, of_other)) = keys.filter(|_| self.0.settings().hooks.per_key.is_none()) {
            for (key, limit) in of_other.iter() {
                let own = self.of_key(Some(key), self, self.0.settings());
                own.begin_as(&limit, has_same_account);
                keys.insert(key, own);
            }
        }
    }

    /// Whether any quota counts tokens.
    pub(super) fn has_token_quota(&self) -> bool {
        self.0.has_token_quota.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> LockedQueue<'_> {
        self.0.queue.lock()
    }

    /// Sets the classifier that reads limits in response headers, unless the layer has one. Only the first
    /// call has an effect.
    pub(crate) fn set_default_classifier(&self, classifier: &Arc<dyn Classifier>) {
        let _ = self.0.classifier.set(Hook(Arc::clone(classifier)));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("remaining", &self.remaining())
            .field("tokens_remaining", &self.tokens_remaining())
            .field("waiting", &self.waiting())
            .finish()
    }
}
