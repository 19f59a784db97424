//! A store in memory for several processes, with the decisions of a real one. Time is virtual, and every delay is set.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::circuit_breaker::CircuitBreakerLayer;
use crate::clock;
use crate::store::{
    CircuitChange, CircuitRecord, CircuitView, LeaseGrant, LeaseRequest, OnUnavailable, Settings,
    SharedCooldown, SharedStore, SharedWindow, Store, StoreFuture, StoreListener, StoreUnavailable,
    WindowRecord, WindowReport,
};

/// The server that the processes share. Clones are the same one.
#[derive(Clone)]
pub(super) struct Server(Arc<Mutex<ServerState>>);

struct ServerState {
    origin: Instant,
    is_down: bool,
    circuits: BTreeMap<String, CircuitRecord>,
    windows: BTreeMap<String, WindowRecord>,
    /// The listeners, with their names.
    listeners: Vec<(u32, String, Weak<dyn StoreListener>)>,
    delays: Delays,
    reports: Vec<WindowReport>,
}

/// How long what is sent is under way, each time.
pub(super) struct Delays {
    pub(super) request: Box<dyn FnMut() -> Duration + Send>,
    pub(super) reply: Box<dyn FnMut() -> Duration + Send>,
    pub(super) message: Box<dyn FnMut() -> Duration + Send>,
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
        let millisecond = || Duration::from_millis(1);
        Self { request: Box::new(millisecond), reply: Box::new(millisecond), message: Box::new(millisecond) }
    }
}

impl Server {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(ServerState {
            origin: clock::now(),
            is_down: false,
            circuits: BTreeMap::new(),
            windows: BTreeMap::new(),
            listeners: Vec::new(),
            delays: Delays::default(),
            reports: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, ServerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A layer in each of so many processes.
    pub(super) fn processes(
        &self,
        count: u32,
        mode: OnUnavailable,
        layer: impl Fn() -> CircuitBreakerLayer,
    ) -> Vec<CircuitBreakerLayer> {
        (0..count).map(|process| layer().name("a/b").store(self.store(process, mode))).collect()
    }

    /// The store of one process.
    pub(super) fn store(&self, process: u32, mode: OnUnavailable) -> Store {
        let settings = Settings { mode, ..Settings::default() };
        Store::new(ProcessStore { server: self.clone(), process, settings })
    }

    pub(super) fn set_delays(&self, delays: Delays) {
        self.lock().delays = delays;
    }

    pub(super) fn stop(&self) {
        self.lock().is_down = true;
    }

    /// Starts the server empty. Each process is connected again after the delay of a message.
    pub(super) fn restart(&self) {
        let mut state = self.lock();
        (state.is_down, state.circuits, state.windows) = (false, BTreeMap::new(), BTreeMap::new());
        state.notify(|_, _| true, |listener| listener.on_reconnected());
    }

    pub(super) fn reports(&self) -> Vec<WindowReport> {
        self.lock().reports.clone()
    }

    /// Runs `operation` at the server. A server that is down does not reply.
    async fn exchange<T>(
        &self,
        settings: &Settings,
        operation: impl FnOnce(&mut ServerState, Duration) -> T,
    ) -> Result<T, StoreUnavailable> {
        let request = (self.lock().delays.request)();
        sleep(request).await;
        let replied = {
            let mut state = self.lock();
            let now = clock::now() - state.origin;
            (!state.is_down).then(|| (operation(&mut state, now), (state.delays.reply)()))
        };
        match replied {
            Some((reply, delay)) => {
                sleep(delay).await;
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
                    sleep(delay).await;
                    listener.upgrade().iter().for_each(|listener| send(&**listener));
                });
            }
        }
    }
}

impl SharedStore for ProcessStore {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn salt(&self) -> &str {
        ""
    }

    fn take_lease<'a>(&'a self, _: &'a str, _: LeaseRequest) -> StoreFuture<'a, LeaseGrant> {
        Box::pin(async { Err(StoreUnavailable) })
    }

    fn close<'a>(&'a self, _: &'a str, _: SharedCooldown) -> StoreFuture<'a, ()> {
        Box::pin(async { Err(StoreUnavailable) })
    }

    fn circuit<'a>(&'a self, name: &'a str, change: CircuitChange) -> StoreFuture<'a, CircuitView> {
        Box::pin(self.server.exchange(&self.settings, move |state, now| {
            let circuit = state.circuits.entry(name.to_owned()).or_default();
            let view = circuit.apply(change, &self.process.to_string(), now);
            let message = match change {
                CircuitChange::Open { wait, is_quota } => {
                    Some(CircuitView::Open { wait, is_quota, has_turn: false })
                }
                CircuitChange::Close => Some(CircuitView::Closed),
                _ => None,
            };
            if let Some(message) = message {
                let of_others = |process, listens_to: &str| process != self.process && listens_to == name;
                state.notify(of_others, move |listener| listener.on_circuit(message));
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

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}
