//! What the gates of a member would do with a call that is not addressed to it yet.

use std::time::{Duration, Instant};

use http::Request;

use super::choice::Standing;
use crate::Rejection;
use crate::attempt::AttemptGates;
use crate::keyed::KeyedHandle;
use crate::rate_limit::RateOutlook;

/// The standing of a member by its gates, and the part of its quota that is left.
pub(super) struct GateView {
    pub(super) standing: Standing,
    pub(super) quota: f32,
}

impl GateView {
    /// The view of a member without gates.
    pub(super) const OPEN: Self = Self { standing: Standing::Open, quota: 1.0 };

    /// Looks at the gates. Acquires nothing. A gate with keys that are made from the address of a request,
    /// such as its credential, is not looked at: it rejects the attempt itself, and the call goes on to
    /// another member.
    pub(super) fn of<B: 'static>(gates: &AttemptGates, request: &Request<B>, now: Instant) -> Self {
        let (circuit, rate, bulkhead) = (gates.circuit_breaker(), gates.rate_limit(), gates.backpressure());
        let closed = |rejection: Rejection| Standing::Closed(rejection.retry_after());
        if circuit.is_met_before_addressing()
            && let Some(rejection) = circuit.peek_beside_others(request)
        {
            return Self { standing: closed(rejection), quota: 1.0 };
        }
        let has_rate = rate.is_met_before_addressing();
        let rate = has_rate.then(|| rate.outlook_for(request, now));
        let RateOutlook { rejection, wait, left } = rate.unwrap_or_default();
        if let Some(rejection) = rejection {
            return Self { standing: closed(rejection), quota: left };
        }
        let is_full = bulkhead.is_met_before_addressing() && bulkhead.is_full_for(request);
        let standing = match is_full.then(|| bulkhead.peek_for(request)) {
            Some(Some(rejection)) => closed(rejection),
            Some(None) => Standing::Queued(wait.max(Duration::from_nanos(1))),
            None if wait.is_zero() => Standing::Open,
            None => Standing::Queued(wait),
        };
        Self { standing, quota: left }
    }
}
