//! The exchange of requests and leases with the store. The gate decides on what it has got so far.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

use super::shared_quotas::ExchangeStep;
use super::store_link::RateLink;
use crate::clock;
use crate::rate_limit::handle::Handle;
use crate::rate_limit::queue::RateQueue;
use crate::store::link::{RunGuard, TaskGuard, spawn};
use crate::store::{LeaseGrant, LeaseRequest, QuotaRequest, SharedCooldown, SharedPart, StoreUnavailable};

/// The time in which closing times are collected before the latest is sent to the store.
const GATE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a closing time or a reset is sent again that may not have reached the store. After that every
/// process gets its own 429, and the reset is sent when the store is back.
const RESENT_FOR: Duration = Duration::from_secs(60);

/// The longest time until it is sent again.
const MAX_RESEND_INTERVAL: Duration = Duration::from_secs(1);

/// A change of the gate that is shared.
pub(crate) enum GateChange {
    /// Closed at this time.
    Closed { at: Option<Instant>, cooldown: SharedCooldown },
    /// A reset at this time.
    Opened { at: Instant, age: Duration, pacing: Option<QuotaRequest> },
}

impl Handle {
    /// Starts or wakes the exchange with the store, if there is a store and something to do.
    #[inline]
    pub(crate) fn request_exchange(&self, queue: &mut RateQueue, now: Instant) {
        if queue.limits.is_shared() && !self.run_exchange(queue, now) {
            queue.limits.on_unavailable(now);
        }
    }

    /// Starts or wakes the exchange to report what was returned. It needs no reply: without a runtime, as where
    /// a response is dropped outside of it, the exchange of the next call reports it.
    #[inline]
    pub(crate) fn report_returned(&self, queue: &mut RateQueue, now: Instant) {
        if queue.limits.is_shared() {
            self.run_exchange(queue, now);
        }
    }

    /// Starts or wakes the exchange for a call that a look at the queue has rejected, if the store cannot be
    /// reached: it is tried again while there are calls.
    pub(crate) fn retry_exchange(&self, queue: &mut RateQueue, now: Instant) {
        if queue.limits.shared().is_some_and(|shared| !shared.is_available()) {
            self.request_exchange(queue, now);
        }
    }

    /// Returns whether there is a runtime that it runs on.
    #[inline(never)]
    fn run_exchange(&self, queue: &mut RateQueue, now: Instant) -> bool {
        let waiting = queue.waiting();
        let (Some(link), Some(shared)) = (&self.0.store, queue.limits.shared()) else { return true };
        shared.record_use();
        let Some(guard) = link.exchange.try_begin() else {
            if shared.is_due(&waiting, now) {
                link.notify.notify_one();
            }
            return true;
        };
        let limit = Self(self.0.to_hold());
        spawn(async move { limit.exchange(guard).await });
        // It cannot have ended by itself, since it needs the queue, which is locked here: if it does not run,
        // there is no runtime, or the runtime has ended.
        link.exchange.is_running()
    }

    /// The name of the shared state.
    pub(super) fn shared_name(&self, link: &RateLink) -> String {
        link.store.name_of(SharedPart::Rate, self.0.target(), self.0.key().map(|key| key.number()))
    }

    /// Closes or opens the gate of the other processes as well. Of many attempts the first is sent at once, and
    /// the others together.
    #[cold]
    pub(crate) fn share_gate(&self) {
        let Some(link) = &self.0.store else { return };
        let Some(guard) = link.gate_task.request() else { return };
        let limit = Self(self.0.to_hold());
        spawn(async move { limit.send_gate(guard).await });
    }

    /// Opens the gate of the other processes after a reset that the store has not replied to.
    pub(crate) fn share_opening(&self) {
        if self.lock().limits.has_unshared_opening() {
            self.share_gate();
        }
    }

    async fn send_gate(&self, guard: RunGuard) {
        let Some(link) = &self.0.store else { return };
        let mut guard = Some(guard);
        while let Some(runs) = guard.take() {
            self.send_until_received(link, &runs).await;
            guard = runs.end();
        }
    }

