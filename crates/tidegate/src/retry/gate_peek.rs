use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Request;

use crate::Payload;

/// What stands between a retry and the wire.
pub(crate) trait GatePeek: Send + Sync {
    /// Whether an attempt would be refused even after this wait: that of `next`, where it is known.
    fn would_reject(&self, wait: Duration, next: Option<&Request<Payload>>) -> bool;

    /// How much of what may be in flight is in flight, if there is a limit.
    fn load(&self) -> Option<f64>;
}

/// Looks at the gates ahead, so that no attempt is waited for that they are bound to refuse: the answer in hand is
/// worth more than a refusal later.
#[derive(Clone, Default)]
pub(crate) struct GatesBelow(Option<Arc<dyn GatePeek>>);

impl GatesBelow {
    #[cfg(feature = "stack")]
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
