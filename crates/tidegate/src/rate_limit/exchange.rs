//! The exchange of requests and leases with the store. The gate decides on what it has got so far.

use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::time::timeout_at;

use super::handle::Handle;
use super::queue::RateQueue;
use super::shared_quotas::NextStep;
use super::store_link::StoreLink;
use crate::clock;
use crate::store::{LeaseGrant, LeaseRequest, StoreUnavailable};

/// A task that exchanges requests for a limit. If it is aborted, the next call starts another.
struct Exchange {
    limit: Handle,
    /// It has ended by itself, and another may have been started since.
    is_over: bool,
}

impl Handle {
    /// Starts or wakes the exchange with the store, if there is a store and something to do.
    #[inline]
    pub(super) fn follow_up(&self, queue: &mut RateQueue, now: Instant) {
        if queue.limits.is_shared() {
            self.follow_up_shared(queue, now);
        }
    }

    #[inline(never)]
    fn follow_up_shared(&self, queue: &mut RateQueue, now: Instant) {
        let Some(link) = &self.0.store else { return };
        let waiting = queue.waiting();
        let Some(shared) =
            queue.limits.shared().filter(|shared| !shared.is_driven || shared.is_due(&waiting, now))
        else {
            return;
        };
        if shared.is_driven {
            link.notify.notify_one();
        } else if let Ok(runtime) = runtime::Handle::try_current() {
            shared.is_driven = true;
            let exchange = Exchange { limit: Self(self.0.to_hold()), is_over: false };
            runtime.spawn(exchange.run());
        } else {
            queue.limits.on_unavailable(now);
        }
    }

    /// The name of the shared state.
    fn shared_name(&self, link: &StoreLink) -> String {
        link.store.name_of("rate", self.0.target(), self.0.key().map(|key| key.number()))
    }

    /// Closes the gate of the other processes.
    pub(super) fn share_cooldown(&self, wait: Duration) {
        let Some(link) = &self.0.store else { return };
        let Some(cooldown) = self.lock().limits.cooldown(wait, clock::now()) else { return };
        let (Ok(runtime), store) = (runtime::Handle::try_current(), link.store.clone()) else { return };
        let name = self.shared_name(link);
        // If the store cannot be reached, every process gets its own 429.
        runtime.spawn(async move { store.shared.close(&name, cooldown).await });
    }

    fn on_reply(&self, request: &LeaseRequest, sent: Instant, reply: Result<LeaseGrant, StoreUnavailable>) {
        let now = clock::now();
        let mut queue = self.lock();
        let closed_for = match reply {
            Ok(grant) => {
                if let Some(shared) = queue.limits.shared() {
                    shared.on_grant(request, &grant, sent, now);
                }
                grant.closed_for
            }
            Err(StoreUnavailable) => {
                queue.limits.on_unavailable(now);
                Duration::ZERO
            }
        };
        let granted = queue.grant_returned(now);
        drop(queue);
        granted.wake();
        if !closed_for.is_zero() {
            self.close_here(closed_for);
        }
    }
}

impl Exchange {
    async fn run(mut self) {
        let limit = &self.limit;
        let Some(link) = &limit.0.store else { return };
        let name = limit.shared_name(link);
        link.listen(&name, limit);
        loop {
            let now = clock::now();
            let step = {
                let mut queue = limit.lock();
                let waiting = queue.waiting();
                let step = queue.limits.next_step(&waiting, now);
                if let (NextStep::Idle, Some(shared)) = (&step, queue.limits.shared()) {
                    shared.is_driven = false;
                }
                step
            };
            match step {
                NextStep::Ask(request) => {
                    let reply = link.store.shared.take_lease(&name, request.clone()).await;
                    limit.on_reply(&request, now, reply);
                }
                NextStep::SleepUntil(at) => {
                    let _ = timeout_at(at.into(), link.notify.notified()).await;
                }
                NextStep::Idle => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over
            && let Some(shared) = self.limit.lock().limits.shared()
        {
            shared.is_driven = false;
        }
    }
}
