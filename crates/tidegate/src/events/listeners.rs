use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

/// The listeners to one kind of event. Nothing is allocated for events until the first one subscribes.
#[derive(Debug)]
pub(crate) struct Listeners<E> {
    sender: Arc<OnceLock<Sender<E>>>,
    /// The number of listeners, which is read without the lock of the sender.
    count: Arc<AtomicUsize>,
}

/// Events from now on: decisions ([`Event`](super::Event)), the changes of a circuit
/// ([`Transitions`](crate::circuit_breaker::Transitions)), or the results of its attempts
/// ([`CallResults`](crate::circuit_breaker::CallResults)).
///
/// A bounded number of events is kept for a slow reader. It loses the oldest ones, and
/// [`missed`](Self::missed) counts them. No call ever waits for a reader.
pub struct Subscription<E> {
    receiver: Receiver<E>,
    missed: u64,
    /// Selects the events of this subscription; all of them without it.
    filter: Option<Filter<E>>,
    _listener: CountedListener,
}

type Filter<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

/// One listener, counted as long as it exists.
struct CountedListener(Arc<AtomicUsize>);

impl<E: Clone> Listeners<E> {
    /// Subscribes to the events from now on, of which the latest `kept` are kept for a slow reader. The first
    /// subscription decides on that number.
    pub(crate) fn subscribe(&self, kept: usize) -> Subscription<E> {
        let receiver = self.sender.get_or_init(|| Sender::new(kept)).subscribe();
        Subscription { receiver, missed: 0, filter: None, _listener: CountedListener::new(&self.count) }
    }

    /// Whether an event would reach a listener.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Returns whether anything was allocated for a listener.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.get().is_some()
    }

    /// Wakes all listeners without waiting for them.
    pub(crate) fn notify(&self, event: E) {
        if let Some(sender) = self.sender.get() {
            let _ = sender.send(event);
        }
    }
}

impl<E> Clone for Listeners<E> {
    fn clone(&self) -> Self {
        Self { sender: Arc::clone(&self.sender), count: Arc::clone(&self.count) }
    }
}

impl<E> Default for Listeners<E> {
    fn default() -> Self {
        Self { sender: Arc::default(), count: Arc::default() }
    }
}

impl<E: Clone> Subscription<E> {
    /// Keeps the events for which `filter` returns `true`.
    pub(crate) fn filter(self, filter: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        Self { filter: Some(Box::new(filter)), ..self }
    }

    /// Waits for the next event. Returns `None` once nothing is left that could emit one. Cancel safe.
    pub async fn next(&mut self) -> Option<E> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.is_selected(&event) => return Some(event),
                Ok(_) => {}
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => self.missed += missed,
            }
        }
    }

    /// Returns the next event, if there is one already.
    pub fn try_next(&mut self) -> Option<E> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) if self.is_selected(&event) => return Some(event),
                Ok(_) => {}
                Err(TryRecvError::Closed | TryRecvError::Empty) => return None,
                Err(TryRecvError::Lagged(missed)) => self.missed += missed,
            }
        }
    }

    /// Returns the number of events that were dropped before they were read, those of other targets included.
    /// It is up to date after a read.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    fn is_selected(&self, event: &E) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(event))
    }
}

impl CountedListener {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for CountedListener {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

partial_debug!([E] Subscription<E>, "Subscription", missed);
