use std::hash::{BuildHasher, RandomState};

use http::header::HeaderName;
use http::{Extensions, HeaderValue};

use crate::group::OtherMembers;

/// A server that honours this header processes a key once, however many requests carry it.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The position of a target in its fallback chain, in the extensions of the request that the chain sends to
/// it.
#[derive(Clone, Debug)]
pub(crate) struct ChainPosition {
    /// A random secret per call, never sent.
    secret: RandomState,
    /// A hash of the positions in the outer chains and groups.
    path: u64,
    /// The number of outer chains and groups.
    depth: usize,
    index: usize,
    /// A chain with other targets calls this one, itself or through a group: it waits if all are cooling down.
    pub(crate) is_in_chain: bool,
    /// No other target is tried after this one.
    pub(crate) is_last: bool,
    /// The target has had its attempts at this call, and gets exactly one more.
    pub(crate) is_resend: bool,
    pub(crate) hedging: Hedging,
    /// The other members of its group, if the call goes on with them.
    pub(crate) others: Option<OtherMembers>,
}

/// What a request has to do with hedges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hedging {
    /// It is not hedged.
    None,
    /// A chain sends it once more if it is late, so that no layer below does.
    Watched,
    /// It is the one that was sent once more. It is sent at once or not at all, since the other one is under
    /// way.
    Hedge,
}

impl ChainPosition {
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The position of the first target of a chain. If the chain is itself a target of an outer chain,
    /// `extensions` hold the position in that one.
    pub(crate) fn first(extensions: &Extensions) -> Self {
        let Some(outer) = Self::of(extensions) else {
            return Self {
                secret: RandomState::new(),
                path: 0,
                depth: 0,
                index: 0,
                is_in_chain: false,
                is_last: true,
                is_resend: false,
                hedging: Hedging::None,
                others: None,
            };
        };
        let path = outer.secret.hash_one((outer.path, outer.index));
        Self { path, depth: outer.depth + 1, index: 0, ..outer.clone() }
    }

    /// Whether no other target takes a request with these extensions after this one.
    pub(crate) fn is_last(extensions: &Extensions) -> bool {
        Self::of(extensions).is_none_or(|position| position.is_last)
    }

    /// Whether a request with these extensions is a hedge.
    pub(crate) fn is_of_hedge(extensions: &Extensions) -> bool {
        Self::of(extensions).is_some_and(|position| position.hedging == Hedging::Hedge)
    }

    /// The position of the target at `index`.
    pub(crate) fn at(&self, index: usize) -> Self {
        Self { index, ..self.clone() }
    }

    /// The same position for another request, which must not have the same key.
    pub(crate) fn for_other_request(&self) -> Self {
        Self { secret: RandomState::new(), ..self.clone() }
    }

    /// A key for this target, made from the key of the caller: another target gets another request, if only
    /// with another model name. An inner chain adds a dash, so that the key of its second target differs from
    /// that of the second target of the outer chain.
    pub(crate) fn idempotency_key_from(&self, key: &HeaderValue) -> Option<HeaderValue> {
        let suffix = format!("{}-{}", "-".repeat(self.depth), self.index);
        let mut own = HeaderValue::from_bytes(&[key.as_bytes(), suffix.as_bytes()].concat()).ok()?;
        own.set_sensitive(key.is_sensitive());
        Some(own)
    }

    /// 128 bits that are equal whenever this target gets the same request of this call, and that cannot be
    /// guessed.
    pub(crate) fn idempotency_key(&self) -> [u64; 2] {
        [0, 1].map(|half: u8| self.secret.hash_one((self.path, self.index, half)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(position: ChainPosition) -> ChainPosition {
        let mut extensions = Extensions::new();
        extensions.insert(position);
        ChainPosition::first(&extensions)
    }

    #[test]
    fn a_position_has_one_key_that_no_other_position_or_call_has() {
        let (one, other) =
            (ChainPosition::first(&Extensions::new()), ChainPosition::first(&Extensions::new()));
        assert_eq!(one.at(2).idempotency_key(), one.at(2).idempotency_key());
        assert_eq!(within(one.at(1)).idempotency_key(), within(one.at(1)).idempotency_key());
        let mut keys = vec![one.for_other_request().idempotency_key()];
        for call in [one, other] {
            for index in 0..3 {
                keys.extend([
                    call.at(index).idempotency_key(),
                    within(call.at(index)).at(index).idempotency_key(),
                ]);
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (13, 13));
    }
}

/// The number of the attempt within its call, in the extensions of each attempt after the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptNumber {
    /// From 1, those that a gate rejected included.
    pub(crate) number: u32,
    /// From 1, without those before it that a gate rejected.
    pub(crate) sent: u32,
}

impl AttemptNumber {
    /// The number of the attempt with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::nth(1))
    }

    /// The number of an attempt before which none was rejected.
    pub(crate) const fn nth(number: u32) -> Self {
        Self { number, sent: number }
    }
}
