//! A store in memory for several processes, with the decisions of a real one. Time is virtual, and every
//! delay is set.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::bucket::{Bucket, Rate};
use crate::clock;
use crate::store::{
    CircuitChange, CircuitRecord, CircuitView, LeaseGrant, LeaseRequest, QuotaRequest, Settings,
    SharedCooldown, SharedStore, SharedWindow, Store, StoreFuture, StoreListener, StoreUnavailable,
    WindowRecord, WindowReport,
};
use crate::sync::unpoisoned;

/// The server that the processes share. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<ServerState>>);

struct ServerState {
    origin: Instant,
    is_down: bool,
    limits: BTreeMap<String, StoredLimit>,
    circuits: BTreeMap<String, CircuitRecord>,
    windows: BTreeMap<String, WindowRecord>,
    /// The listeners, with their names.
    listeners: Vec<(u32, String, Weak<dyn StoreListener>)>,
    delays: Delays,
    reports: Vec<WindowReport>,
    lease_requests: usize,
}

/// The buckets of one limit, and the rest of its closed time.
#[derive(Debug, Default)]
pub(crate) struct StoredLimit {
    by_quota: BTreeMap<(u8, Duration), Bucket>,
    closed_until: Option<Instant>,
    closed_at: Option<Instant>,
    opened_at: Option<Instant>,
}

/// How long what is sent is under way, each time.
pub(crate) struct Delays {
    pub(crate) request: Box<dyn FnMut() -> Duration + Send>,
    pub(crate) reply: Box<dyn FnMut() -> Duration + Send>,
    pub(crate) message: Box<dyn FnMut() -> Duration + Send>,
}

/// The store of one process.
#[derive(Debug)]
struct ProcessStore {
    server: Server,
    process: u32,
    settings: Settings,
}

impl Default for Delays {
    fn default() -> Self {
        Self::all(Duration::from_millis(1))
    }
}

impl Delays {
    pub(crate) fn all(delay: Duration) -> Self {
        Self {
            request: Box::new(move || delay),
            reply: Box::new(move || delay),
            message: Box::new(move || delay),
        }
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(ServerState {
            origin: clock::now(),
            is_down: false,
            limits: BTreeMap::new(),
            circuits: BTreeMap::new(),
            windows: BTreeMap::new(),
            listeners: Vec::new(),
            delays: Delays::default(),
            reports: Vec::new(),
            lease_requests: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, ServerState> {
        unpoisoned(self.0.lock())
    }

    /// A layer in each of so many processes.
    pub(crate) fn processes<const COUNT: usize, L>(
        &self,
        settings: &Settings,
        layer: impl Fn(Store) -> L,
    ) -> [L; COUNT] {
        std::array::from_fn(|process| layer(self.store(process as u32, settings)))
    }

    /// The store of one process.
    pub(crate) fn store(&self, process: u32, settings: &Settings) -> Store {
        Store::new(ProcessStore { server: self.clone(), process, settings: settings.clone() })
    }

    pub(crate) fn set_delays(&self, delays: Delays) {
        self.lock().delays = delays;
    }

    pub(crate) fn stop(&self) {
        self.lock().is_down = true;
    }

    /// The server replies again, and has lost nothing.
    pub(crate) fn resume(&self) {
        self.lock().is_down = false;
    }

    /// Starts the server empty. Each process is connected again after the delay of a message.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        (state.is_down, state.circuits, state.windows) = (false, BTreeMap::new(), BTreeMap::new());
        state.limits.clear();
        drop(state);
        self.reconnect();
    }

    /// Each process is connected again after the delay of a message.
    pub(crate) fn reconnect(&self) {
        self.lock().notify(|_, _| true, |listener| listener.on_reconnected());
    }

    /// The names of the limits that were used.
    pub(crate) fn limit_names(&self) -> Vec<String> {
        self.lock().limits.keys().cloned().collect()
    }

    pub(crate) fn reports(&self) -> Vec<WindowReport> {
        self.lock().reports.clone()
    }

    /// How many leases were requested, with those that got no reply.
    pub(crate) fn lease_requests(&self) -> usize {
        self.lock().lease_requests
    }

    /// Runs `operation` at the server. A server that is down does not reply.
    async fn exchange<T>(
        &self,
        settings: &Settings,
        operation: impl FnOnce(&mut ServerState, Duration) -> T,
    ) -> Result<T, StoreUnavailable> {
        let request = (self.lock().delays.request)();
        pass(request).await;
        let replied = {
            let mut state = self.lock();
            let now = clock::now() - state.origin;
            (!state.is_down).then(|| (operation(&mut state, now), (state.delays.reply)()))
        };
        match replied {
            Some((reply, delay)) => {
                pass(delay).await;
                Ok(reply)
            }
            None => {
                sleep(settings.timeout).await;
                Err(StoreUnavailable)
            }
        }
    }
}

impl ServerState {
    /// Sends a message to each listener with this name in another process.
    fn notify_others(
        &mut self,
        name: &str,
        process: u32,
        send: impl Fn(&dyn StoreListener) + Clone + Send + 'static,
    ) {
        self.notify(|of, listens_to| of != process && listens_to == name, send);
    }

    /// Sends a message to each listener that `wants` it.
    fn notify(
        &mut self,
        wants: impl Fn(u32, &str) -> bool,
        send: impl Fn(&dyn StoreListener) + Clone + Send + 'static,
    ) {
        for (process, name, listener) in &self.listeners {
            if wants(*process, name) {
                let (delay, listener, send) = ((self.delays.message)(), Weak::clone(listener), send.clone());
                tokio::spawn(async move {
                    pass(delay).await;
                    listener.upgrade().iter().for_each(|listener| send(&**listener));
                });
            }
        }
    }
}

impl StoredLimit {
    fn bucket(&mut self, quota: &QuotaRequest, now: Instant) -> &mut Bucket {
        let of = |number: u64| number.try_into().unwrap();
        let rate = Rate::new(of(quota.count), quota.period, of(quota.burst));
        let bucket = self.by_quota.entry((quota.unit as u8, quota.period));
        bucket.or_insert_with(|| Bucket::new(rate, now))
    }

    pub(crate) fn take(&mut self, request: &LeaseRequest, now: Instant) -> LeaseGrant {
        let mut wait = Duration::ZERO;
        for quota in &request.quotas {
            let bucket = self.bucket(quota, now);
            bucket.refund(quota.returned, now.checked_sub(quota.returned_age).unwrap(), now);
            bucket.take(quota.charged + quota.spent_alone_debt, now);
            wait = wait.max(bucket.wait(0, quota.amount, now));
        }
        let is_granted = wait <= request.horizon;
        let buckets = request.quotas.iter().zip(self.by_quota.values_mut());
        let debts = buckets.map(|(quota, bucket)| {
            if is_granted {
                bucket.take(quota.amount, now);
            }
            bucket.wait(0, bucket.capacity(), now)
        });
        let debts = debts.collect();
        let closed_for =
            self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        LeaseGrant { is_granted, wait, debts, closed_for, processes: 2 }
    }
}

impl SharedStore for ProcessStore {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn salt(&self) -> &str {
        "salt"
    }

    fn take_lease<'a>(&'a self, name: &'a str, request: LeaseRequest) -> StoreFuture<'a, LeaseGrant> {
        self.server.lock().lease_requests += 1;
        Box::pin(self.server.exchange(&self.settings, move |state, _| {
            state.limits.entry(name.to_owned()).or_default().take(&request, clock::now())
        }))
    }

    fn close<'a>(
        &'a self,
        name: &'a str,
        SharedCooldown { wait, age, pacing }: SharedCooldown,
    ) -> StoreFuture<'a, bool> {
        Box::pin(self.server.exchange(&self.settings, move |state, _| {
            let limit = state.limits.entry(name.to_owned()).or_default();
            let (now, until) = (clock::now(), clock::now() + wait);
            let closed_at = now.checked_sub(age);
            if closed_at < limit.opened_at {
                return false;
            }
            if limit.closed_until < Some(until) {
                (limit.closed_until, limit.closed_at) = (Some(until), closed_at);
            }
            pacing.iter().for_each(|quota| limit.bucket(quota, now).drain_until(1, until, now));
            state.notify_others(name, self.process, move |listener| listener.on_closed(wait));
            true
        }))
    }

