use std::sync::atomic::Ordering;

use http::{HeaderMap, Request};

use super::Handle;
use super::quota_set::Reserved;
use super::quota::CallCost;
use crate::guarded_body::BodyGuard;
use crate::{BoxError, Outcome, Rejection, UsageMeter, UsageTotals};

/// What an attempt took from the limits before it was sent. Settles itself when its answer has ended, or is dropped.
///
/// ```text
///                    ┌─ refused by a gate of ours, never sent ──▶ all of it is given back
///   reserved, sent ──┤
///                    └─ the answer ends, breaks or is dropped ──▶ what was used is kept, as counted by the provider,
///                                                                 else as estimated and seen
/// ```
#[derive(Debug)]
pub struct Reservation {
    handle: Handle,
    /// Nothing, once it is settled.
    reserved: Option<Reserved>,
    /// Where the wire writes what is used; none if no quota is in tokens.
    meter: Option<UsageMeter>,
    /// The answer has begun.
    has_head: bool,
}

impl Reservation {
    /// `request` carries a meter, if tokens were reserved for it.
    pub(super) fn new<B>(handle: Handle, reserved: Option<Reserved>, request: &mut Request<B>) -> Self {
        let meter = match &reserved {
            Some(reserved) if handle.has_token_quota() => {
                Some(UsageMeter::nested(reserved.cost.input, request.extensions_mut()))
            }
            _ => None,
        };
        Self { handle, reserved, meter, has_head: false }
    }

    /// The head of the answer is here. Whether the body has something to say as well.
    pub(super) fn on_head(&mut self, headers: &HeaderMap, outcome: &Outcome) -> bool {
        self.has_head = true;
        if let Some(reserved) = &self.reserved {
            self.handle.on_outcome(outcome);
            self.handle.on_headers(headers, *outcome == Outcome::Success, reserved);
        }
        self.meter.is_some()
    }

    /// No answer came, and no body will. Where a gate below refused nothing was sent, unless an earlier attempt had been.
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
            // Nobody below tells what is sent: the reservation stands. Else it was dropped on its way to the wire.
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

/// What was used in the end. For an answer of which nothing is known its reservation stands.
fn used(metered: &UsageTotals, reserved: &CallCost) -> CallCost {
    let unknown = reserved.output.saturating_mul(metered.unknown.into());
    let output = metered.output.saturating_add(unknown);
    CallCost { calls: metered.attempts.into(), input: metered.input.min(MAX_TOKENS), output: output.min(MAX_TOKENS) }
}

/// More tokens than any call takes: a provider that counts more than these is mistaken, and would block the limit for
/// everybody.
const MAX_TOKENS: u64 = 10_000_000;

/// Boxed, so that the body of an answer that nobody counts is not much larger for it.
impl BodyGuard for Box<Reservation> {
    /// However it ended, the meter shows what it took; [`Drop`] does the rest.
    fn on_end(self, _: Result<(), &BoxError>) {}
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle();
    }
}
