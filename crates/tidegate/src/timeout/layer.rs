use std::time::Duration;

use tower_layer::Layer;

use super::Timeout;
use super::wire::TimeLimit;
use crate::attempt::NoGate;

/// Bounds the time of every attempt; see the [module page](crate::timeout).
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    attempt: Option<Duration>,
}

impl TimeoutLayer {
    /// An attempt may take `limit`, from the call to the last byte of its response.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { attempt: Some(limit) }
    }

    /// Only the deadline of the request applies.
    #[must_use]
    pub const fn disabled() -> Self {
        Self { attempt: None }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout::with_wire(inner, NoGate, TimeLimit(self.attempt))
    }
}
