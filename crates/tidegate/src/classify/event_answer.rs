use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tidegate_core::Scan;
use tokio::time::Sleep;

use super::BufferedBody;
use super::body::ClassifiableBody;
use super::own_body::MAX_CONVERTED;
use super::scanned_body::TRAILING_GRACE;
use crate::{Error, Failure};

/// An answer in events that is read to be converted to a document: up to its terminator, since the provider may
/// keep the connection open after it.
pub struct EventAnswer<B: Body> {
    body: BufferedBody<B>,
    scanner: Box<dyn Scan>,
    /// Runs after the terminator or an error event. Boxed, since few answers are waited for after it.
    trailing_grace: Option<Pin<Box<Sleep>>>,
}

impl<B: ClassifiableBody> EventAnswer<B> {
    /// An answer of which `body` has read the beginning, and the scanner nothing.
    pub(super) fn new(mut body: BufferedBody<B>, mut scanner: Box<dyn Scan>) -> Self {
        body.extend_to(MAX_CONVERTED);
        scanner.push(&body.bytes());
        Self { body, scanner, trailing_grace: None }
    }

    /// Reads up to the terminator and a grace time for what may follow it, the end or the limit.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let scanner = &mut self.scanner;
        let scan = |data: &Bytes| {
            scanner.push(data);
        };
        if self.body.poll_scan(cx, scan).is_ready() {
            return Poll::Ready(());
        }
        if !self.has_result() {
            return Poll::Pending;
        }
        let sleep = || Box::pin(tokio::time::sleep(TRAILING_GRACE));
        self.trailing_grace.get_or_insert_with(sleep).as_mut().poll(cx)
    }

    /// Whether the answer may end here: a stop reason without a terminator, which some servers do not send, is an
    /// end if nothing follows.
    pub(super) fn can_end(&mut self) -> bool {
        if self.scanner.state().stop.is_some() {
            self.scanner.finish();
        }
        self.has_result()
    }

    fn has_result(&self) -> bool {
        let state = self.scanner.state();
        state.has_finished || state.failure.is_some()
    }

    /// The events, and the scanner that has read them. What they show takes precedence over an error after them.
    pub(super) fn into_parts(mut self) -> Result<(Bytes, Box<dyn Scan>), Error> {
        if self.body.is_whole() {
            self.scanner.finish();
        } else if self.body.broke_off() && !self.can_end() {
            return Err(self.body.into_error());
        }
        if !self.body.is_within_limit() || !self.body.has_ended() && !self.has_result() {
            return Err(Failure::no_answer().into());
        }
        Ok((self.body.into_bytes(), self.scanner))
    }
}
