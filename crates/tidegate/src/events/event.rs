use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::log::log_rejection;
use super::{Decision, Listeners, Subscription};
use crate::Rejection;
use crate::key::KeyId;
use crate::metrics::TargetMetrics;

/// One decision, of one moment. Serialised flat, with the names of fields in `docs/events.md`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// When the decision was made. Serialised in RFC 3339, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The name of the stack, layer or target, usually `provider/model`; empty without a name.
    pub target: Arc<str>,
    /// The key of the state that decided, where there are keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
}

/// The events that are kept for a slow reader.
const KEPT: usize = 1_024;

static LISTENERS: OnceLock<Listeners<Event>> = OnceLock::new();

/// Subscribes to the decisions about all targets of the process from now on. The latest 1024 are kept for a
/// slow reader.
#[must_use]
pub fn subscribe() -> Subscription<Event> {
    LISTENERS.get_or_init(Listeners::default).subscribe(KEPT)
}

/// Subscribes to the decisions about one target: those of all stacks and layers of this name.
#[must_use]
pub fn subscribe_to(target: &str) -> Subscription<Event> {
    let target: Box<str> = target.into();
    subscribe().filter(move |event| *event.target == *target)
}

/// The listeners, if there is any subscription.
#[inline]
fn listeners() -> Option<&'static Listeners<Event>> {
    LISTENERS.get().filter(|listeners| listeners.has_any())
}

impl Decision {
    /// Emits the decision about the state of `key` of `target`: the one place in which any decision is
    /// logged, counted and sent to subscriptions. No lock may be held, since a log subscriber may read the
    /// state.
    // Always inlined, so that only the part for the variant at hand is left of each match.
    #[inline(always)]
    pub(crate) fn emit(&self, target: &str, key: Option<KeyId>) {
        self.log(target, key);
        TargetMetrics::record(self, target);
        if let Some(listeners) = listeners() {
            self.clone().publish(listeners, target, key);
        }
    }

    /// Emits a [`Rejected`](Self::Rejected), which is copied only for a subscription: an open circuit rejects
    /// at a high rate.
    #[inline]
    pub(crate) fn emit_rejected(
        rejection: &Rejection,
        attempt: impl FnOnce() -> u32,
        target: &str,
        key: Option<KeyId>,
    ) {
        log_rejection(rejection, target, key);
        TargetMetrics::of(target).record_rejection(rejection);
        if let Some(listeners) = listeners() {
            let decision = Self::Rejected { rejection: rejection.clone(), attempt: attempt() };
            decision.publish(listeners, target, key);
        }
    }

    #[cold]
    fn publish(self, listeners: &Listeners<Event>, target: &str, key: Option<KeyId>) {
        listeners.notify(Event { at: SystemTime::now(), target: target.into(), key, decision: self });
    }
}

pub(crate) fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}
