use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Looks at the gates between a retry and the wire, so that no attempt is waited for that they are bound to refuse:
/// the answer in hand is worth more than a refusal later.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Option<Arc<dyn Fn(Duration) -> bool + Send + Sync>>);

impl Ahead {
    /// `refuses` tells whether an attempt would be refused even after a wait.
    #[cfg(feature = "stack")]
    pub(crate) fn new(refuses: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(refuses)))
    }

    pub(super) fn refuses(&self, wait: Duration) -> bool {
        self.0.as_ref().is_some_and(|refuses| refuses(wait))
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Ahead(gates)" } else { "Ahead(nothing)" })
    }
}
