//! What an attempt would meet now. Nothing is acquired.

use std::borrow::Cow;
use std::time::Duration;

use http::Request;

use super::AttemptGates;
use crate::keyed::KeyedHandle;
use crate::rejected::deadline_passed;
use crate::{Deadline, Rejection, clock};

impl AttemptGates {
    /// Whether the gates would certainly admit any attempt at once, and leave half of every quota. It costs a
    /// few loads, and a closer look decides if it is `false`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a call costs as much as the few loads")]
    pub(crate) fn certainly_admit(&self) -> bool {
        !self.0.has_keys
            && self.circuit_breaker().admits_all()
            && self.0.rate_limit.certainly_admits()
            && self.0.backpressure.certainly_admits()
    }

    /// The rejection that an attempt with this request would get now, by the states of its own keys. Acquires
    /// nothing.
    pub(crate) fn peek<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        past_deadline(Deadline::of(request.extensions()))
            .or_else(|| self.circuit_breaker().peek_for(request))
            .or_else(|| self.0.rate_limit.peek_for(request))
            .or_else(|| self.0.backpressure.peek_for(request))
    }

    /// The rejection that any attempt with this deadline would get now; with keys, one with a new key.
    /// Acquires nothing.
    pub(crate) fn peek_any(&self, deadline: Option<Deadline>) -> Option<Rejection> {
        past_deadline(deadline)
            .or_else(|| self.circuit_breaker().peek())
            .or_else(|| self.0.rate_limit.peek(deadline))
            .or_else(|| self.0.backpressure.peek())
    }

    /// Whether the circuit would reject an attempt with this request even after `wait`. The other gates can
    /// be waited for. Acquires nothing.
    pub(crate) fn stays_open<B: 'static>(&self, wait: Duration, request: Option<&Request<B>>) -> bool {
        let all = self.circuit_breaker();
        let circuit = request.map_or(Cow::Borrowed(all), |request| all.get_or_new(request));
        circuit.stays_open(wait, request.map(Request::extensions))
    }

    /// The share of the in-flight limit that is in use, by the limit of the key of `request` if there are
    /// keys, without `own` calls of the caller; `None` without a limit.
    pub(crate) fn load<B: 'static>(&self, request: Option<&Request<B>>, own: usize) -> Option<f64> {
        let all = self.backpressure();
        let limit = request.map_or(Cow::Borrowed(all), |request| all.get_or_new(request));
        Some(limit.in_flight().saturating_sub(own) as f64 / limit.limit()? as f64)
    }
}

/// The rejection of a call, if its deadline has passed.
pub(super) fn past_deadline(deadline: Option<Deadline>) -> Option<Rejection> {
    let is_past = deadline.is_some_and(|deadline| deadline.is_past(clock::now()));
    is_past.then(deadline_passed)
}
