//! What a call would meet now. Nothing is acquired. A rejection that the caller gets is counted.

use std::time::Duration;

use http::{Extensions, Request};

use super::Handle;
use super::rejections::{CircuitRejection, RejectionCause};
use crate::keyed::KeyedHandle;
use crate::{Rejection, clock};

impl Handle {
    /// The rejection that a call would get if it arrived now. Acquires nothing.
    ///
    /// While the traffic ramps up this returns `None`: which calls are admitted is decided only when a call
    /// arrives.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        self.peek_call(None).map(Rejection::from)
    }

    /// The rejection that this call would get if it arrived now, by the circuit of its key if there
    /// are keys. Acquires nothing.
    #[must_use]
    pub fn peek_for<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        self.missing_key(request)
            .or_else(|| self.get_or_new(request).peek_call(Some(request.extensions())).map(Rejection::from))
    }

    /// The rejection that a call would get if it arrived now and other targets could take it, by the circuit
    /// of its key if there are keys. Acquires nothing.
    pub(crate) fn peek_beside_others<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        self.missing_key(request).or_else(|| self.get_or_new(request).peek())
    }

    /// Whether every call is admitted, because the circuit is closed.
    #[inline]
    pub(crate) fn admits_all(&self) -> bool {
        self.0.circuit.fast_state().admits_all()
    }

    /// The rejection of this call now, which is counted.
    pub(crate) fn peek_counted<B: 'static>(&self, request: &Request<B>) -> Option<Rejection> {
        self.missing_key(request).or_else(|| self.get_or_new(request).peek_counted_by(request.extensions()))
    }

    /// The rejection of a call with these extensions now, which is counted.
    #[inline]
    pub(crate) fn peek_counted_by(&self, extensions: &Extensions) -> Option<Rejection> {
        let mut rejection = self.peek_call(None)?;
        if let Some(open) = self.open_attempts(rejection.cause, extensions) {
            rejection = rejection.or_after(open.reject(clock::now())?);
        }
        self.0.totals.record_rejected();
        Some(rejection.into())
    }

    /// Whether the circuit would reject an attempt with these extensions even after `wait`.
    pub(crate) fn stays_open(&self, wait: Duration, extensions: Option<&Extensions>) -> bool {
        let Some(rejection) = self.peek_call(None) else { return false };
        let open = extensions.and_then(|extensions| self.open_attempts(rejection.cause, extensions));
        if open.is_some_and(|open| open.has_any(clock::after(wait, clock::now()))) {
            return false;
        }
        match rejection.cause {
            RejectionCause::ForcedOpen => true,
            RejectionCause::Probing => false,
            _ => rejection.retry_after.is_some_and(|open| open > wait),
        }
    }

    /// The rejection that a call with these extensions would get now; without, one that other targets can
    /// take.
    #[inline]
    pub(super) fn peek_call(&self, extensions: Option<&Extensions>) -> Option<CircuitRejection> {
        let rejection = self.0.circuit.peek(clock::now)?;
        if self.is_shadowed(&rejection) {
            return None;
        }
        let open = extensions.and_then(|extensions| self.open_attempts(rejection.cause, extensions));
        (!open.is_some_and(|open| open.has_any(clock::now()))).then_some(rejection)
    }

    /// Whether a call is admitted all the same.
    pub(super) fn is_shadowed(&self, rejection: &CircuitRejection) -> bool {
        self.settings().shadow && rejection.cause != RejectionCause::ForcedOpen
    }
}
