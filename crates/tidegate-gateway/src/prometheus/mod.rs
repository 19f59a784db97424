//! A recorder of the `metrics` facade, and its text for Prometheus.

mod histogram;
mod series;
mod text;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use self::series::{Families, FamilyKind, MAX_SERIES};

use crate::sync::lock;

/// The metrics of a process, in the text format of Prometheus.
///
/// The names are those of `docs/metrics.md`, with `_` for every other character, the unit if it is seconds,
/// and `_total` for counters: `tidegate_calls_total`, `gen_ai_client_operation_duration_seconds`.
#[derive(Clone, Debug, Default)]
pub struct PrometheusMetrics {
    families: Arc<Mutex<Families>>,
    /// Whether there were too many gauges, and too many counters and histograms.
    full: Arc<[AtomicBool; 2]>,
    /// Held while the gauges of the targets are set.
    scrape: Arc<Mutex<()>>,
}

/// The process has a recorder of metrics already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has a recorder of metrics already")]
pub struct RecorderInstalled;

impl PrometheusMetrics {
    /// Installs the recorder of the process. Call it before the first [`Gateway`](crate::Gateway) or other
    /// stack is built.
    ///
    /// # Errors
    ///
    /// The process has a recorder already.
    pub fn install() -> Result<Self, RecorderInstalled> {
        let recorder = Self::default();
        metrics::set_global_recorder(recorder.clone()).map_err(|_| RecorderInstalled)?;
        Ok(recorder)
    }

    /// The text of all metrics, in format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        text::render(&self.lock())
    }

    /// The text of all metrics, after `record` has set the gauges of the targets. Those that it does not set
    /// are removed: a target, or a part of its policy, is no longer there.
    pub(crate) fn render_targets(&self, record: impl FnOnce()) -> String {
        let _scrape = lock(&self.scrape);
        self.lock().retain_gauges(|labels| {
            let has_label = |name| labels.iter().any(|(label, _)| label == name);
            !(has_label("target") && has_label("policy"))
        });
        record();
        self.render()
    }

    /// The series that `find` returns. That there are too many is logged once.
    fn register<T>(
        &self,
        key: &Key,
        is_gauge: bool,
        find: impl FnOnce(&mut Families) -> Option<T>,
    ) -> Option<T> {
        let found = find(&mut self.lock());
        if found.is_none() && !self.full[usize::from(is_gauge)].swap(true, Ordering::Relaxed) {
            let metric = key.name();
            tracing::warn!(layer = "gateway", metric, limit = MAX_SERIES, "too many series of metrics");
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Families> {
        lock(&self.families)
    }
}

impl Recorder for PrometheusMetrics {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.lock().describe(FamilyKind::Counter, &key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.lock().describe(FamilyKind::Gauge, &key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.lock().describe(FamilyKind::Histogram, &key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key, false, |it| it.counter(key)).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key, true, |it| it.gauge(key)).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key, false, |it| it.histogram(key)).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

#[cfg(test)]
mod tests;
