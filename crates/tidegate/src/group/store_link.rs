use std::sync::{Arc, Weak};
use std::time::Duration;

use super::member_state::MemberState;
use crate::store::link::{JoinedListener, spawn};
use crate::store::{LeaseGrant, LeaseRequest, SharedCooldown, SharedPart, Store, StoreListener};

/// The store through which a member shares the cooldowns that follow failures of its account.
///
/// Without it every process would find out by a call of its own that a key is invalid, or that its quota is
/// used up. Calls do not wait for the store, and while it is unavailable the cooldowns are those of the
/// process.
pub(super) struct MemberLink {
    store: Store,
    name: Arc<str>,
    listener: Arc<JoinedListener>,
}

/// Leaves the member out when another process does, and ends that when it is reset in another one.
struct CooldownListener {
    member: Weak<MemberState>,
    store: Store,
    name: Arc<str>,
    joined: Weak<JoinedListener>,
}

impl MemberLink {
    pub(super) fn new(store: &Store, member: &str) -> Self {
        Self {
            name: store.name_of(SharedPart::Member, member, None).into(),
            store: store.clone(),
            listener: Arc::default(),
        }
    }

    /// Reads the cooldown at the first call, and listens to its changes from then on.
    #[inline]
    pub(super) fn join(&self, member: &Arc<MemberState>) {
        self.listener.join(&self.store, || {
            let (store, name) = (self.store.clone(), Arc::clone(&self.name));
            let (member, joined) = (Arc::downgrade(member), Arc::downgrade(&self.listener));
            (name.to_string(), CooldownListener { member, store, name, joined })
        });
    }

    /// Leaves the member out in the other processes.
    #[cold]
    pub(super) fn share(&self, cooldown: Duration) {
        let (store, name) = (self.store.clone(), Arc::clone(&self.name));
        let cooldown = SharedCooldown { wait: cooldown, age: Duration::ZERO, pacing: None };
        // If the store cannot be reached, every process gets its own failure.
        spawn(async move { store.shared.close(&name, cooldown).await });
    }

    /// Ends the cooldown in the other processes.
    #[cold]
    pub(super) fn share_reset(&self) {
        let (store, name) = (self.store.clone(), Arc::clone(&self.name));
        spawn(async move { store.shared.open(&name, Duration::ZERO, None).await });
    }
}

impl StoreListener for CooldownListener {
    fn on_closed(&self, wait: Duration) {
        if let Some(member) = self.member.upgrade() {
            member.leave_out(wait);
        }
    }

    fn on_opened(&self) {
        if let Some(member) = self.member.upgrade() {
            member.end_cooldown();
        }
    }

    /// Reads the cooldown in the store: a lease of no quota has nothing else. An error changes nothing; the
    /// read is repeated.
    fn on_reconnected(&self) {
        let Some(read) = self.joined.upgrade().map(|joined| joined.begin_read()) else { return };
        let (member, store, name) = (Weak::clone(&self.member), self.store.clone(), Arc::clone(&self.name));
        spawn(async move {
            let reply = store.shared.take_lease(&name, LeaseRequest::of_no_quota()).await;
            let leave_out = |grant: LeaseGrant| {
                member.upgrade().iter().for_each(|member| member.leave_out_as_stored(grant.closed_for));
            };
            read.end(reply.map(leave_out)).await;
        });
    }
}

partial_debug!([] MemberLink, "MemberLink", name);
