use std::sync::Arc;

use super::TargetStatistics;
use super::resort::Resort;
use super::target::Target;

/// The chain that a layer, its services and their clones share: the targets after the first, and the last resorts.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Links>);

#[derive(Clone, Debug, Default)]
struct Links {
    targets: Vec<Target>,
    resorts: Vec<Resort>,
}

impl Handle {
    /// What each target after the first was good for, and then each last resort, in the order of the chain.
    #[must_use]
    pub fn statistics(&self) -> Vec<TargetStatistics> {
        let targets = self.targets().iter().map(|target| (&target.counts, &target.name));
        let resorts = self.resorts().iter().map(|resort| (&resort.counts, &resort.name));
        targets
            .chain(resorts)
            .zip(1..)
            .map(|((counts, name), place)| counts.statistics(name, place))
            .collect()
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.0.targets
    }

    pub(super) fn resorts(&self) -> &[Resort] {
        &self.0.resorts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets().is_empty() && self.resorts().is_empty()
    }

    pub(super) fn with_target(&self, target: Target) -> Self {
        let mut links = Links::clone(&self.0);
        links.targets.push(target);
        Self(Arc::new(links))
    }

    pub(super) fn with_resort(&self, resort: Resort) -> Self {
        let mut links = Links::clone(&self.0);
        links.resorts.push(resort);
        Self(Arc::new(links))
    }
}
