use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime;

use super::member_state::MemberState;
use crate::store::{LeaseRequest, SharedCooldown, SharedPart, Store, StoreListener};

/// The store through which a member shares the cooldowns that follow failures of its account.
///
/// Without it every process would find out by a call of its own that a key is invalid, or that its quota is
/// used up. Calls do not wait for the store, and while it is unavailable the cooldowns are those of the
/// process.
pub(super) struct MemberLink {
    store: Store,
    name: Arc<str>,
    has_joined: AtomicBool,
    listener: OnceLock<Arc<CooldownListener>>,
}

/// Leaves the member out when another process does.
struct CooldownListener {
    member: Weak<MemberState>,
    store: Store,
    name: Arc<str>,
}

impl MemberLink {
    pub(super) fn new(store: &Store, member: &str) -> Self {
        Self {
            name: store.name_of(SharedPart::Member, member, None).into(),
            store: store.clone(),
            has_joined: AtomicBool::new(false),
            listener: OnceLock::new(),
        }
    }

    /// Reads the cooldown at the first call, and listens to its changes from then on.
    #[inline]
    pub(super) fn join(&self, member: &Arc<MemberState>) {
        if !self.has_joined.load(Ordering::Relaxed) && !self.has_joined.swap(true, Ordering::Relaxed) {
            self.listen(member);
        }
    }

    #[cold]
    fn listen(&self, member: &Arc<MemberState>) {
        let (store, name) = (self.store.clone(), Arc::clone(&self.name));
        let listener = CooldownListener { member: Arc::downgrade(member), store, name };
        let listener: Arc<dyn StoreListener> = Arc::clone(self.listener.get_or_init(|| listener.into())) as _;
        self.store.shared.listen(&self.name, Arc::downgrade(&listener));
        listener.on_reconnected();
    }

    /// Leaves the member out in the other processes.
    #[cold]
    pub(super) fn share(&self, cooldown: Duration) {
        let (Ok(runtime), store) = (runtime::Handle::try_current(), self.store.clone()) else { return };
        let (name, cooldown) = (Arc::clone(&self.name), SharedCooldown { wait: cooldown, pacing: None });
        // If the store cannot be reached, every process gets its own failure.
        runtime.spawn(async move { store.shared.close(&name, cooldown).await });
    }
}

impl StoreListener for CooldownListener {
    fn on_closed(&self, wait: Duration) {
        if let Some(member) = self.member.upgrade() {
            member.leave_out(wait);
        }
    }

    /// Reads the cooldown in the store: a lease of no quota has nothing else. An error changes nothing.
    fn on_reconnected(&self) {
        let Ok(runtime) = runtime::Handle::try_current() else { return };
        let (member, store, name) = (Weak::clone(&self.member), self.store.clone(), Arc::clone(&self.name));
        runtime.spawn(async move {
            if let Ok(grant) = store.shared.take_lease(&name, LeaseRequest::of_no_quota()).await
                && let Some(member) = member.upgrade()
            {
                member.leave_out_as_stored(grant.closed_for);
            }
        });
    }
}

partial_debug!([] MemberLink, "MemberLink", name);
