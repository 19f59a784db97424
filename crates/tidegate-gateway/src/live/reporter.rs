use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use tidegate::circuit_breaker::CallResults;
use tidegate::provider::Verdict;

use crate::calls::{CallCounts, CallProgress, CallRecord, CallSummary, RecentCalls};
use crate::sync::lock;
use crate::targets::{TargetReport, Targets};
use crate::times::{as_millis, rfc3339};
use crate::transitions::{TransitionEntry, TransitionLog};

/// What the events are made from.
#[derive(Debug, Default)]
pub(super) struct LiveSource {
    followed: Mutex<Followed>,
    pub(super) transitions: TransitionLog,
}

/// What the configuration determines.
#[derive(Clone, Debug)]
struct Followed {
    targets: Arc<Targets>,
    recent_calls: RecentCalls,
}

/// Makes the events, each with what has changed since the one before.
#[derive(Debug)]
pub(super) struct Reporter {
    source: Arc<LiveSource>,
    followed: Followed,
    /// The results of attempts, for each of the targets in their order.
    results: Vec<CallResults>,
    next_transition: u64,
    next_call: u64,
    /// The calls that have not ended, as they were reported. Oldest first.
    open_calls: Vec<(Arc<CallRecord>, Option<CallProgress>)>,
    /// The report that was sent last.
    last: String,
}

#[derive(Serialize)]
struct SnapshotEvent<'a> {
    #[serde(serialize_with = "rfc3339")]
    at: SystemTime,
    keeps_calls: bool,
    #[serde(flatten)]
    report: LiveReport<'a>,
}

#[derive(Serialize)]
struct LiveReport<'a> {
    targets: Vec<LiveTarget<'a>>,
    totals: CallCounts,
    transitions: Vec<TransitionEntry>,
    calls: Vec<LiveCall<'a>>,
}

#[derive(Serialize)]
struct LiveTarget<'a> {
    #[serde(flatten)]
    report: TargetReport<'a>,
    /// The times to the first token of the attempts that have succeeded since the update before.
    first_token_ms: Vec<u64>,
}

#[derive(Serialize)]
struct LiveCall<'a> {
    number: u64,
    #[serde(flatten)]
    summary: CallSummary<'a>,
    attempts: u32,
    is_fallback: bool,
}

/// The most calls in one event; of more, the latest are reported.
const MAX_CALLS: usize = 100;

impl LiveSource {
    /// Reports these targets and calls from now on. Earlier transitions are kept.
    pub(super) fn follow(&self, targets: Arc<Targets>, recent_calls: RecentCalls) {
        self.transitions.follow(targets.transitions());
        *self.lock() = Followed { targets, recent_calls };
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        lock(&self.followed)
    }
}

impl Default for Followed {
    fn default() -> Self {
        Self { targets: Arc::new(Targets::new([], [])), recent_calls: RecentCalls::new(0) }
    }
}

impl Reporter {
    /// What happens from now on is an update.
    pub(super) fn new(source: Arc<LiveSource>) -> Self {
        let followed = source.lock().clone();
        let (calls, totals) = followed.recent_calls.since(0, MAX_CALLS);
        let last_transition = source.transitions.since(0).last().map(|entry| entry.number);
        Self {
            results: results_of(&followed.targets),
            followed,
            next_transition: last_transition.map_or(0, |last| last + 1),
            next_call: totals.begun,
            open_calls: calls.into_iter().map(|call| (call, None)).collect(),
            last: String::new(),
            source,
        }
    }

    /// The event for new subscribers: everything.
    pub(super) fn snapshot(&self) -> Bytes {
        let (calls, totals) = self.followed.recent_calls.since(0, MAX_CALLS);
        let report = LiveReport {
            targets: self
                .followed
                .targets
                .iter()
                .map(|it| LiveTarget { report: it.summary(), first_token_ms: Vec::new() })
                .collect(),
            totals,
            transitions: self.source.transitions.since(0),
            calls: calls.iter().map(|call| LiveCall::new(call)).collect(),
        };
        let keeps_calls = self.followed.recent_calls.is_enabled();
        let event = SnapshotEvent { at: SystemTime::now(), keeps_calls, report };
        format!("retry: 1000\nevent: snapshot\ndata: {}\n\n", json(&event)).into()
    }

    /// The event with what has changed; `None` if nothing has.
    pub(super) fn update(&mut self) -> Option<Bytes> {
        let followed = self.source.lock().clone();
        if !Arc::ptr_eq(&followed.targets, &self.followed.targets) {
            self.results = results_of(&followed.targets);
        }
        self.followed = followed;
        let targets = self.followed.targets.iter().zip(&mut self.results);
        let targets = targets.map(|(target, results)| LiveTarget {
            report: target.summary(),
            first_token_ms: first_tokens(results),
        });
        let targets = targets.collect();
        let transitions = self.source.transitions.since(self.next_transition);
        self.next_transition = transitions.last().map_or(self.next_transition, |entry| entry.number + 1);
        let (new, totals) = self.followed.recent_calls.since(self.next_call, MAX_CALLS);
        self.next_call = totals.begun;
        self.open_calls.extend(new.into_iter().map(|call| (call, None)));
        let surplus = self.open_calls.len().saturating_sub(MAX_CALLS);
        drop(self.open_calls.drain(..surplus));
        let calls = changed(&mut self.open_calls);
        let calls = calls.iter().map(|call| LiveCall::new(call)).collect();
        let report = json(&LiveReport { targets, totals, transitions, calls });
        if report == self.last {
            return None;
        }
        let event = format!("event: update\ndata: {report}\n\n").into();
        self.last = report;
        Some(event)
    }
}

impl<'a> LiveCall<'a> {
    fn new(call: &'a CallRecord) -> Self {
        let is_fallback = |verdict: &Verdict| matches!(verdict, Verdict::FellBack { .. });
        Self {
            number: call.number,
            summary: call.summary(),
            attempts: call.trail().attempts(),
            is_fallback: call.trail().steps().iter().any(|step| is_fallback(&step.verdict)),
        }
    }
}

/// The calls that have changed. Those that have ended are removed.
fn changed(calls: &mut Vec<(Arc<CallRecord>, Option<CallProgress>)>) -> Vec<Arc<CallRecord>> {
    let mut changed = Vec::new();
    calls.retain_mut(|(call, reported)| {
        let progress = call.progress();
        if reported.replace(progress) != Some(progress) {
            changed.push(Arc::clone(call));
        }
        progress.end.is_none()
    });
    changed
}

fn results_of(targets: &Targets) -> Vec<CallResults> {
    targets.iter().map(|target| target.signals.circuit_breaker().subscribe_to_calls()).collect()
}

fn first_tokens(results: &mut CallResults) -> Vec<u64> {
    let mut times = Vec::new();
    while let Some(result) = results.try_next() {
        times.extend(result.duration.filter(|_| result.success).map(as_millis));
    }
    times
}

/// Reports have only names as keys, so this does not fail.
fn json<T: Serialize>(report: &T) -> String {
    serde_json::to_string(report).unwrap_or_default()
}
