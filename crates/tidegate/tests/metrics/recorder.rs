//! A recorder that keeps every series by its name and labels, and every description.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A metric as it was described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
struct Recorded {
    described: BTreeMap<String, Description>,
    /// The values of each series: the sum of a counter, the last value of a gauge, the samples of a
    /// histogram.
    series: BTreeMap<(String, BTreeMap<String, String>), Vec<f64>>,
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Recorded>>);

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    metrics::set_global_recorder(log.clone()).expect("the only recorder of the process");
    log
});

/// Installs the recorder of the process, unless it is.
pub(crate) fn install() {
    LazyLock::force(&LOG);
}

/// The value of a counter or a gauge; 0 if it was not recorded. `labels` are in the order of their names.
pub(crate) fn value(name: &str, labels: &[(&str, &str)]) -> f64 {
    samples(name, labels).last().copied().unwrap_or_default()
}

/// The samples of a histogram.
pub(crate) fn samples(name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    LOG.lock().series.get(&(name.to_owned(), labels)).cloned().unwrap_or_default()
}

/// The series whose target starts with `prefix`.
pub(crate) fn series_of(prefix: &str) -> usize {
    let is_of = |labels: &BTreeMap<String, String>| labels["target"].starts_with(prefix);
    LOG.lock().series.keys().filter(|(_, labels)| is_of(labels)).count()
}

/// The names of the metrics of this target.
pub(crate) fn names_of(target: &str) -> BTreeSet<String> {
    let is_of = |labels: &BTreeMap<String, String>| labels["target"] == target;
    LOG.lock().series.keys().filter(|(_, labels)| is_of(labels)).map(|(name, _)| name.clone()).collect()
}

/// Every metric that was recorded, with the names of its labels.
pub(crate) fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in LOG.lock().series.keys() {
        metrics.entry(name.clone()).or_default().extend(labels.keys().cloned());
    }
    metrics
}

pub(crate) fn described() -> BTreeMap<String, Description> {
    LOG.lock().described.clone()
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().expect("no panic while locked")
    }

    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        let unit = unit.expect("every metric has a unit").as_str();
        let description = Description { kind, unit, text: text.to_string() };
        self.lock().described.insert(name.as_str().to_owned(), description);
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        Arc::new(Series { log: self.clone(), key: (key.name().to_owned(), labels) })
    }
}

impl Recorder for Log {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("counter", &key, unit, &description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("gauge", &key, unit, &description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("histogram", &key, unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

struct Series {
    log: Log,
    key: (String, BTreeMap<String, String>),
}

impl Series {
    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        change(self.log.lock().series.entry(self.key.clone()).or_default());
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.change(|values| *values = vec![values.last().copied().unwrap_or_default() + value as f64]);
    }

    fn absolute(&self, _: u64) {
        unreachable!("no counter is set");
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.change(|values| *values = vec![value]);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.change(|values| values.push(value));
    }
}
