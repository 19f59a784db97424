use std::time::Duration;

use http::Extensions;

use crate::{AttemptBudget, Deadline, clock};

/// What a call may take as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) time: Option<Duration>,
    pub(super) attempts: Option<u32>,
}

impl Bounds {
    /// Gives a request its deadline and its attempts. Of two deadlines the earlier holds; of two attempt budgets
    /// the one that was there, since a chain further out counts what all its targets do.
    pub(super) fn put_on(&self, extensions: &mut Extensions) {
        if let Some(time) = self.time {
            Deadline::after(time, clock::now()).tighten(extensions);
        }
        if let Some(attempts) = self.attempts {
            extensions.get_or_insert_with(|| AttemptBudget::new(attempts));
        }
    }
}
