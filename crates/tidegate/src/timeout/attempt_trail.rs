use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Extensions;

use crate::{Outcome, Trail};

/// Records one attempt in the trail of its call: its outcome, or that it was dropped before it had one. Boxed, since
/// few calls have a trail.
#[derive(Debug)]
pub(crate) struct AttemptTrail(Option<Box<RecordedAttempt>>);

#[derive(Debug)]
struct RecordedAttempt {
    trail: Trail,
    timeout: Option<RecordedTimeout>,
    below: RecordedBelow,
}

/// Whether a wire below records the attempts that it makes of this one, in the extensions of the request that is
/// sent on.
#[derive(Clone, Debug, Default)]
struct RecordedBelow(Arc<AtomicBool>);

impl AttemptTrail {
    pub(crate) fn of(extensions: &mut Extensions) -> Self {
        Self(if Trail::of(extensions).is_some() { Self::of_trail(extensions) } else { None })
    }

    #[cold]
    fn of_trail(extensions: &mut Extensions) -> Option<Box<RecordedAttempt>> {
        let trail = Trail::of(extensions)?.clone();
        let timeout = RecordedTimeout::of(extensions).cloned();
        let below = RecordedBelow::default();
        if let Some(RecordedBelow(by_outer)) = extensions.insert(below.clone()) {
            by_outer.store(true, Ordering::Relaxed);
        }
        Some(Box::new(RecordedAttempt { trail, timeout, below }))
    }

    pub(crate) fn record(&mut self, outcome: &Outcome) {
        if let Some(attempt) = self.0.take()
            && !attempt.is_recorded_below()
        {
            attempt.trail.attempt(outcome);
        }
    }
}

impl Drop for AttemptTrail {
    fn drop(&mut self) {
        let Some(attempt) = &self.0 else { return };
        if !attempt.is_recorded_below() && !attempt.timeout.as_ref().is_some_and(RecordedTimeout::take) {
            attempt.trail.cancelled();
        }
    }
}

impl RecordedAttempt {
    fn is_recorded_below(&self) -> bool {
        self.below.0.load(Ordering::Relaxed)
    }
}

/// Whether a timeout has recorded the attempt in progress in its trail, in the extensions of the requests
/// that pass it. The wire below, which is dropped then, does not record the attempt once more.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedTimeout(Arc<AtomicBool>);

impl RecordedTimeout {
    fn of(extensions: &Extensions) -> Option<&Self> {
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
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
