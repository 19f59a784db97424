//! The reservations of calls that wait for a permit after they got their rate.
//!
//! One that is older than [`GRANT_LIFETIME`] cannot be sent, since it would be sent on top of the calls that
//! are sent now. Its call reserves again, and so do later calls whose reservations it needs: they cannot
//! overtake it.

use std::collections::BTreeMap;
use std::mem;
use std::time::Instant;

use http::Request;

use super::{GRANT_LIFETIME, RateQueue};
use crate::UsageMeter;
use crate::attempt::Admission;
use crate::priority_semaphore::Arrival;
use crate::rate_limit::cost::{CallCost, Reserved};
use crate::rate_limit::handle::Handle;
use crate::rate_limit::pending_reservation::PendingReservation;
use crate::rate_limit::reservation::Reservation;

/// The reservation of a call that waits for a permit. Dropping it returns it.
#[derive(Debug)]
pub(crate) struct UnsentReservation {
    handle: Handle,
    number: u64,
    cost: CallCost,
    meter: Option<UsageMeter>,
}

/// The reservations of the calls of one limit that wait for a permit, the latest last.
#[derive(Debug, Default)]
pub(super) struct UnsentReservations {
    reserved: BTreeMap<u64, Reserved>,
    next_number: u64,
}

impl UnsentReservations {
    fn insert(&mut self, reserved: Reserved) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.reserved.insert(number, reserved);
        number
    }
}

impl RateQueue {
    /// Takes the reservation with this number, if it can still be sent. One that cannot is returned.
    fn take_unsent(&mut self, number: u64, now: Instant) -> Option<Reserved> {
        let reserved = self.unsent.reserved.remove(&number)?;
        if now <= reserved.at + GRANT_LIFETIME && self.limits.closed_for(now).is_none() {
            return Some(reserved);
        }
        self.limits.refund(&reserved, now);
        None
    }

    /// Returns reservations of waiting calls, the latest first, until there is room for this cost.
    fn return_unsent(&mut self, cost: &CallCost, now: Instant) {
        if self.limits.closed_for(now).is_some() {
            return;
        }
        while !self.limits.has_room(cost, now)
            && let Some((_, latest)) = self.unsent.reserved.pop_last()
        {
            self.limits.refund(&latest, now);
        }
    }
}

impl UnsentReservation {
    pub(in crate::rate_limit) fn new(handle: Handle, reserved: Reserved, meter: Option<UsageMeter>) -> Self {
        let number = handle.lock().unsent.insert(reserved);
        Self { handle, number, cost: reserved.cost, meter }
    }

    /// The reservation of a call that is sent now. If it cannot be sent any more, the call reserves again,
    /// and comes back to the queue before the calls that came after it.
    pub(crate) fn send<B>(
        mut self,
        request: &Request<B>,
        now: Instant,
    ) -> Admission<Option<Reservation>, PendingReservation> {
        let mut queue = self.handle.lock();
        let decision = match queue.take_unsent(self.number, now) {
            Some(reserved) => Admission::Admitted(reserved),
            None => {
                queue.return_unsent(&self.cost, now);
                self.handle.reserve_in(queue, self.cost, request.extensions(), Arrival::Returning, now)
            }
        };
        decision.map(|reserved| {
            let meter = mem::take(&mut self.meter);
            Some(Reservation::with_meter(self.handle.clone(), reserved, meter))
        })
    }
}

impl Drop for UnsentReservation {
    fn drop(&mut self) {
        let reserved = self.handle.lock().unsent.reserved.remove(&self.number);
        if let Some(reserved) = reserved {
            self.handle.refund(&reserved);
        }
    }
}
