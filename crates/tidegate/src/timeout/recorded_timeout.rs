use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Extensions;

/// Whether a timeout has recorded the attempt in progress in its trail, in the extensions of the requests
/// that pass it. The wire below, which is dropped then, does not record the attempt once more.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordedTimeout(Arc<AtomicBool>);

impl RecordedTimeout {
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The mark of an outer timeout, or a new one.
    pub(super) fn shared(extensions: &mut Extensions) -> Self {
        extensions.get_or_insert_default::<Self>().clone()
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set; it no longer is.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
