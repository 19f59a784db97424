use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

use super::{CallResult, Transition};

/// The listeners to one kind of event. Nothing is allocated until the first one subscribes.
#[derive(Debug)]
pub(super) struct Listeners<E>(Arc<OnceLock<Sender<E>>>);

/// The events of a circuit from now on: its changes of state ([`Transitions`]), or the results of its attempts
/// ([`CallResults`]).
///
/// The latest 64 events are kept for a slow listener, and older ones are dropped. The circuit never waits for a
/// listener.
#[derive(Debug)]
pub struct Subscription<E>(Receiver<E>);

/// The changes of state; see [`Handle::subscribe`](super::Handle::subscribe).
pub type Transitions = Subscription<Transition>;

/// The results of attempts; see [`Handle::subscribe_to_calls`](super::Handle::subscribe_to_calls).
pub type CallResults = Subscription<CallResult>;

const KEPT: usize = 64;

impl<E: Clone> Listeners<E> {
    pub(super) fn subscribe(&self) -> Subscription<E> {
        Subscription(self.0.get_or_init(|| Sender::new(KEPT)).subscribe())
    }

    /// Whether an event would reach a listener.
    pub(super) fn has_any(&self) -> bool {
        self.0.get().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Returns whether anything was allocated for a listener.
    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        self.0.get().is_some()
    }

    /// Wakes all listeners without waiting for them.
    pub(super) fn notify(&self, event: E) {
        if let Some(sender) = self.0.get() {
            let _ = sender.send(event);
        }
    }
}

impl<E> Clone for Listeners<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Default for Listeners<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E: Clone> Subscription<E> {
    /// Waits for the next event. Returns `None` once the layer and all of its services are gone.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<E> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    /// Returns the next event, if there is one already.
    pub fn try_next(&mut self) -> Option<E> {
        loop {
            match self.0.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Closed | TryRecvError::Empty) => return None,
                Err(TryRecvError::Lagged(_)) => {}
            }
        }
    }
}
