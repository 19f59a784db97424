use std::sync::Arc;

use super::TargetStatistics;
use super::last_resort::LastResort;
use super::target::Target;

/// The chain that a layer, its services and their clones share: the targets after the first, and the last
/// resorts.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Links>);

#[derive(Clone, Debug, Default)]
struct Links {
    targets: Vec<Target>,
    last_resorts: Vec<LastResort>,
}

impl Handle {
    /// The statistics of each target after the first, and then of each last resort, in the order of the
    /// chain.
    #[must_use]
    pub fn statistics(&self) -> Vec<TargetStatistics> {
        let targets = self.targets().iter().map(|target| (&target.counters, &target.name));
        let last_resorts =
            self.last_resorts().iter().map(|last_resort| (&last_resort.counters, &last_resort.name));
        targets
            .chain(last_resorts)
            .zip(1..)
            .map(|((counters, name), priority)| counters.statistics(name, priority))
            .collect()
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.0.targets
    }

    pub(super) fn last_resorts(&self) -> &[LastResort] {
        &self.0.last_resorts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets().is_empty() && self.last_resorts().is_empty()
    }

    pub(super) fn with_target(&self, target: Target) -> Self {
        let mut links = Links::clone(&self.0);
        links.targets.push(target);
        Self(Arc::new(links))
    }

    pub(super) fn with_last_resort(&self, last_resort: LastResort) -> Self {
        let mut links = Links::clone(&self.0);
        links.last_resorts.push(last_resort);
        Self(Arc::new(links))
    }
}
