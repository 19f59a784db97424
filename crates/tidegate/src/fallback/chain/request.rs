//! What a target is asked.

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_LENGTH;
use tidegate_core::BodyRewritten;

use super::Chain;
use crate::Payload;
use crate::replay::copy;
use crate::turn::{IDEMPOTENCY_KEY, Turn};

impl Chain {
    /// Keeps a copy of what the caller asked, unless nobody else will be asked.
    pub(in crate::fallback) fn keep(&mut self, request: &Request<Payload>) {
        self.template = if self.handle.is_empty() { None } else { copy(request) };
    }

    /// Whether the first target may be asked more than once.
    pub(in crate::fallback) fn may_return_to_first(&self) -> bool {
        self.template.is_some() && (self.alarm.deadline().is_some() || self.simplifies())
    }

    /// The request for the target that is to be asked now. Copied, unless nobody can follow.
    pub(in crate::fallback) fn request(&mut self) -> Request<Payload> {
        let is_last = self.passed == self.handle.targets().len()
            && self.handle.resorts().is_empty()
            && self.alarm.deadline().is_none();
        let turn = self.turn();
        let template = if is_last { self.template.take() } else { self.template.as_ref().and_then(copy) };
        let mut request = template.expect("kept for this target");
        if self.place > 0
            && let Some(key) = request.headers_mut().get_mut(IDEMPOTENCY_KEY)
            && let Some(own) = turn.of_place(key)
        {
            *key = own;
        }
        request.extensions_mut().insert(turn);
        match self.simplified() {
            Some((body, _)) => rewritten(request, body.clone()),
            None => request,
        }
    }

    /// The turn of the target that is to be asked now.
    pub(super) fn turn(&mut self) -> Turn {
        let nobody_follows = match self.simplified() {
            Some((_, next)) => *next > self.handle.targets().len(),
            // Those who will be asked with less need time too.
            None => !self.simplifies() && self.nobody_is_fit(),
        };
        let is_again = self.simplified().is_some()
            || self.troubles.as_ref().is_some_and(|troubles| troubles.cooling.has_waited());
        let mut turn = self.turn.at(self.place);
        turn.is_last &= nobody_follows;
        turn.is_again |= is_again;
        turn
    }
}

/// The request with another body. It is another request then, and not what a key of the caller's stands for.
pub(super) fn rewritten(mut request: Request<Payload>, body: Bytes) -> Request<Payload> {
    let headers = request.headers_mut();
    headers.remove(IDEMPOTENCY_KEY);
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    *request.body_mut() = body.into();
    let extensions = request.extensions_mut();
    if let Some(turn) = extensions.get_mut::<Turn>() {
        *turn = turn.rewritten();
    }
    extensions.insert(BodyRewritten);
    request
}
