use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use tidegate_core::ModelCatalog;

use super::capabilities::MemberCapabilities;
use super::choice::{Chosen, Drawn, MemberView, Standing, choose_by_load, choose_by_view};
use super::first_token::Ticks;
use super::gate_view::GateView;
use super::member_set::MemberSet;
use super::other_members::{MemberGates, OtherMembers};
use super::rendezvous::{AffinityKey, is_within_share, ranked};
use super::snapshot::{ChoiceReason, Choices, GroupSnapshot, MemberSnapshot};
use super::weights::Weights;
use super::{Affinity, Member};
use crate::clock::{self, Now};
use crate::defaults;
use crate::durations::millis;
use crate::metrics::ChoiceCounters;
use crate::settings::ConfigError;

/// The members of a group of several, and how one is chosen.
#[derive(Clone, Debug)]
pub(super) struct Members<S> {
    pub(super) group: Arc<str>,
    pub(super) members: Box<[Member<S>]>,
    gates: Arc<[MemberGates]>,
    weights: Weights,
    /// The [`Ticks`] of the latest choice. The age of an estimate is counted to it, since to read the clock
    /// costs as much as a choice: after a pause, one choice takes estimates for younger than they are.
    latest: Arc<AtomicU32>,
    /// The hashed names of the members.
    hashes: Box<[AffinityKey]>,
    pub(super) affinity: Option<Affinity>,
    /// Whether the members replace the credential of a request by their own.
    pub(super) have_own_accounts: bool,
    counters: Box<[ChoiceCounters]>,
    pub(super) capabilities: MemberCapabilities,
}

/// The member that takes an attempt, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberChoice {
    pub(super) chosen: Chosen,
    pub(super) reason: ChoiceReason,
}

impl<S> Members<S> {
    /// # Errors
    ///
    /// There is no member, or more than 64; two have one name; a weight is out of range.
    pub(super) fn new(group: &str, mut members: Vec<Member<S>>) -> Result<Self, ConfigError> {
        check(&members)?;
        let weights = Weights::new(members.iter().map(|member| member.weight));
        for (index, member) in members.iter_mut().enumerate() {
            member.load_per_call = 1.0 / weights.relative(index);
            member.link_to_store();
        }
        Ok(Self {
            group: group.into(),
            latest: Arc::new(Ticks::of(clock::now()).0.into()),
            weights,
            hashes: members.iter().map(|member| AffinityKey::of(&[member.name.as_bytes()])).collect(),
            capabilities: capabilities_of(defaults::models(), &members),
            counters: vec![Default::default(); members.len()].into(),
            gates: members.iter().map(Member::gates).collect(),
            members: members.into(),
            affinity: None,
            have_own_accounts: false,
        })
    }

    pub(super) fn with_affinity(self, affinity: Option<Affinity>) -> Self {
        Self { affinity, ..self }
    }

    #[cfg(any(test, all(feature = "config", feature = "translate")))]
    pub(super) fn with_own_accounts(self) -> Self {
        Self { have_own_accounts: true, ..self }
    }

    pub(super) fn with_catalog(self, catalog: Option<Arc<dyn ModelCatalog>>) -> Self {
        Self { capabilities: capabilities_of(catalog, &self.members), ..self }
    }

    pub(super) const fn all(&self) -> MemberSet {
        self.weights.all()
    }

