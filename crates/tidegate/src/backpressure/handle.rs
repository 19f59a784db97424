use std::fmt;
use std::ops::Deref;
use std::time::Instant;

use http::Request;

use super::bulkhead::Bulkhead;
use super::settings::BackpressureSettings;
use super::wait_deadline::WaitDeadline;
use crate::events::Decision;
use crate::key::KeyId;
use crate::keyed::{Keyed, KeyedHandle};
use crate::layer_state::LayerState;
use crate::thread_shard::ByThread;
use crate::{Deadline, Gate, Priority, RequestHead};

/// Shared by a layer, its services and their clones: the limit and the queue.
///
/// If the layer has [keys](super::BackpressureLayer::key_by), [`of`](Self::of) finds the bulkhead of a key.
/// This handle then shows the limit of a new key, and the counts of all keys together.
#[derive(Clone)]
pub struct Handle(pub(super) LayerState<BackpressureSettings, BackpressureState>);

/// What is made from the settings.
#[derive(Debug)]
#[repr(C)]
pub(super) struct BackpressureState {
    /// First, because every call changes it together with the reference count before it.
    bulkhead: Bulkhead,
    keys: Option<Keyed<Handle>>,
}

impl From<&BackpressureSettings> for BackpressureState {
    fn from(settings: &BackpressureSettings) -> Self {
        Self {
            bulkhead: settings.into(),
            keys: Keyed::new(settings.key_by.as_ref().filter(|_| settings.enabled), settings.max_keys, None),
        }
    }
}

impl Deref for BackpressureState {
    type Target = Bulkhead;

    fn deref(&self) -> &Bulkhead {
        &self.bulkhead
    }
}

impl KeyedHandle for Handle {
    const GATE: Gate = Gate::Backpressure;

    fn by_key(&self) -> Option<&Keyed<Self>> {
        self.0.keys.as_ref()
    }

    fn for_key(&self, key: Option<KeyId>, _: &RequestHead<'_>) -> Self {
        let fresh = Self(self.0.fresh_for_key(key, |settings| {
            settings.key_by = None;
            settings.hooks.is_of_key = true;
        }));
        fresh.follow(self);
        fresh
    }

    /// The limit of a key is changed with that of the template.
    fn follow(&self, template: &Self) {
        self.0.set_limit(template.0.semaphore.limit());
    }

    /// Every call that holds or waits for a permit holds a reference.
    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    fn is_pristine(&self, _: Instant) -> bool {
        !self.0.is_adaptive()
    }
}

impl Handle {
    /// The handle as the services hold it.
    pub(crate) fn by_thread(self) -> ByThread<Self> {
        ByThread::new(self, |handle| Self(handle.0.copy()))
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.0.settings().enabled
    }

    /// The current limit of calls in flight; `None` if there is no limit. With keys, the limit of a new key.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.is_enabled().then(|| self.0.semaphore.limit())
    }

    /// Changes the limit at run time, with keys that of each key; zero is raised to one. A higher limit
    /// admits queued calls at once; a lower one takes effect as calls end. Does nothing if there is no limit
    /// or if it is adaptive.
    pub fn set_limit(&self, calls: usize) {
        self.change_all(|it| it.0.set_limit(calls.max(1)));
    }

    /// The number of calls in flight, up to the end of their response bodies; zero if there is no limit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(|it| it.0.semaphore.in_use())
    }

    /// The number of queued calls.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued_of(Priority::Interactive) + self.queued_of(Priority::Batch)
    }

    /// The number of queued calls of this priority.
    #[must_use]
    pub fn queued_of(&self, priority: Priority) -> usize {
        self.sum(|it| it.0.semaphore.queued(priority))
    }

    /// The numbers of calls in flight and of queued calls, without those of the keys.
    pub(crate) fn own_calls(&self) -> (usize, usize) {
        let Bulkhead { semaphore, .. } = &**self.0;
        let queued = semaphore.queued(Priority::Interactive) + semaphore.queued(Priority::Batch);
        (semaphore.in_use(), queued)
    }

    /// The bulkhead of the key of this request, if it exists already; without keys, this one. The key is not
    /// dropped as long as the returned handle exists.
    #[must_use]
    pub fn of<B: 'static>(&self, request: &Request<B>) -> Option<Self> {
        self.get(request)
    }

    /// The number of keys that currently have a state; zero without keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.by_key().map_or(0, Keyed::len)
    }

    /// Emits a change of an adaptive limit.
    pub(super) fn emit_limit(&self, limit: usize) {
        Decision::LimitMoved { limit }.emit(self.0.target(), self.0.key());
    }

    pub(super) fn wait_deadline(&self, deadline: Option<Deadline>, now: Instant) -> WaitDeadline {
        WaitDeadline {
            queue: Deadline::after(self.0.settings().queue_timeout, now),
            call: deadline,
            answer_time: self.0.answer_time(now),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .field("keys", &self.keys())
            .finish()
    }
}