    /// Sends the latest change until the store replies, for a limited time.
    async fn send_until_received(&self, link: &RateLink, runs: &RunGuard) {
        let end = clock::after(RESENT_FOR, clock::now());
        let (name, store) = (self.shared_name(link), &link.store.shared);
        let mut interval = GATE_INTERVAL;
        loop {
            runs.begin_run();
            let change = self.lock().limits.gate_change(clock::now());
            let reply = match change {
                Some(GateChange::Closed { at, cooldown }) => {
                    let reply = store.close(&name, cooldown).await;
                    reply.map(|is_closed| self.on_closing_shared(at, is_closed))
                }
                Some(GateChange::Opened { at, age, pacing }) => {
                    let reply = store.open(&name, age, pacing).await;
                    if reply.is_ok() {
                        self.change(|queue, now| queue.limits.on_opening_shared(at, now));
                        // It may have been closed since.
                        self.read_cooldown();
                    }
                    reply
                }
                None => return,
            };
            sleep(interval).await;
            if reply.is_ok() || clock::now() >= end {
                return;
            }
            interval = interval.saturating_mul(2).min(MAX_RESEND_INTERVAL);
        }
    }

    /// The store has replied to the closing at `at`. If it was opened there after that, it opens here as well.
    fn on_closing_shared(&self, at: Option<Instant>, is_closed: bool) {
        let is_latest = self.lock().limits.on_closing_shared(at);
        if is_latest && !is_closed {
            self.open_as_elsewhere();
            // It may have been closed since.
            self.read_cooldown();
        }
    }

    /// Closes the gate for the time that the store has returned to a request that was sent at `sent`, if it is
    /// closed there.
    fn close_as_stored(&self, closed_for: Duration, sent: Instant) {
        if !closed_for.is_zero() {
            self.close_as_elsewhere(closed_for, sent);
        }
    }

    /// Reads the closing time in the store, unless it comes with the leases of quotas. An error changes
    /// nothing; the read is repeated.
    pub(super) fn read_cooldown(&self) {
        if self.lock().limits.is_shared() {
            return;
        }
        let Some(read) = self.0.store.as_ref().map(|link| link.listener.begin_read()) else { return };
        let limit = Self(self.0.to_hold());
        spawn(async move {
            let Some(link) = &limit.0.store else { return };
            let (name, sent) = (limit.shared_name(link), clock::now());
            let reply = link.store.shared.take_lease(&name, LeaseRequest::of_no_quota()).await;
            read.end(reply.map(|grant| limit.close_as_stored(grant.closed_for, sent))).await;
        });
    }

    fn on_reply(&self, request: &LeaseRequest, sent: Instant, reply: Result<LeaseGrant, StoreUnavailable>) {
        let now = clock::now();
        let mut queue = self.lock();
        let closed_for = match reply {
            Ok(grant) => {
                queue.limits.on_grant(request, &grant, sent, now);
                grant.closed_for
            }
            Err(StoreUnavailable) => {
                queue.limits.on_unavailable(now);
                Duration::ZERO
            }
        };
        queue.grant_returned(now);
        drop(queue);
        self.close_as_stored(closed_for, sent);
    }

    /// Exchanges requests with the store until there is nothing to do. If this is aborted, the next call
    /// starts another.
    async fn exchange(&self, guard: TaskGuard) {
        let (Some(link), mut guard) = (&self.0.store, Some(guard)) else { return };
        let name = self.shared_name(link);
        loop {
            let now = clock::now();
            let step = {
                let mut queue = self.lock();
                let waiting = queue.waiting();
                let step = queue.limits.next_step(&waiting, now);
                // Within the lock: the next call starts another.
                guard.take_if(|_| step == ExchangeStep::Idle);
                step
            };
            match step {
                ExchangeStep::Request(request) => {
                    let reply = link.store.shared.take_lease(&name, request.clone()).await;
                    self.on_reply(&request, now, reply);
                }
                ExchangeStep::SleepUntil(at) => {
                    let _ = timeout_at(at.into(), link.notify.notified()).await;
                }
                ExchangeStep::Idle => return,
            }
        }
    }
}
