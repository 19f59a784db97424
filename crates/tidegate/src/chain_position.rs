use std::hash::{BuildHasher, RandomState};

use http::header::HeaderName;
use http::{Extensions, HeaderValue};

/// What a key stands for is done once, however often it is asked for.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a chain tells the target that it asks: in the extensions of its request.
#[derive(Clone, Debug)]
pub(crate) struct ChainPosition {
    /// Of this call: another one for each, and known to nobody outside of this process.
    secret: RandomState,
    /// The turns of the chains further out.
    path: u64,
    /// How many chains there are further out.
    pub(crate) depth: usize,
    index: usize,
    /// Nobody else will be asked, whatever becomes of it.
    pub(crate) is_last: bool,
    /// It has had its attempts at this call, and gets one more.
    pub(crate) is_resend: bool,
}

impl ChainPosition {
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The first turn in a chain: of a call that begins there, or within a turn of a chain further out.
    pub(crate) fn first(extensions: &Extensions) -> Self {
        let Some(outer) = Self::of(extensions) else {
            return Self {
                secret: RandomState::new(),
                path: 0,
                depth: 0,
                index: 0,
                is_last: true,
                is_resend: false,
            };
        };
        let path = outer.secret.hash_one((outer.path, outer.index));
        Self { path, depth: outer.depth + 1, index: 0, ..outer.clone() }
    }

    /// The turn of the target at `index`.
    pub(crate) fn at(&self, index: usize) -> Self {
        Self { index, ..self.clone() }
    }

    /// The same turn with another request, which must not be taken for the one before.
    pub(crate) fn for_rewritten_request(&self) -> Self {
        Self { secret: RandomState::new(), ..self.clone() }
    }

    /// The key of a caller, who has one for all targets: another target is asked something else, if only of another model.
    /// A chain within another adds a dash, so that its second target has not the key of the second one out there.
    pub(crate) fn idempotency_key_from(&self, key: &HeaderValue) -> Option<HeaderValue> {
        let suffix = format!("{}-{}", "-".repeat(self.depth), self.index);
        let mut own = HeaderValue::from_bytes(&[key.as_bytes(), suffix.as_bytes()].concat()).ok()?;
        own.set_sensitive(key.is_sensitive());
        Some(own)
    }

    /// 128 bits that are the same whenever this target is asked the same on behalf of this call, and that nobody can
    /// guess.
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
    fn a_place_has_one_key_and_no_other_place_or_call_has_it() {
        let (one, other) = (ChainPosition::first(&Extensions::new()), ChainPosition::first(&Extensions::new()));
        assert_eq!(one.at(2).idempotency_key(), one.at(2).idempotency_key());
        assert_eq!(within(one.at(1)).idempotency_key(), within(one.at(1)).idempotency_key());
        let mut keys = vec![one.for_rewritten_request().idempotency_key()];
        for call in [one, other] {
            for index in 0..3 {
                keys.extend([call.at(index).idempotency_key(), within(call.at(index)).at(index).idempotency_key()]);
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (13, 13));
    }
}
