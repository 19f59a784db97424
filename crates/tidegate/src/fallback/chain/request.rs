//! Builds the requests for the targets.

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_LENGTH;
use tidegate_core::BodyRewritten;

use super::{ChainState, SimplifiedRequest};
use crate::Payload;
use crate::body::clone_request;
use crate::chain_position::{ChainPosition, IDEMPOTENCY_KEY};

impl ChainState {
    /// Keeps a copy of the caller's request, unless no other target can follow.
    pub(crate) fn keep_request(&mut self, request: &Request<Payload>) {
        self.template = if self.handle.is_idle() { None } else { clone_request(request) };
        self.prepare_hedge(request);
    }

    /// Whether the first target may be called more than once.
    pub(crate) fn may_resend_to_first(&self) -> bool {
        let may_resend = self.handle.has_fallbacks()
            && (self.deadline_timer.deadline().is_some() || self.has_simplified_resort());
        self.template.is_some() && (may_resend || self.may_hedge_at_first())
    }

    /// The request for the current target. Copied, unless no other target can follow.
    pub(crate) fn request(&mut self) -> Request<Payload> {
        let is_last = self.visited == self.handle.targets().len()
            && self.handle.last_resorts().is_empty()
            && self.deadline_timer.deadline().is_none()
            && !self.may_hedge();
        let position = self.chain_position();
        let template =
            if is_last { self.template.take() } else { self.template.as_ref().and_then(clone_request) };
        let mut request = template.expect("kept for this target");
        if self.target_index > 0
            && let Some(key) = request.headers_mut().get_mut(IDEMPOTENCY_KEY)
            && let Some(target_key) = position.idempotency_key_from(key)
        {
            *key = target_key;
        }
        request.extensions_mut().insert(position);
        match self.simplified() {
            Some(SimplifiedRequest { body, .. }) => with_body(request, body.clone()),
            None => request,
        }
    }

    /// The position of the current target.
    pub(super) fn chain_position(&mut self) -> ChainPosition {
        let is_last = match self.simplified() {
            Some(simplified) => simplified.next_target > self.handle.targets().len(),
            None => self.is_last(self.target_index),
        };
        let mut position = self.position_at(self.target_index, is_last);
        position.is_resend |= self.is_resend();
        position
    }

    /// Whether no target is called after the one at `target_index`, which is called now.
    pub(super) fn is_last(&mut self, target_index: usize) -> bool {
        // A simplified prompt would need time as well.
        !self.has_simplified_resort() && self.has_no_capable_target(target_index)
    }

    pub(super) fn position_at(&self, target_index: usize, is_last: bool) -> ChainPosition {
        let mut position = self.first_position.at(target_index);
        position.is_last &= is_last;
        position.is_in_chain |= self.handle.has_fallbacks();
        position
    }

    /// Whether the target has had its attempts at this call.
    pub(super) fn is_resend(&self) -> bool {
        self.simplified().is_some()
            || self.failures.as_ref().is_some_and(|failures| failures.cooldowns.has_waited())
    }
}

/// The request with another body. It is a different request, so an idempotency key of the caller is removed.
pub(super) fn with_body(mut request: Request<Payload>, body: Bytes) -> Request<Payload> {
    let headers = request.headers_mut();
    headers.remove(IDEMPOTENCY_KEY);
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    *request.body_mut() = body.into();
    let extensions = request.extensions_mut();
    if let Some(position) = extensions.get_mut::<ChainPosition>() {
        *position = position.for_other_request();
    }
    extensions.insert(BodyRewritten);
    request
}
