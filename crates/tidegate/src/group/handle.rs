use std::fmt;
use std::sync::Arc;

use super::GroupSnapshot;
use super::members::Members;

/// A handle to the state of a group, for reading. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<dyn ReadGroup>);

/// A group with members of any type.
trait ReadGroup: Send + Sync {
    fn snapshot(&self) -> GroupSnapshot;
}

impl<S: Send + Sync> ReadGroup for Members<S> {
    fn snapshot(&self) -> GroupSnapshot {
        self.snapshot()
    }
}

impl Handle {
    pub(super) fn new<S: Send + Sync + 'static>(members: Arc<Members<S>>) -> Self {
        Self(members)
    }

    /// The state of the group at this moment.
    #[must_use]
    pub fn snapshot(&self) -> GroupSnapshot {
        self.0.snapshot()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.snapshot()).finish()
    }
}
