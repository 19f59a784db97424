use std::sync::Arc;

use super::choice::MemberLoad;
use super::first_token::Ticks;
use super::member_state::MemberState;
use super::other_members::MemberGates;
use crate::Resilience;
use crate::attempt::AttemptGates;
use crate::fallback::{OutputCap, TargetModel};
use crate::stack::Signals;

/// A member of a [`Group`](super::Group): a service with its name, its gates and its weight.
#[derive(Clone)]
pub struct Member<S> {
    pub(super) name: Arc<str>,
    pub(super) service: S,
    pub(super) gates: Option<AttemptGates>,
    pub(super) output_cap: Option<OutputCap>,
    pub(super) weight: f32,
    /// What each of its calls in flight adds to its load: less for a larger weight among those of its group.
    pub(super) load_per_call: f32,
    pub(super) state: Arc<MemberState>,
}

impl<S> Member<S> {
    /// A member of this name, usually `provider/model`, with the weight 1. Without [`signals`](Self::signals)
    /// it counts as able to take every call.
    pub fn new(name: &str, service: S) -> Self {
        Self {
            name: name.into(),
            service,
            gates: None,
            output_cap: None,
            weight: 1.0,
            load_per_call: 1.0,
            state: Arc::default(),
        }
    }

    /// The signals of the stack that the service contains. While the gates of that stack would reject a call
    /// or let it wait, other members take it; and the less of its quota is left, the fewer calls it gets.
    #[must_use]
    pub fn signals(self, signals: &Signals) -> Self {
        Self { gates: Some(signals.gates().clone()), ..self }
    }

    /// The address for which the service [translates](crate::chain::named_target) requests. A request for
    /// more output tokens than the model has is no reason to leave the member out where the translation
    /// lowers them.
    #[cfg(all(feature = "config", feature = "translate"))]
    #[must_use]
    pub fn address(self, address: &crate::chain::TargetAddress) -> Self {
        Self { output_cap: Some(address.output_cap()), ..self }
    }

    /// The share of the calls beside the other members; 1 by default. A number from 0.001 to 1000.
    #[must_use]
    pub fn weight(self, weight: f32) -> Self {
        Self { weight, ..self }
    }
}

impl<S> Member<S> {
    /// Shares its cooldowns through the store of its stack, if that has one.
    pub(super) fn link_to_store(&self) {
        if let Some(store) = self.gates.as_ref().and_then(AttemptGates::store) {
            self.state.link_to(store, &self.name);
        }
    }

    /// Whether it would certainly admit any call at once, and has much of its quota left.
    #[inline]
    pub(super) fn certainly_admits(&self) -> bool {
        !self.state.has_failed() && self.gates.as_ref().is_none_or(AttemptGates::certainly_admit)
    }

    #[inline]
    pub(super) fn load(&self, now: Ticks) -> MemberLoad {
        let in_flight = self.state.in_flight() as f32 * self.load_per_call;
        MemberLoad { first_token: self.state.first_token(now), in_flight }
    }

    pub(super) fn model(&self) -> TargetModel {
        TargetModel { name: Arc::clone(&self.name), output_cap: self.output_cap.clone() }
    }

    /// What shows whether it can take a call.
    pub(super) fn gates(&self) -> MemberGates {
        MemberGates { gates: self.gates.clone(), state: Arc::clone(&self.state) }
    }
}

/// A stack is a member with its own name and signals.
impl<S> From<Resilience<S>> for Member<Resilience<S>> {
    fn from(stack: Resilience<S>) -> Self {
        let signals = stack.signals();
        Self::new(signals.target(), stack).signals(&signals)
    }
}

partial_debug!([S] Member<S>, "Member", name, weight, state);
