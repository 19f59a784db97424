use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use metrics::{Key, KeyName, SharedString, Unit};

use super::histogram::Buckets;

/// The most gauges that are kept, and the most counters and histograms; further ones are not recorded. Every
/// scrape sets the gauges of all targets, and would leave no room for counters, which stay until the end.
pub(super) const MAX_SERIES: usize = 100_000;

/// All metrics, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Families {
    pub(super) families: BTreeMap<(FamilyKind, String), Family>,
    gauges: usize,
    others: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

/// The series of one metric, by their labels.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) unit: Option<Unit>,
    pub(super) help: Option<SharedString>,
    pub(super) series: BTreeMap<Labels, Series>,
}

/// The names and values of labels, in the order of the metric.
pub(super) type Labels = Vec<(String, String)>;

#[derive(Debug)]
pub(super) enum Series {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

impl Families {
    pub(super) fn describe(
        &mut self,
        kind: FamilyKind,
        name: &KeyName,
        unit: Option<Unit>,
        help: SharedString,
    ) {
        let family = self.families.entry((kind, name.as_str().to_owned())).or_default();
        (family.unit, family.help) = (unit, Some(help));
    }

    pub(super) fn counter(&mut self, key: &Key) -> Option<Arc<AtomicU64>> {
        match self.get(FamilyKind::Counter, key, |_| Series::Counter(Arc::default()))? {
            Series::Counter(value) => Some(Arc::clone(value)),
            _ => None,
        }
    }

    pub(super) fn gauge(&mut self, key: &Key) -> Option<Arc<AtomicU64>> {
        match self.get(FamilyKind::Gauge, key, |_| Series::Gauge(Arc::default()))? {
            Series::Gauge(value) => Some(Arc::clone(value)),
            _ => None,
        }
    }

    pub(super) fn histogram(&mut self, key: &Key) -> Option<Arc<Buckets>> {
        match self.get(FamilyKind::Histogram, key, |unit| Series::Histogram(Arc::new(Buckets::new(unit))))? {
            Series::Histogram(buckets) => Some(Arc::clone(buckets)),
            _ => None,
        }
    }

    /// Keeps the gauges whose labels satisfy `is_kept`.
    pub(super) fn retain_gauges(&mut self, is_kept: impl Fn(&Labels) -> bool) {
        let gauges = self.families.iter_mut().filter(|((kind, _), _)| *kind == FamilyKind::Gauge);
        for (_, family) in gauges {
            let before = family.series.len();
            family.series.retain(|labels, _| is_kept(labels));
            self.gauges -= before - family.series.len();
        }
    }

    /// The series of this key. `None` if it is new, and there are too many.
    fn get(
        &mut self,
        kind: FamilyKind,
        key: &Key,
        new: impl FnOnce(Option<Unit>) -> Series,
    ) -> Option<&Series> {
        let labels: Labels =
            key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let family = self.families.entry((kind, key.name().to_owned())).or_default();
        if !family.series.contains_key(&labels) {
            let count = if kind == FamilyKind::Gauge { &mut self.gauges } else { &mut self.others };
            if *count >= MAX_SERIES {
                return None;
            }
            *count += 1;
        }
        let unit = family.unit;
        Some(family.series.entry(labels).or_insert_with(|| new(unit)))
    }
}
