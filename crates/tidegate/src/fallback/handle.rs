use std::sync::Arc;

use super::last_resort::{EMERGENCY, LastResort, LastResortKind};
use super::statistics::TargetCounters;
use super::target::Target;
use super::{FallbackOverride, TargetStatistics};
use crate::hedge::{self, HedgeLayer, TargetTimes};
use crate::shared::Shared;

/// The chain that a layer, its services and their clones share: the targets after the first, and the last
/// resorts.
#[derive(Clone, Debug)]
pub struct Handle(Shared<Links>);

#[derive(Clone, Debug, Default)]
struct Links {
    targets: Vec<Target>,
    last_resorts: Vec<LastResort>,
    /// Of the answers that calls had of their own, if the chain has no text for them.
    answers_of_calls: Arc<TargetCounters>,
    hedge: Option<ChainHedge>,
}

/// The hedges of a chain.
#[derive(Clone, Debug)]
pub(super) struct ChainHedge {
    pub(super) handle: hedge::Handle,
    /// The times of the targets in their order, the first included.
    pub(super) times: Vec<Arc<TargetTimes>>,
}

impl Default for Handle {
    fn default() -> Self {
        Self(Shared::new(Links::default()))
    }
}

impl Handle {
    /// The statistics of each target after the first, and then of each last resort, in the order of the
    /// chain. [Answers](FallbackOverride::answer) that calls had of their own are those of `@emergency`.
    #[must_use]
    #[doc(alias("get_fallback_metrics", "strategy_stats", "total_strategies"))]
    pub fn statistics(&self) -> Vec<TargetStatistics> {
        let targets = self.targets().iter().map(|target| (&target.counters, &target.name));
        let last_resorts =
            self.last_resorts().iter().map(|last_resort| (&last_resort.counters, &last_resort.name));
        let (answers, emergency) = (&self.0.answers_of_calls, EMERGENCY.into());
        targets
            .chain(last_resorts)
            .chain(answers.is_used().then_some((answers, &emergency)))
            .zip(1..)
            .map(|((counters, name), position)| counters.statistics(name, position))
            .collect()
    }

    /// The same chain, in which each target and last resort shares the statistics of that of its name in
    /// `other`.
    pub(super) fn with_statistics_of(&self, other: &Self) -> Self {
        self.changed(|links| {
            for target in &mut links.targets {
                if let Some(same) = other.targets().iter().find(|same| same.name == target.name) {
                    target.counters = Arc::clone(&same.counters);
                }
            }
            for last_resort in &mut links.last_resorts {
                if let Some(same) = other.last_resorts().iter().find(|same| same.name == last_resort.name) {
                    last_resort.counters = Arc::clone(&same.counters);
                }
            }
            links.answers_of_calls = Arc::clone(&other.0.answers_of_calls);
        })
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.0.targets
    }

    pub(super) fn last_resorts(&self) -> &[LastResort] {
        &self.0.last_resorts
    }

    /// The handle to give out, which follows the layer when targets are added.
    pub(super) fn to_hand_out(&self) -> Self {
        Self(self.0.follower())
    }

    /// Whether a call consists of the call to the first target.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_fallbacks() && self.0.hedge.is_none()
    }

    /// Whether there are further targets or last resorts.
    pub(super) fn has_fallbacks(&self) -> bool {
        !self.targets().is_empty() || !self.last_resorts().is_empty()
    }

    pub(super) fn hedge(&self) -> Option<&ChainHedge> {
        self.0.hedge.as_ref()
    }

    /// The hedges since the start, in numbers; `None` if calls are not hedged.
    #[must_use]
    pub fn hedges(&self) -> Option<hedge::HedgeStatistics> {
        Some(self.hedge()?.handle.statistics())
    }

    /// The same chain, with hedges by this layer.
    pub(super) fn with_hedge(&self, layer: &HedgeLayer) -> Self {
        let handle = layer.share();
        let names = std::iter::once(handle.target()).chain(self.targets().iter().map(|target| &*target.name));
        let times = names.map(|name| handle.times_of(name)).collect();
        self.changed(|links| links.hedge = handle.is_enabled().then_some(ChainHedge { handle, times }))
    }

    /// The chain of a call without fallbacks: the first target, which may be hedged at itself.
    pub(super) fn without_fallbacks(&self) -> Self {
        match &self.0.hedge {
            None => Self::default(),
            hedge => Self(Shared::new(Links { hedge: hedge.clone(), ..Links::default() })),
        }
    }

    /// The chain of one call: empty if its fallbacks are off, and with one last resort more if it has an
    /// answer of its own.
    pub(super) fn for_call(self, of_call: FallbackOverride) -> Self {
        let answer = of_call.answer.map(|text| self.answer_of_call(text));
        let chain = if of_call.is_off { self.without_fallbacks() } else { self };
        let Some(answer) = answer else { return chain };
        let mut links = Links::clone(&chain.0);
        links.last_resorts.push(answer);
        Self(Shared::new(links))
    }

    fn answer_of_call(&self, text: Arc<str>) -> LastResort {
        let same = self.last_resorts().iter().find(|last_resort| *last_resort.name == *EMERGENCY);
        let counters = same.map_or(&self.0.answers_of_calls, |same| &same.counters);
        LastResort { counters: Arc::clone(counters), ..LastResort::new(LastResortKind::Emergency(text)) }
    }

    pub(super) fn with_target(&self, target: Target) -> Self {
        self.changed(|links| {
            if let Some(ChainHedge { handle, times }) = &mut links.hedge {
                times.push(handle.times_of(&target.name));
            }
            links.targets.push(target);
        })
    }

    /// The same chain, with `targets` before its own.
    #[cfg(all(feature = "config", feature = "translate"))]
    pub(super) fn with_targets_first(&self, targets: &[Target]) -> Self {
        let mut links = Links::clone(&self.0);
        links.targets.splice(..0, targets.iter().cloned());
        if let Some(ChainHedge { handle, times }) = &mut links.hedge {
            times.splice(1..1, targets.iter().map(|target| handle.times_of(&target.name)));
        }
        Self(self.0.replace(links))
    }

    pub(super) fn with_last_resort(&self, last_resort: LastResort) -> Self {
        self.changed(|links| links.last_resorts.push(last_resort))
    }

    /// A chain in the place of this one.
    fn changed(&self, change: impl FnOnce(&mut Links)) -> Self {
        let mut links = Links::clone(&self.0);
        change(&mut links);
        Self(self.0.replace(links))
    }
}

#[cfg(all(test, feature = "config", feature = "translate"))]
mod tests {
    use super::*;
    use crate::testing::strict;

    #[test]
    fn each_target_keeps_the_times_of_its_name_when_others_come_before_it() {
        let target = |name| Target::new(name, strict().0);
        let chain = Handle::default().with_target(target("c")).with_hedge(&HedgeLayer::new().name("a"));
        let chain = chain.with_targets_first(&[target("b")]).with_target(target("d"));
        let ChainHedge { handle, times } = chain.hedge().unwrap();
        assert_eq!(times.len(), 4);
        for (times, name) in times.iter().zip(["a", "b", "c", "d"]) {
            assert!(Arc::ptr_eq(times, &handle.times_of(name)), "{name}");
        }
    }
}
