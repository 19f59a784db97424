use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::cooldown::{MemberCooldown, is_of_account};
use super::first_token::{FirstTokenEstimate, Ticks};
use super::rendezvous::DecayingCount;
use super::snapshot::{ChoiceReason, PromptTokens};
use super::store_link::MemberLink;
use crate::rate_limit::MAX_TOKENS;
use crate::store::Store;
use crate::sync::unpoisoned;
use crate::{Failure, UsageTotals, clock};

/// What has been learned about a member. The services of a group and their clones share it.
#[derive(Debug)]
pub(super) struct MemberState {
    in_flight: AtomicU32,
    first_token: FirstTokenEstimate,
    /// Whether it has failed since its last success, so that its cooldown is looked at.
    has_failed: AtomicBool,
    cooldown: Mutex<MemberCooldown>,
    recent: Mutex<DecayingCount>,
    choices: [AtomicU64; ChoiceReason::ALL.len()],
    failures: AtomicU64,
    /// The tokens of its prompts: all, those that were read from a cache, and those that were written to it.
    prompt_tokens: [AtomicU64; 3],
    /// The store through which its cooldowns are shared, if they are.
    link: OnceLock<MemberLink>,
}

impl Default for MemberState {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            first_token: FirstTokenEstimate::default(),
            has_failed: AtomicBool::new(false),
            cooldown: Mutex::default(),
            recent: Mutex::new(DecayingCount::new(clock::now())),
            choices: Default::default(),
            failures: AtomicU64::new(0),
            prompt_tokens: Default::default(),
            link: OnceLock::new(),
        }
    }
}

impl MemberState {
    /// The expected time to the first token, in seconds; 0 if nothing is known about it.
    #[inline]
    pub(super) fn first_token(&self, now: Ticks) -> f32 {
        self.first_token.read(now)
    }

    /// The calls in flight, response bodies included.
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has failed since its last success.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// How much longer the member is left out.
    #[inline]
    pub(super) fn cooling_for(&self, now: Instant) -> Option<Duration> {
        if !self.has_failed() {
            return None;
        }
        self.lock_cooldown().remaining(now)
    }

    /// The recent calls of this member, with decay.
    pub(super) fn recent_calls(&self, now: Instant) -> f32 {
        self.lock_recent().read(now)
    }

    pub(super) fn choices(&self, reason: ChoiceReason) -> u64 {
        self.choices[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn prompt_tokens(&self) -> PromptTokens {
        let [total, cache_read, cache_written] =
            self.prompt_tokens.each_ref().map(|count| count.load(Ordering::Relaxed));
        PromptTokens { total, cache_read, cache_written }
    }

    /// Records the tokens of a prompt that was answered.
    pub(super) fn record_prompt(&self, used: UsageTotals) {
        let counts = [used.input.saturating_add(used.uncounted), used.cache_read, used.cache_written];
        for (total, tokens) in self.prompt_tokens.iter().zip(counts) {
            total.fetch_add(tokens.min(MAX_TOKENS), Ordering::Relaxed);
        }
    }

    /// Counts that the member was chosen, and begins the attempt after a cooldown. With affinity, the call
    /// counts as recent.
    pub(super) fn record_choice(self: &Arc<Self>, reason: ChoiceReason, has_affinity: bool, now: Instant) {
        if let Some(link) = self.link.get() {
            link.join(self);
        }
        self.choices[reason as usize].fetch_add(1, Ordering::Relaxed);
        if self.has_failed() {
            self.lock_cooldown().start_attempt(now);
        }
        if has_affinity {
            self.lock_recent().add(now);
        }
    }

    /// Records a failure of an attempt that began at `began`. Returns the cooldown that begins, if one does.
    pub(super) fn record_failure(&self, failure: &Failure, began: Instant, now: Instant) -> Option<Duration> {
        self.record(is_of_account(failure.code), |cooldown| cooldown.record_failure(failure, began, now))
    }

    /// As `record_failure`, for a refusal of a request that another member has taken since.
    pub(super) fn record_refusal(&self, failure: &Failure, began: Instant, now: Instant) -> Option<Duration> {
        self.record(true, |cooldown| cooldown.record_refusal(failure, began, now))
    }

    fn record(
        &self,
        is_of_account: bool,
        begin: impl FnOnce(&mut MemberCooldown) -> Option<Duration>,
    ) -> Option<Duration> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut cooldown = self.lock_cooldown();
        let begun = begin(&mut cooldown);
        self.has_failed.fetch_or(begun.is_some(), Ordering::Release);
        drop(cooldown);
        if let (Some(cooldown), Some(link)) = (begun, self.link.get())
            && is_of_account
        {
            link.share(cooldown);
        }
        begun
    }

    /// Records an end without a result of an attempt that began at `began`, or did not begin.
    pub(super) fn record_no_result(&self, began: Option<Instant>, now: Instant) {
        if self.has_failed() {
            self.lock_cooldown().record_no_result(began, now);
        }
    }

    /// Shares its cooldowns through this store from now on. Only the first store counts.
    pub(super) fn link_to(&self, store: &Store, member: &str) {
        self.link.get_or_init(|| MemberLink::new(store, member));
    }

    /// Leaves the member out for this time, as another process does, unless it is left out for longer.
    pub(super) fn leave_out(&self, wait: Duration) {
        let begins = self.lock_cooldown().begin_elsewhere(wait, clock::now());
        self.has_failed.fetch_or(begins, Ordering::Release);
    }

    /// As [`leave_out`](Self::leave_out), for the time that is in the store.
    pub(super) fn leave_out_as_stored(&self, wait: Duration) {
        let begins = self.lock_cooldown().begin_stored(wait, clock::now());
        self.has_failed.fetch_or(begins, Ordering::Release);
    }

    /// Ends the cooldown by hand, here and in the other processes.
    pub(super) fn reset(&self) {
        self.end_cooldown();
        if let Some(link) = self.link.get() {
            link.share_reset();
        }
    }

    /// Ends the cooldown, as another process does.
    pub(super) fn end_cooldown(&self) {
        let mut cooldown = self.lock_cooldown();
        cooldown.reset(clock::now());
        self.has_failed.store(false, Ordering::Release);
    }

    /// Records a success of an attempt that began at `began`. `first_token` is the time of its response head,
    /// if that was not spent in a queue. Returns whether the success ends a cooldown.
    pub(super) fn record_success(&self, began: Instant, first_token: Option<Duration>, now: Instant) -> bool {
        if let Some(time) = first_token {
            self.first_token.record(time, Ticks::of(now));
        }
        if !self.has_failed() {
            return false;
        }
        let mut cooldown = self.lock_cooldown();
        let has_ended = cooldown.record_success(began);
        self.has_failed.fetch_and(!has_ended, Ordering::Release);
        has_ended
    }

    /// Records that an attempt was dropped before its response head, after this time.
    pub(super) fn record_dropped(&self, waited: Duration, now: Instant) {
        self.first_token.record_without(waited, Ticks::of(now));
    }

    fn lock_cooldown(&self) -> MutexGuard<'_, MemberCooldown> {
        unpoisoned(self.cooldown.lock())
    }

    fn lock_recent(&self) -> MutexGuard<'_, DecayingCount> {
        unpoisoned(self.recent.lock())
    }
}

/// Counts a call in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<MemberState>);

impl InFlight {
    pub(super) fn new(state: &Arc<MemberState>) -> Self {
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    pub(super) fn state(&self) -> &MemberState {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
