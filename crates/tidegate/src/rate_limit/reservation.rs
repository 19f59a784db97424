use std::sync::atomic::Ordering;

use http::{HeaderMap, Request};

use super::Handle;
use super::limits::Spent;
use super::quota::Cost;
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
    spent: Option<Spent>,
    /// Where the wire writes what is used; none if no quota is in tokens.
    meter: Option<UsageMeter>,
    /// The answer has begun.
    is_answered: bool,
}

impl Reservation {
    /// `request` carries a meter, if tokens were reserved for it.
    pub(super) fn new<B>(handle: Handle, spent: Option<Spent>, request: &mut Request<B>) -> Self {
        let meter = match &spent {
            Some(spent) if handle.counts_tokens() => {
                Some(UsageMeter::within(spent.cost.input, request.extensions_mut()))
            }
            _ => None,
        };
        Self { handle, spent, meter, is_answered: false }
    }

    /// The head of the answer is here. Whether the body has something to say as well.
    pub(super) fn answered(&mut self, headers: &HeaderMap, outcome: &Outcome) -> bool {
        self.is_answered = true;
        if let Some(spent) = &self.spent {
            self.handle.learn(outcome);
            self.handle.hear(headers, *outcome == Outcome::Success, spent);
        }
        self.meter.is_some()
    }

    /// No answer came, and no body will. Where a gate below refused nothing was sent, unless an earlier attempt had been.
    pub(super) fn failed(&mut self, error: &BoxError) -> bool {
        let was_sent = || self.meter.as_ref().is_some_and(|meter| meter.read().attempts > 0);
        match (Rejection::find(&**error), &self.spent) {
            (_, None) => {}
            (Some(rejection), Some(spent)) => {
                if !rejection.follows_attempt() && !was_sent() {
                    self.handle.refund(spent);
                    self.spent = None;
                }
            }
            (None, Some(_)) => self.handle.learn(&Outcome::of_error(&**error)),
        }
        false
    }

    fn settle(&mut self) {
        let (Some(spent), Some(meter)) = (self.spent.take(), &self.meter) else { return };
        let hears_wire = &self.handle.0.hears_wire;
        match meter.read() {
            // Nobody below tells what is sent: the reservation stands. Else it was dropped on its way to the wire.
            UsageTotals { attempts: 0, .. } => {
                if !self.is_answered && hears_wire.load(Ordering::Relaxed) {
                    self.handle.refund(&spent);
                }
            }
            metered => {
                if !hears_wire.load(Ordering::Relaxed) {
                    hears_wire.store(true, Ordering::Relaxed);
                }
                self.handle.settle(&spent, &used(&metered, &spent.cost));
            }
        }
    }
}

/// What was used in the end. For an answer of which nothing is known its reservation stands.
fn used(metered: &UsageTotals, reserved: &Cost) -> Cost {
    let unknown = reserved.output.saturating_mul(metered.unknown.into());
    let output = metered.output.saturating_add(unknown);
    Cost { calls: metered.attempts.into(), input: metered.input.min(MOST), output: output.min(MOST) }
}

/// More tokens than any call takes: a provider that counts more than these is mistaken, and would block the limit for
/// everybody.
const MOST: u64 = 10_000_000;

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
