use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::layer_state::WeakLayerState;
use crate::rate_limit::handle::{Handle, RateLimitState};
use crate::rate_limit::settings::RateLimitSettings;
use crate::store::link_task::TaskFlag;
use crate::store::{Store, StoreListener};

/// The store with which the quotas of one state are shared.
pub(crate) struct RateLink {
    pub(super) store: Store,
    /// The task that exchanges requests with the store.
    pub(super) exchange: TaskFlag,
    /// There is something to do for that task.
    pub(super) notify: Notify,
    listener: OnceLock<Arc<LimitListener>>,
}

/// Closes the gate when another process does.
struct LimitListener(WeakLayerState<RateLimitSettings, RateLimitState>);

impl RateLink {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, exchange: TaskFlag::default(), notify: Notify::new(), listener: OnceLock::new() }
    }

    /// Listens to what other processes change at `name`, once.
    pub(super) fn listen(&self, name: &str, limit: &Handle) {
        let mut is_new = false;
        let listener = self.listener.get_or_init(|| {
            is_new = true;
            Arc::new(LimitListener(limit.0.downgrade()))
        });
        if is_new {
            let listener: Arc<dyn StoreListener> = Arc::clone(listener) as _;
            self.store.shared.listen(name, Arc::downgrade(&listener));
        }
    }
}

impl StoreListener for LimitListener {
    fn on_closed(&self, wait: Duration) {
        if let Some(state) = self.0.upgrade() {
            Handle(state).close_as_elsewhere(wait);
        }
    }
}

partial_debug!([] RateLink, "RateLink", store);
