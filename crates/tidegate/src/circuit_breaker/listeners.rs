use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

use super::Transition;

/// The listeners to changes of state. Nothing is allocated until the first one subscribes.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners(Arc<OnceLock<Sender<Transition>>>);

/// The changes of state of a circuit from now on; see [`Handle::subscribe`](super::Handle::subscribe).
///
/// The latest 64 changes are kept for a slow listener, and older ones are dropped. The circuit never waits
/// for a listener.
#[derive(Debug)]
pub struct Transitions(Receiver<Transition>);

const KEPT: usize = 64;

impl Listeners {
    pub(super) fn subscribe(&self) -> Transitions {
        Transitions(self.0.get_or_init(|| Sender::new(KEPT)).subscribe())
    }

    /// Returns whether anything was allocated for a listener.
    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        self.0.get().is_some()
    }

    /// Wakes all listeners without waiting for them.
    pub(super) fn notify(&self, transition: Transition) {
        if let Some(sender) = self.0.get() {
            let _ = sender.send(transition);
        }
    }
}

impl Transitions {
    /// Waits for the next change of state. Returns `None` once the layer and all of its services are gone.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Transition> {
        loop {
            match self.0.recv().await {
                Ok(transition) => return Some(transition),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    /// Returns the next change of state, if there is one already.
    pub fn try_next(&mut self) -> Option<Transition> {
        loop {
            match self.0.try_recv() {
                Ok(transition) => return Some(transition),
                Err(TryRecvError::Closed | TryRecvError::Empty) => return None,
                Err(TryRecvError::Lagged(_)) => {}
            }
        }
    }
}
