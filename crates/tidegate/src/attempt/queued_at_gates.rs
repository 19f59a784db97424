//! An attempt that waits in the queues of the gates.

use std::mem;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Request;
use http_body::Body;

use super::gate::{Admission, QueuedAttempt};
use super::gates::{AttemptGates, AttemptGuards};
use crate::Rejection;
use crate::backpressure::{PendingPermit, Permit};
use crate::circuit_breaker::PendingTurn;
use crate::priority_semaphore::Arrival;
use crate::rate_limit::{PendingReservation, Reservation, UnsentReservation};

/// An attempt in the queue of one of the gates, with what the gates before it have admitted.
#[derive(Debug)]
pub struct QueuedAtGates {
    pub(super) waiting: Waiting,
    pub(super) admitted: Admitted,
    pub(super) waits: Waits,
    pub(super) gates: AttemptGates,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Permit(PendingPermit),
    Reservation(Box<PendingReservation>),
    Turn(PendingTurn),
}

/// What the gates have admitted so far. Dropped before the attempt starts, it is returned in full.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    pub(super) rate: AdmittedRate,
    pub(super) permit: Option<Permit>,
}

/// What an attempt keeps when it comes back to a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// How it comes to the next queue for a permit.
    pub(super) arrival: Arrival,
    /// What its waits for its rate have left of `max_wait`.
    pub(super) max_wait: Option<Duration>,
    /// What its waits for a permit have left of `queue_timeout`.
    pub(super) queue_timeout: Option<Duration>,
    /// Whether it has waited for the turn of this process to probe.
    pub(super) has_awaited_turn: bool,
}

/// What the rate limit has admitted.
#[derive(Debug, Default)]
pub(super) enum AdmittedRate {
    #[default]
    Nothing,
    /// `None` without a rate limit.
    Reserved(Option<Reservation>),
    /// The attempt waits for its permit.
    Unsent(Box<UnsentReservation>),
}

impl Admitted {
    /// The attempt waits for its permit now.
    #[cold]
    pub(super) fn mark_unsent(&mut self) {
        self.rate = match mem::take(&mut self.rate) {
            AdmittedRate::Reserved(Some(reservation)) => reservation
                .into_unsent()
                .map_or(AdmittedRate::Nothing, |unsent| AdmittedRate::Unsent(Box::new(unsent))),
            other => other,
        };
    }

    /// The attempt begins now.
    #[cold]
    fn restart(&mut self) {
        self.permit.iter_mut().for_each(Permit::restart);
    }

    /// The attempt has got its permit.
    #[cold]
    pub(super) fn send_unsent<B>(
        &mut self,
        request: &Request<B>,
        now: Instant,
    ) -> Admission<Option<Reservation>, PendingReservation> {
        match mem::take(&mut self.rate) {
            AdmittedRate::Unsent(reservation) => reservation.send(request, now),
            AdmittedRate::Nothing => Admission::Admitted(None),
            AdmittedRate::Reserved(reservation) => Admission::Admitted(reservation),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let AdmittedRate::Reserved(Some(reservation)) = mem::take(&mut self.rate) {
            reservation.cancel();
        }
    }
}

impl QueuedAttempt for QueuedAtGates {
    type Guard = AttemptGuards;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AttemptGuards, Rejection>> {
        loop {
            match &mut self.waiting {
                Waiting::Permit(queued) => {
                    self.admitted.permit = Some(ready!(queued.poll_admitted(request, cx))?);
                    self.waits.queue_timeout = Some(queued.left());
                }
                Waiting::Reservation(queued) => {
                    self.admitted.rate = AdmittedRate::Reserved(ready!(queued.poll_admitted(request, cx))?);
                    self.waits.max_wait = Some(queued.left());
                    self.admitted.restart();
                }
                Waiting::Turn(turn) => {
                    ready!(turn.poll(cx));
                    self.waits.has_awaited_turn = true;
                    self.admitted.restart();
                }
            }
            let admitted = mem::take(&mut self.admitted);
            match self.gates.advance(admitted, &mut self.waits, request) {
                Admission::Admitted(guards) => return Poll::Ready(Ok(guards)),
                Admission::Rejected(rejection) => return Poll::Ready(Err(rejection)),
                Admission::Queued(queued) => *self = queued,
            }
        }
    }
}
