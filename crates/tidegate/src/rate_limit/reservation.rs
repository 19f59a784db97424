use std::sync::atomic::Ordering;

use http::Request;

use super::Handle;
use super::cost::{CallCost, MAX_TOKENS, Reserved};
use super::queue::UnsentReservation;
use crate::attempt::{AttemptGuard, BodyGuard, ResponseHead};
use crate::metrics::{CallTokens, TokenAmounts};
use crate::{Error, FailureKind, Outcome, UsageMeter, UsageTotals};

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
}

impl Reservation {
    /// Creates the reservation, and adds a meter to `request` if tokens were reserved for it.
    pub(super) fn new<B>(handle: Handle, reserved: Reserved, request: &mut Request<B>) -> Self {
        let new_meter = || UsageMeter::nested(reserved.cost.input, request.extensions_mut());
        let meter = handle.has_token_quota().then(new_meter);
        Self { handle, reserved: Some(reserved), meter }
    }

    pub(super) const fn with_meter(handle: Handle, reserved: Reserved, meter: Option<UsageMeter>) -> Self {
        Self { handle, reserved: Some(reserved), meter }
    }

    /// The reservation while its attempt waits for a permit.
    pub(crate) fn into_unsent(mut self) -> Option<UnsentReservation> {
        let reserved = self.reserved.take()?;
        Some(UnsentReservation::new(self.handle.clone(), reserved, self.meter.take()))
    }

    /// Returns the whole reservation: the attempt was not sent.
    pub(crate) fn cancel(mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.handle.refund(&reserved);
        }
    }

    /// Settles a response without a recorded attempt. If a layer below made it, the call costs a request and no
    /// tokens. If no wire below records attempts, the reservation stands.
    #[cold]
    fn settle_unsent(&mut self, head: ResponseHead<'_>) {
        let Some(reserved) = self.reserved.take() else { return };
        if self.handle.0.wire_reports.load(Ordering::Relaxed) || head.is_local_answer() {
            self.handle.settle(&reserved, &CallCost::ONE_CALL);
        }
    }

    fn settle(&mut self) {
        let (Some(reserved), Some(meter)) = (self.reserved.take(), &self.meter) else { return };
        let wire_reports = &self.handle.0.wire_reports;
        match meter.read() {
            // Without a wire below that records attempts, the reservation stands. With one, the request was
            // dropped before it reached the wire.
            UsageTotals { attempts: 0, .. } => {
                if wire_reports.load(Ordering::Relaxed) {
                    self.handle.refund(&reserved);
                }
            }
            metered => {
                if !wire_reports.load(Ordering::Relaxed) {
                    wire_reports.store(true, Ordering::Relaxed);
                }
                let used = used(&metered, &reserved.cost);
                self.handle.0.metrics().record_tokens(CallTokens {
                    used: TokenAmounts { input: used.input, output: used.output },
                    reserved: TokenAmounts { input: reserved.cost.input, output: reserved.cost.output },
                    possibly_billed: unknown_output(&metered, &reserved.cost),
                });
                self.handle.settle(&reserved, &used);
            }
        }
    }
}

/// What was used in the end: the tokens of all attempts below, and the one request that was reserved. The
/// reserved output stands for each attempt with unknown use.
fn used(metered: &UsageTotals, reserved: &CallCost) -> CallCost {
    let output = metered.output.saturating_add(unknown_output(metered, reserved));
    CallCost { calls: reserved.calls, input: metered.input.min(MAX_TOKENS), output: output.min(MAX_TOKENS) }
}

/// The output that is reserved for attempts with unknown use, which the provider may bill.
fn unknown_output(metered: &UsageTotals, reserved: &CallCost) -> u64 {
    reserved.output.saturating_mul(metered.unknown.into())
}

/// `None` if the layer is disabled.
impl AttemptGuard for Option<Reservation> {
    // Boxed, so that the body of a response that needs none is hardly larger for it.
    type Body = Option<Box<Reservation>>;

    #[inline]
    fn on_head(self, head: ResponseHead<'_>, outcome: &Outcome) -> Option<Box<Reservation>> {
        let mut reservation = self?;
        if let Some(reserved) = &reservation.reserved {
            if !head.is_unproven() {
                reservation.handle.on_outcome(outcome, reserved.at);
            }
            // Such a failure is of another service tier, or shows nothing about the account.
            if outcome.failure().is_none_or(|failure| failure.kind != FailureKind::NotProcessed) {
                reservation.handle.on_headers(head.headers(), *outcome == Outcome::Success, reserved);
            }
        }
        match &reservation.meter {
            // Nothing is left to do but to see how a stream ends.
            None if head.stream_outcome().is_none() => return None,
            Some(meter) if meter.read().attempts == 0 => reservation.settle_unsent(head),
            _ => {}
        }
        Some(Box::new(reservation))
    }

    /// If a gate below rejected the request, nothing was sent, unless an earlier attempt was.
    fn on_error(self, error: &Error, outcome: &Outcome) {
        let Some(reservation) = self else { return };
        let was_sent = || reservation.meter.as_ref().is_some_and(|meter| meter.read().attempts > 0);
        match error.rejection() {
            Some(rejection) if !rejection.follows_attempt() && !was_sent() => reservation.cancel(),
            Some(_) => {}
            None => {
                if let Outcome::Failure(failure) = outcome {
                    reservation.handle.on_failure(failure);
                }
            }
        }
    }
}

impl BodyGuard for Option<Box<Reservation>> {
    /// The meter holds the use, however the body ended. [`Drop`] settles it.
    fn on_end(self, failure: Option<&Outcome>) {
        if let (Some(reservation), Some(Outcome::Failure(failure))) = (self, failure) {
            reservation.handle.on_failure(failure);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle();
    }
}
