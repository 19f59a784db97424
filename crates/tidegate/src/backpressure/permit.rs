use std::sync::Arc;

use crate::BoxError;
use crate::slots::Slots;
use crate::watched::Watch;

/// One of the calls in flight; given back when dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<Slots>>);

impl Permit {
    /// Where there is no limit.
    pub(super) const fn unlimited() -> Self {
        Self(None)
    }

    /// Of a slot that has been taken.
    pub(super) const fn holding(slots: Arc<Slots>) -> Self {
        Self(Some(slots))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(slots) = &self.0 {
            slots.release();
        }
    }
}

/// Nothing to tell about the end: the permit is given back by being dropped.
impl Watch for Permit {
    fn ended(self, _: Result<(), &BoxError>) {}
}
