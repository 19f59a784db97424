use std::time::Duration;

use tower_layer::Layer;

use super::Timeout;

/// Gives every attempt its time; see the [module page](crate::timeout).
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    attempt: Option<Duration>,
}

impl TimeoutLayer {
    /// An attempt may take `limit`, from the call to the last byte of its answer.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { attempt: Some(limit) }
    }

    /// Only the deadline of the request counts.
    #[must_use]
    pub const fn disabled() -> Self {
        Self { attempt: None }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout::new(inner, self.attempt)
    }
}