    fn open<'a>(&'a self, name: &'a str, age: Duration, pacing: Option<QuotaRequest>) -> StoreFuture<'a, ()> {
        Box::pin(self.server.exchange(&self.settings, move |state, _| {
            let (now, limit) = (clock::now(), state.limits.entry(name.to_owned()).or_default());
            limit.opened_at = limit.opened_at.max(now.checked_sub(age));
            if limit.closed_at > limit.opened_at {
                return;
            }
            (limit.closed_until, limit.closed_at) = (None, None);
            pacing.iter().for_each(|quota| limit.bucket(quota, now).fill_to(1, now));
            state.notify_others(name, self.process, |listener| listener.on_opened());
        }))
    }

    fn circuit<'a>(&'a self, name: &'a str, change: CircuitChange) -> StoreFuture<'a, CircuitView> {
        Box::pin(self.server.exchange(&self.settings, move |state, now| {
            let circuit = state.circuits.entry(name.to_owned()).or_default();
            let process = self.process.to_string();
            let before = circuit.apply(CircuitChange::Read, &process, now);
            let view = circuit.apply(change, &process, now);
            let message = match change {
                CircuitChange::Open { wait, is_quota } => {
                    Some(CircuitView::Open { wait, is_quota, has_turn: false })
                }
                CircuitChange::Reopen { wait, is_quota, .. }
                    if matches!(before, CircuitView::Closed | CircuitView::Unknown) && view != before =>
                {
                    Some(CircuitView::Open { wait, is_quota, has_turn: false })
                }
                CircuitChange::Close => Some(CircuitView::Closed),
                CircuitChange::Reclose { .. } if view != before => Some(CircuitView::Closed),
                _ => None,
            };
            if let Some(message) = message {
                state.notify_others(name, self.process, move |listener| listener.on_circuit(message));
            }
            view
        }))
    }

    fn report_calls<'a>(&'a self, name: &'a str, report: WindowReport) -> StoreFuture<'a, SharedWindow> {
        Box::pin(self.server.exchange(&self.settings, move |state, now| {
            state.reports.push(report);
            state.windows.entry(name.to_owned()).or_default().apply(&report, now)
        }))
    }

    fn listen(&self, name: &str, listener: Weak<dyn StoreListener>) {
        self.server.lock().listeners.push((self.process, name.to_owned(), listener));
    }
}

partial_debug!([] Server, "Server");

/// What takes no time is there at once.
async fn pass(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}
