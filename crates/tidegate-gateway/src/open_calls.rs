//! The calls in flight. They can be ended from outside: when the gateway stops, or when a caller reads no
//! more.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::proxy::BoxedBody;
use crate::sync::lock;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use slab::Slab;
use tidegate::{Error, ErrorCode};
use tokio::time::Instant;

use crate::connections::{CallerConnection, ConnectionInUse};

/// The calls in flight of a gateway. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct CallsInFlight(Arc<Mutex<Slab<Arc<CallSlot>>>>);

/// One call in flight, until it and the [body of its response](Self::watch) are dropped. Clones are the same
/// call.
#[derive(Clone)]
pub(crate) struct CallInFlight(Arc<CallEntry>);

/// Removes the call when it is dropped.
struct CallEntry {
    calls: CallsInFlight,
    key: usize,
    slot: Arc<CallSlot>,
    /// The connection of the caller.
    connection: Option<CallerConnection>,
}

/// What a call and [`CallsInFlight`] share.
#[derive(Default)]
struct CallSlot(Mutex<CallState>);

#[derive(Default)]
struct CallState {
    ended: Option<EndReason>,
    waker: Option<Waker>,
    /// Keeps the connection of the caller from being closed as idle, once the request was received.
    busy: Option<ConnectionInUse>,
    /// The body of the response. Dropping it releases the permit of the call.
    body: Option<BoxedBody>,
    /// A frame was not followed by a request for the next one yet: the caller reads slowly, or not at all.
    is_unread: bool,
    /// The first [check](CallsInFlight::end_unread) that found this frame unread.
    unread_since: Option<Instant>,
    /// When the clock of the attempt has run out. The body cannot observe it while it is not polled.
    attempt_ends: Option<Instant>,
}

/// Why a call was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndReason {
    /// The time for calls in flight has run out.
    #[error("the gateway stops")]
    Stopping,
    /// The caller did not read the response in time.
    #[error("the response was not read in time")]
    Unread,
}

/// The longest time for which a response may be unread, whatever the clock of its attempt.
const MAX_UNREAD: Duration = Duration::from_secs(60);

/// The time between two checks for callers that do not read.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl CallsInFlight {
    /// Adds a call, the request of which has begun to arrive.
    pub(crate) fn begin(&self, connection: Option<&CallerConnection>) -> CallInFlight {
        let slot = Arc::new(CallSlot::default());
        let key = self.lock().insert(Arc::clone(&slot));
        let (calls, connection) = (self.clone(), connection.cloned());
        CallInFlight(Arc::new(CallEntry { calls, key, slot, connection }))
    }

    /// Ends all calls in flight, and returns their number.
    pub(crate) fn cut(&self) -> usize {
        let slots = self.slots();
        slots.iter().filter(|slot| slot.end(EndReason::Stopping)).count()
    }

    /// Ends the calls of callers that do not read: those whose attempt has run out of time, and those that
    /// have been unread for long.
    pub(crate) fn end_unread(&self) {
        let now = Instant::now();
        for slot in self.slots() {
            if slot.lock().is_left_unread(now) {
                slot.end(EndReason::Unread);
            }
        }
    }

    fn slots(&self) -> Vec<Arc<CallSlot>> {
        self.lock().iter().map(|(_, slot)| Arc::clone(slot)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Arc<CallSlot>>> {
        lock(&self.0)
    }
}

impl EndReason {
    /// The standard code of the error.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::Stopping => ErrorCode::Overloaded,
            Self::Unread => ErrorCode::Cancelled,
        }
    }
}

impl CallInFlight {
    /// A part of the request body has arrived: of all idle connections that of the caller is the youngest.
    pub(crate) fn progressed(&self) {
        self.0.connection.iter().for_each(CallerConnection::touch);
    }

    /// The request is complete. From now on the connection of the caller is not idle.
    pub(crate) fn received(&self) {
        if let Some(connection) = &self.0.connection {
            self.0.slot.lock().busy.get_or_insert_with(|| connection.busy());
        }
    }