    /// Chooses a member of `among`, which were not called yet, for this request. `key` is its conversation.
    pub(super) fn choose<B: 'static>(
        &self,
        among: MemberSet,
        request: &Request<B>,
        key: Option<AffinityKey>,
        is_first: bool,
    ) -> Option<MemberChoice> {
        let by_load = if is_first { ChoiceReason::Load } else { ChoiceReason::AfterFailure };
        match key {
            None => {
                let chosen = self.choose_by_load(among, request)?;
                Some(MemberChoice { chosen, reason: by_load })
            }
            Some(key) => self.choose_for_conversation(key, among, request, is_first, clock::now()),
        }
    }

    /// The choice of a member for a call that belongs to no conversation.
    #[inline]
    pub(super) fn choose_by_load<B: 'static>(
        &self,
        among: MemberSet,
        request: &Request<B>,
    ) -> Option<Chosen> {
        let now = Ticks(self.latest.load(Ordering::Relaxed));
        let drawn = self.weights.draw_two(among, fastrand::u64(..))?;
        let member = |index: usize| &self.members[index];
        let quick = choose_by_load(drawn, member, |it| it.load(now), Member::certainly_admits);
        quick.or_else(|| Some(self.choose_by_view(among, drawn, request)))
    }

    #[inline(never)]
    fn choose_by_view<B: 'static>(&self, among: MemberSet, drawn: Drawn, request: &Request<B>) -> Chosen {
        let mut now = Now::default();
        let view = |index: usize| {
            let GateView { standing, quota } = self.gates[index].view(request, now.get());
            MemberView { standing, load: self.members[index].load(Ticks::of(now.get())), quota }
        };
        choose_by_view(among, drawn, &self.weights, || fastrand::u64(..), view)
    }

    /// The member that the conversation prefers, among those that admit the call and have no more than their
    /// share.
    #[cold]
    fn choose_for_conversation<B: 'static>(
        &self,
        key: AffinityKey,
        among: MemberSet,
        request: &Request<B>,
        is_first: bool,
        now: Instant,
    ) -> Option<MemberChoice> {
        let is_open = |index: &usize| self.gates[*index].view(request, now).standing == Standing::Open;
        let open = among.iter().filter(is_open).fold(MemberSet::default(), MemberSet::with);
        let recent = |index: usize| self.members[index].state.recent_calls(now);
        let total: f32 = open.iter().map(recent).sum();
        let weight: f32 = open.iter().map(|index| self.weights.relative(index)).sum();
        let order = ranked(key, self.all(), &self.hashes, &self.weights);
        let is_fit = |index: &usize| {
            open.contains(*index)
                && is_within_share(recent(*index), total, self.weights.relative(*index) / weight)
        };
        let chosen = match order.iter().copied().find(is_fit) {
            Some(index) => Chosen { index, standing: Standing::Open },
            None => self.choose_by_load(among, request)?,
        };
        let reason = if !is_first {
            ChoiceReason::AfterFailure
        } else if order.first() == Some(&chosen.index) {
            ChoiceReason::Affinity
        } else {
            ChoiceReason::Moved
        };
        Some(MemberChoice { chosen, reason })
    }

    /// Counts that a member was chosen.
    pub(super) fn record_choice(&self, choice: MemberChoice) {
        let index = choice.chosen.index;
        let Member { name, state, .. } = &self.members[index];
        let now = clock::now();
        self.latest.store(Ticks::of(now).0, Ordering::Relaxed);
        state.record_choice(choice.reason, self.affinity.is_some(), now);
        self.counters[index].increment(&self.group, name, choice.reason);
    }

    /// The members of `left`, as the layers below see them.
    pub(super) fn others(&self, left: MemberSet) -> OtherMembers {
        OtherMembers { members: Arc::clone(&self.gates), left }
    }

    pub(super) fn snapshot(&self) -> GroupSnapshot {
        let now = clock::now();
        GroupSnapshot {
            group: Arc::clone(&self.group),
            affinity: self.affinity.as_ref().map(ToString::to_string),
            members: self.members.iter().map(|member| self.snapshot_of(member, now)).collect(),
        }
    }

    fn snapshot_of(&self, member: &Member<S>, now: Instant) -> MemberSnapshot {
        let state = &member.state;
        let first_token = state.first_token(Ticks::of(now));
        let [by_load, by_affinity, moved, after_failure] =
            ChoiceReason::ALL.map(|reason| state.choices(reason));
        MemberSnapshot {
            target: Arc::clone(&member.name),
            weight: member.weight,
            in_flight: state.in_flight(),
            first_token_ms: (first_token > 0.0).then(|| millis(Duration::from_secs_f32(first_token))),
            cooldown_remaining_ms: state.cooling_for(now).map(millis),
            choices: Choices { by_load, by_affinity, moved, after_failure },
            failures: state.failures(),
            prompt_tokens: self.affinity.is_some().then(|| state.prompt_tokens()),
        }
    }

    /// The same group, in which the members that `other` has as well share their state if they are unchanged.
    pub(super) fn with_state_of<T>(
        mut self,
        other: &Members<T>,
        is_unchanged: impl Fn(&str) -> bool,
    ) -> Self {
        for member in self.members.iter_mut().filter(|member| is_unchanged(&member.name)) {
            if let Some(same) = other.members.iter().find(|same| same.name == member.name) {
                member.state = Arc::clone(&same.state);
                member.link_to_store();
            }
        }
        self.gates = self.members.iter().map(Member::gates).collect();
        self
    }
}

fn check<S>(members: &[Member<S>]) -> Result<(), ConfigError> {
    if members.is_empty() || members.len() > MemberSet::MAX {
        let expected = format!("from 1 to {} members", MemberSet::MAX);
        return Err(ConfigError::expected("members", &expected, members.len()));
    }
    for (index, member) in members.iter().enumerate() {
        if members[..index].iter().any(|before| before.name == member.name) {
            return Err(ConfigError::new("members", format!("`{}` is in the group already", member.name)));
        }
        if !(MIN_WEIGHT..=MAX_WEIGHT).contains(&member.weight) {
            let expected = format!("a number from {MIN_WEIGHT} to {MAX_WEIGHT}");
            return Err(ConfigError::expected("weight", &expected, member.weight));
        }
    }
    Ok(())
}

fn capabilities_of<S>(catalog: Option<Arc<dyn ModelCatalog>>, members: &[Member<S>]) -> MemberCapabilities {
    MemberCapabilities::new(catalog, members.iter().map(Member::model))
}

pub(crate) const MIN_WEIGHT: f32 = 0.001;
pub(crate) const MAX_WEIGHT: f32 = 1_000.0;

/// A handle to the state of a group. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<dyn ReadGroup>);

/// A group with members of any type.
trait ReadGroup: Send + Sync {
    fn snapshot(&self) -> GroupSnapshot;

    fn reset(&self, member: &str) -> bool;
}

impl<S: Send + Sync> ReadGroup for Members<S> {
    fn snapshot(&self) -> GroupSnapshot {
        self.snapshot()
    }

    fn reset(&self, member: &str) -> bool {
        let named = self.members.iter().find(|it| *it.name == *member);
        named.inspect(|it| it.state.reset()).is_some()
    }
}

impl Handle {
    pub(super) fn new<S: Send + Sync + 'static>(members: Arc<Members<S>>) -> Self {
        Self(members)
    }

    /// The state of the group at this moment.
    #[must_use]
    pub fn snapshot(&self) -> GroupSnapshot {
        self.0.snapshot()
    }

    /// Ends the cooldown of a member that is left out after a failure, also in the processes that share its
    /// [`store`](crate::store#cooldowns). Its gates are reset by
    /// [`Signals::reset`](crate::Signals::reset). Returns whether the group has the member.
    pub fn reset(&self, member: &str) -> bool {
        self.0.reset(member)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.snapshot()).finish()
    }
}
