use std::sync::atomic::Ordering;

use http::{HeaderMap, Request};

use super::Handle;
use super::quota::CallCost;
use super::quota_set::Reserved;
use crate::guarded_body::BodyGuard;
use crate::{BoxError, Outcome, Rejection, UsageMeter, UsageTotals};

/// What an attempt reserved from the quotas before it was sent. It is settled when the response ends or is
/// dropped.
///
/// ```text
///                   ┌─ rejected by a gate below, never sent ─────▶ the whole reservation is returned
///  reserved, sent ──┤
///                   └─ the response ends, breaks or is dropped ──▶ the use is kept, as the provider counted it,
///                                                                  else as estimated and seen
/// ```
#[derive(Debug)]
pub struct Reservation {
    handle: Handle,
    /// `None` once it is settled.
    reserved: Option<Reserved>,
    /// The meter in which the wire records the use; `None` if no quota counts tokens.
    meter: Option<UsageMeter>,
    /// The response head has arrived.
    has_head: bool,
}

impl Reservation {
    /// Creates the reservation, and adds a meter to `request` if tokens were reserved for it.
    pub(super) fn new<B>(handle: Handle, reserved: Option<Reserved>, request: &mut Request<B>) -> Self {
        let meter = match &reserved {
            Some(reserved) if handle.has_token_quota() => {
                Some(UsageMeter::nested(reserved.cost.input, request.extensions_mut()))
            }
            _ => None,
        };
        Self { handle, reserved, meter, has_head: false }
    }

    /// Handles the response head. Returns whether the body has to be watched.
    pub(super) fn on_head(&mut self, headers: &HeaderMap, outcome: &Outcome) -> bool {
        self.has_head = true;
        if let Some(reserved) = &self.reserved {
            self.handle.on_outcome(outcome);
            self.handle.on_headers(headers, *outcome == Outcome::Success, reserved);
        }
        self.meter.is_some()
    }

    /// Handles an error in place of a response; no body follows. If a gate below rejected the request,
    /// nothing was sent, unless an earlier attempt was.
    pub(super) fn on_error(&mut self, error: &BoxError) -> bool {
        let was_sent = || self.meter.as_ref().is_some_and(|meter| meter.read().attempts > 0);
        match (Rejection::find(&**error), &self.reserved) {
            (_, None) => {}
            (Some(rejection), Some(reserved)) => {
                if !rejection.follows_attempt() && !was_sent() {
                    self.handle.refund(reserved);
                    self.reserved = None;
                }
            }
            (None, Some(_)) => self.handle.on_outcome(&Outcome::of_error(&**error)),
        }
        false
    }

    fn settle(&mut self) {
        let (Some(reserved), Some(meter)) = (self.reserved.take(), &self.meter) else { return };
        let wire_reports = &self.handle.0.wire_reports;
        match meter.read() {
            // Without a wire below that records attempts, the reservation stands. With one, the request was
            // dropped before it reached the wire.
            UsageTotals { attempts: 0, .. } => {
                if !self.has_head && wire_reports.load(Ordering::Relaxed) {
                    self.handle.refund(&reserved);
                }
            }
            metered => {
                if !wire_reports.load(Ordering::Relaxed) {
                    wire_reports.store(true, Ordering::Relaxed);
                }
                self.handle.settle(&reserved, &used(&metered, &reserved.cost));
            }
        }
    }
}

/// Returns what was used in the end. The reserved output stands for each attempt with unknown use.
fn used(metered: &UsageTotals, reserved: &CallCost) -> CallCost {
    let unknown = reserved.output.saturating_mul(metered.unknown.into());
    let output = metered.output.saturating_add(unknown);
    CallCost {
        calls: metered.attempts.into(),
        input: metered.input.min(MAX_TOKENS),
        output: output.min(MAX_TOKENS),
    }
}

/// More tokens than any call uses. A higher count is a mistake of the provider, and would block the limit for
/// every caller.
const MAX_TOKENS: u64 = 10_000_000;

/// Boxed, so that an unmetered response body is hardly larger for it.
impl BodyGuard for Box<Reservation> {
    /// The meter holds the use, however the body ended. [`Drop`] settles it.
    fn on_end(self, _: Result<(), &BoxError>) {}
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle();
    }
}
