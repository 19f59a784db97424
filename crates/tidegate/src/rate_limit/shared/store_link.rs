use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::layer_state::WeakLayerState;
use crate::rate_limit::handle::{Handle, RateLimitState};
use crate::rate_limit::settings::RateLimitSettings;
use crate::store::link::{JoinedListener, RepeatedTask, TaskFlag};
use crate::store::{Store, StoreListener};

/// The store with which the quotas and the closing time of one state are shared.
pub(crate) struct RateLink {
    pub(super) store: Store,
    /// The task that exchanges requests with the store.
    pub(super) exchange: TaskFlag,
    /// There is something to do for that task.
    pub(super) notify: Notify,
    /// The task that sends to the store that the gate is closed or open.
    pub(super) gate_task: RepeatedTask,
    pub(super) listener: JoinedListener,
}

/// Closes or opens the gate when another process does.
struct LimitListener(WeakLayerState<RateLimitSettings, RateLimitState>);

impl RateLink {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            exchange: TaskFlag::default(),
            notify: Notify::new(),
            gate_task: RepeatedTask::default(),
            listener: JoinedListener::default(),
        }
    }

    /// Listens to what other processes change from the first call on, and reads the closing time then.
    #[inline]
    pub(crate) fn join(&self, limit: &Handle) {
        let listener = || (limit.shared_name(self), LimitListener(limit.0.downgrade()));
        self.listener.join(&self.store, listener);
    }
}

impl StoreListener for LimitListener {
    fn on_closed(&self, wait: Duration) {
        if let Some(state) = self.0.upgrade() {
            Handle(state).close_as_elsewhere(wait, clock::now());
        }
    }

    fn on_opened(&self) {
        if let Some(state) = self.0.upgrade() {
            Handle(state).open_as_elsewhere();
        }
    }

    fn on_reconnected(&self) {
        if let Some(state) = self.0.upgrade() {
            let limit = Handle(state);
            limit.share_opening();
            limit.read_cooldown();
        }
    }
}

partial_debug!([] RateLink, "RateLink", store);
