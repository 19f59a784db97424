use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Request;

use crate::Payload;

/// The gates between a retry and the wire, for a look that acquires nothing.
pub(crate) trait GatePeek: Send + Sync {
    /// Whether an attempt would be rejected even after this wait. `next` is its request, if it is known.
    fn would_reject(&self, wait: Duration, next: Option<&Request<Payload>>) -> bool;

    /// The part of the in-flight limit that is in use, if there is a limit.
    fn load(&self) -> Option<f64>;
}

/// Peeks at the gates before a wait. If they are certain to reject the next attempt, the retry ends: the
/// response at hand is worth more than a later rejection.
#[derive(Clone, Default)]
pub(crate) struct GatesBelow(Option<Arc<dyn GatePeek>>);

impl GatesBelow {
    pub(crate) fn new(gates: impl GatePeek + 'static) -> Self {
        Self(Some(Arc::new(gates)))
    }

    pub(super) fn would_reject(&self, wait: Duration, next: Option<&Request<Payload>>) -> bool {
        self.0.as_ref().is_some_and(|gates| gates.would_reject(wait, next))
    }

    pub(super) fn load(&self) -> Option<f64> {
        self.0.as_ref()?.load()
    }
}

impl fmt::Debug for GatesBelow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "GatesBelow(gates)" } else { "GatesBelow(nothing)" })
    }
}