    /// Ready once the call is ended from outside.
    pub(crate) async fn ended(&self) -> EndReason {
        poll_fn(|cx| {
            let mut state = self.0.slot.lock();
            let Some(reason) = state.ended else { return state.wait(cx) };
            Poll::Ready(reason)
        })
        .await
    }

    /// Why the call was ended from outside, if it was.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.0.slot.lock().ended
    }

    /// Wraps the body of the response, which begins now. It ends in an [`EndReason`] if the call is ended
    /// from outside. `attempt` is the time of an attempt.
    pub(crate) fn watch(&self, body: BoxedBody, attempt: Duration) -> WatchedBody {
        let mut state = self.0.slot.lock();
        // The body of a call that has ended meanwhile is dropped, without the lock.
        let ended = match state.ended {
            None => state.body.replace(body),
            Some(_) => Some(body),
        };
        state.attempt_ends = Instant::now().checked_add(attempt);
        drop(state);
        drop(ended);
        WatchedBody { call: self.clone(), has_failed: false }
    }
}

impl Drop for CallEntry {
    fn drop(&mut self) {
        drop(self.calls.lock().try_remove(self.key));
        // Dropped here, and not with the last reference to the slot.
        let mut state = self.slot.lock();
        let released = (state.body.take(), state.busy.take());
        drop(state);
        drop(released);
    }
}

impl CallSlot {
    /// Returns whether the call had not ended before.
    fn end(&self, reason: EndReason) -> bool {
        let mut state = self.lock();
        if state.ended.is_some() {
            return false;
        }
        state.ended = Some(reason);
        let (body, waker) = (state.body.take(), state.waker.take());
        // A caller that does not read may keep the rest of the response, and with it the call, as long as it
        // likes.
        let unread = state.busy.take_if(|_| reason == EndReason::Unread);
        drop(state);
        drop(body);
        if let Some(connection) = unread {
            connection.end_unread();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, CallState> {
        lock(&self.0)
    }
}

impl CallState {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether the caller reads no more. The time is read here, and not with each frame.
    fn is_left_unread(&mut self, now: Instant) -> bool {
        if !self.is_unread {
            return false;
        }
        let unread = now.saturating_duration_since(*self.unread_since.get_or_insert(now));
        let is_late = self.attempt_ends.is_some_and(|end| end <= now);
        unread >= MAX_UNREAD || is_late && unread >= CHECK_INTERVAL
    }
}

/// The body of a response that can be ended from outside. Frames pass unchanged.
pub(crate) struct WatchedBody {
    call: CallInFlight,
    has_failed: bool,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let mut state = this.call.0.slot.lock();
        let Some(body) = &mut state.body else {
            let reason = state.ended.filter(|_| !mem::replace(&mut this.has_failed, true));
            return Poll::Ready(reason.map(|reason| Err(reason.into())));
        };
        let frame = Pin::new(body).poll_frame(cx);
        state.unread_since = None;
        state.is_unread = matches!(frame, Poll::Ready(Some(_)));
        if frame.is_ready() { frame } else { state.wait(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.call.0.slot.lock().body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.call.0.slot.lock().body.as_ref().map_or_else(SizeHint::new, Body::size_hint)
    }
}

impl From<EndReason> for Error {
    fn from(reason: EndReason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Debug for CallsInFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallsInFlight").field(&self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// Regression: the body of a response whose head arrived together with the end of its call was not cut.
    #[tokio::test]
    async fn the_body_of_a_call_that_has_ended_is_an_error_at_once() {
        let calls = CallsInFlight::default();
        let call = calls.begin(None);
        assert_eq!(calls.cut(), 1);
        let body = Full::new(Bytes::from("data")).map_err(|never| match never {}).boxed_unsync();
        let mut body = call.watch(body, Duration::MAX);
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }
}
