//! What a call would meet now. Nothing is acquired.

use http::Request;

use super::handle::Handle;
use super::rejections::queue_is_full;
use crate::keyed::KeyedHandle;
use crate::priority_semaphore::{Flow, NEW_FLOW, flow_of};
use crate::{Deadline, Priority, Rejection, clock};

impl Handle {
    /// The rejection that any call would get now, whatever its priority. Acquires nothing. With keys it is
    /// always `None`; see [`peek_for`](Self::peek_for).
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        let rejection = |priority| self.peek_call(priority, NEW_FLOW, None);
        // One full queue does not imply that the other is full.
        rejection(Priority::Interactive).and(rejection(Priority::Batch))
    }

    /// The rejection that this request, with its priority, deadline and key, would get now. Acquires nothing.
    #[must_use]
    pub fn peek_for<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        self.missing_key(request)
            .or_else(|| self.get_or_new(request).peek_call(priority, flow_of(request.extensions()), deadline))
    }

    /// Whether any call would get a permit now, if there are no keys.
    #[inline]
    pub(crate) fn certainly_admits(&self) -> bool {
        self.0.semaphore.can_acquire() || !self.is_enabled()
    }

    /// Whether this request would wait for a permit, or be rejected for lack of one.
    pub(crate) fn is_full_for<B: 'static>(&self, request: &Request<B>) -> bool {
        self.is_enabled() && !self.get_or_new(request).0.semaphore.can_acquire()
    }

    fn peek_call(&self, priority: Priority, flow: Flow, deadline: Option<Deadline>) -> Option<Rejection> {
        if !self.is_enabled() || self.0.semaphore.can_acquire() {
            return None;
        }
        let now = clock::now();
        match self.wait_deadline(deadline, now).rejection_at(now) {
            None => self.0.semaphore.would_reject(priority, flow).then(queue_is_full),
            rejection => rejection,
        }
    }
}
