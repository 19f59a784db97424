use std::collections::BTreeMap;
use std::sync::{Once, OnceLock, RwLock};

use metrics::{Counter, Histogram, SharedString, counter, histogram};
use tidegate_core::NotProcessedReason;

use super::names::Metric;
use super::series::{ByCode, ByKey, OK};
use super::{CallTokens, TokenAmounts, names};
use crate::circuit_breaker::{State, Transition};
use crate::events::Decision;
use crate::rate_limit::MAX_TOKENS;
use crate::sync::unpoisoned;
use crate::{ErrorCode, Failure, FailureKind, Gate, Outcome, Rejection, RejectionReason};

/// The most targets with series of their own. The names are those of stacks and targets of the program; if a
/// program makes more of them, the rest share the series of [`OTHER`].
const MAX_TARGETS: usize = 1_000;
const OTHER: &str = "other";

/// The metrics of one target. All parts of the process with the same name share them, and they are kept until
/// its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetMetrics(&'static TargetSeries);

#[derive(Debug, Default)]
struct TargetSeries {
    target: &'static str,
    calls: ByCode<Counter>,
    attempts: ByCode<Counter>,
    durations: ByCode<Histogram>,
    first_token: OnceLock<Histogram>,
    failures: ByKey<(ErrorCode, FailureKind)>,
    broken: ByKey<ErrorCode>,
    rejections: ByKey<(Gate, RejectionReason)>,
    retries: ByKey<Option<ErrorCode>>,
    retried_calls: ByKey<&'static str>,
    retries_denied: OnceLock<Counter>,
    fallbacks: ByKey<&'static str>,
    hedges: ByKey<&'static str>,
    left_out: ByKey<ErrorCode>,
    cache_lookups: ByKey<&'static str>,
    resends: ByKey<NotProcessedReason>,
    transitions: ByKey<State>,
    tokens: OnceLock<TokenSeries>,
    cached: [OnceLock<Counter>; 2],
}

#[derive(Debug)]
struct TokenSeries {
    used_input: Histogram,
    used_output: Histogram,
    reserved_input: Counter,
    reserved_output: Counter,
    possibly_billed: Counter,
}

static TARGETS: RwLock<BTreeMap<&'static str, TargetMetrics>> = RwLock::new(BTreeMap::new());
static DESCRIBED: Once = Once::new();

impl TargetMetrics {
    /// The metrics of the target of this name.
    pub(crate) fn of(target: &str) -> Self {
        let known = unpoisoned(TARGETS.read()).get(target).copied();
        known.unwrap_or_else(|| Self::add(target))
    }

    #[cold]
    fn add(target: &str) -> Self {
        DESCRIBED.call_once(names::describe);
        let mut targets = unpoisoned(TARGETS.write());
        let is_full = targets.len() >= MAX_TARGETS && !targets.contains_key(target);
        let name = if is_full { OTHER } else { target };
        if let Some(known) = targets.get(name) {
            return *known;
        }
        // Bounded by the number of targets.
        let target: &'static str = name.to_owned().leak();
        let series = Box::new(TargetSeries { target, ..TargetSeries::default() });
        let metrics = Self(Box::leak(series));
        targets.insert(target, metrics);
        metrics
    }

    /// Counts the decision in the metrics of `target`.
    #[inline(always)]
    pub(crate) fn record(decision: &Decision, target: &str) {
        let metrics = || Self::of(target);
        let fallback = |kind| metrics().count(|of| &of.fallbacks, kind, names::FALLBACKS, "kind", kind);
        let hedge = |kind| metrics().count(|of| &of.hedges, kind, names::HEDGES, "kind", kind);
        match *decision {
            // `emit_rejected` has counted it.
            Decision::Rejected { .. } => {}
            // The attempts are counted at the wire, with those of stacks without a circuit.
            Decision::AttemptEnded(_) => {}
            Decision::Retried { code, .. } => {
                metrics().count(|of| &of.retries, code, names::RETRIES, "code", label(code));
            }
            Decision::RetryDenied => metrics().record_retry_denied(),
            Decision::SentAgain(reason) => {
                metrics().count(|of| &of.resends, reason, names::RESENDS, "reason", reason.to_string());
            }
            Decision::FellBack { kind, .. } => fallback(kind.name()),
            Decision::Continued { .. } => fallback("continuation"),
            Decision::Hedged { .. } => hedge("sent"),
            Decision::HedgeEnded { won: true } => hedge("won"),
            Decision::HedgeEnded { won: false } => hedge("lost"),
            Decision::HedgeDenied => hedge("denied"),
            Decision::MemberLeftOut { code, .. } => {
                metrics().count(|of| &of.left_out, code, names::GROUP_LEFT_OUT, "code", code.code());
            }
            Decision::CircuitChanged(Transition { to, .. }) => {
                metrics().count(|of| &of.transitions, to, names::TRANSITIONS, "kind", to.name());
            }
            Decision::AdmittedInShadow(_)
            | Decision::AdmittedWhileOpen(_)
            | Decision::Skipped(_)
            | Decision::Waiting { .. }
            | Decision::MemberReturned
            | Decision::LimitMoved { .. } => {}
        }
    }

    /// A call has ended. `None` is success.
    pub(super) fn record_call(self, code: Option<ErrorCode>) {
        let register = || counter!(names::CALLS.name, "target" => self.target(), "code" => label(code));
        self.0.calls.get(code, register).increment(1);
    }

    /// An attempt has a result. `None` is success.
    pub(super) fn record_attempt(self, code: Option<ErrorCode>) {
        let register = || counter!(names::ATTEMPTS.name, "target" => self.target(), "code" => label(code));
        self.0.attempts.get(code, register).increment(1);
    }

    pub(super) fn record_duration(self, code: Option<ErrorCode>, seconds: f64) {
        let register = || match code {
            None => histogram!(names::DURATION.name, "target" => self.target()),
            code => histogram!(names::DURATION.name, "target" => self.target(), "error.type" => label(code)),
        };
        self.0.durations.get(code, register).record(seconds);
    }

    pub(super) fn record_first_token(self, seconds: f64) {
        let register = || histogram!(names::FIRST_TOKEN.name, "target" => self.target());
        self.0.first_token.get_or_init(register).record(seconds);
    }

    /// An attempt has ended. The provider read and wrote these tokens of its prompt from and to its cache.
    pub(super) fn record_cached(self, tokens: [u64; 2]) {
        for ((kind, series), tokens) in ["read", "written"].into_iter().zip(&self.0.cached).zip(tokens) {
            if tokens > 0 {
                let register =
                    || counter!(names::TOKENS_CACHED.name, "target" => self.target(), "kind" => kind);
                series.get_or_init(register).increment(tokens.min(MAX_TOKENS));
            }
        }
    }

    pub(super) fn record_failure(self, failure: &Failure) {
        self.0.failures.increment((failure.code, failure.kind), || {
            let kind = failure.kind.name();
            let code = failure.code.code();
            counter!(names::FAILURES.name, "target" => self.target(), "code" => code, "kind" => kind)
        });
    }

    /// The body of a successful response has failed.
    pub(super) fn record_broken(self, code: ErrorCode) {
        self.count(|of| &of.broken, code, names::BROKEN, "code", code.code());
    }

    pub(crate) fn record_rejection(self, rejection: &Rejection) {
        let (gate, reason) = (rejection.gate(), rejection.reason());
        self.0.rejections.increment((gate, reason), || {
            let (layer, reason) = (gate.name(), reason.as_str());
            counter!(names::REJECTIONS.name, "target" => self.target(), "layer" => layer, "reason" => reason)
        });
    }

    /// A call with at least one retry has ended.
    pub(crate) fn record_retried_call(self, is_success: bool) {
        let kind = if is_success { "success" } else { "failure" };
        self.count(|of| &of.retried_calls, kind, names::RETRIED_CALLS, "kind", kind);
    }

    /// The budget does not cover a retry.
    fn record_retry_denied(self) {
        let register = || counter!(names::RETRIES_DENIED.name, "target" => self.target());
        self.0.retries_denied.get_or_init(register).increment(1);
    }

    pub(crate) fn record_cache_lookup(self, is_hit: bool) {
        let kind = if is_hit { "hit" } else { "miss" };
        self.count(|of| &of.cache_lookups, kind, names::CACHE_LOOKUPS, "kind", kind);
    }

    /// A call has ended under a rate limit that counts tokens.
    pub(crate) fn record_tokens(self, tokens: CallTokens) {
        let CallTokens { used, reserved, possibly_billed } = tokens;
        let series = self.0.tokens.get_or_init(|| TokenSeries::new(self.0.target));
        let TokenAmounts { input, output } = used;
        series.used_input.record(input as f64);
        series.used_output.record(output as f64);
        series.reserved_input.increment(reserved.input);
        series.reserved_output.increment(reserved.output);
        series.possibly_billed.increment(possibly_billed);
    }

    /// Counts in a series that has one label besides the target.
    fn count<K: Copy + Eq>(
        self,
        series: impl FnOnce(&TargetSeries) -> &ByKey<K>,
        key: K,
        metric: Metric,
        label: &'static str,
        value: impl Into<SharedString>,
    ) {
        series(self.0).increment(key, || counter!(metric.name, "target" => self.target(), label => value));
    }

    fn target(self) -> &'static str {
        self.0.target
    }
}

impl TokenSeries {
    fn new(target: &'static str) -> Self {
        let used = |of: &'static str| histogram!(names::TOKEN_USAGE.name, "target" => target, "gen_ai.token.type" => of);
        let reserved =
            |of: &'static str| counter!(names::TOKENS_RESERVED.name, "target" => target, "kind" => of);
        Self {
            used_input: used("input"),
            used_output: used("output"),
            reserved_input: reserved("input"),
            reserved_output: reserved("output"),
            possibly_billed: counter!(names::TOKENS_POSSIBLY_BILLED.name, "target" => target),
        }
    }
}

/// The metrics of the target that a layer is named after, looked up once.
#[derive(Debug, Default)]
pub(crate) struct TargetMetricsCell(OnceLock<TargetMetrics>);

impl TargetMetricsCell {
    pub(crate) fn get(&self, target: &str) -> TargetMetrics {
        *self.0.get_or_init(|| TargetMetrics::of(target))
    }
}

/// The code of an outcome; `None` is success.
pub(super) fn code_of(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.failure().map(|failure| failure.code)
}

fn label(code: Option<ErrorCode>) -> &'static str {
    code.map_or(OK, ErrorCode::code)
}

#[cfg(test)]
mod tests {
    use super::{MAX_TARGETS, OTHER, TargetMetrics};

    #[test]
    fn names_above_the_limit_share_their_series() {
        let first = TargetMetrics::of("first").target();
        let name = |from: &str, number: &usize| TargetMetrics::of(&format!("{from}-{number}")).target();
        let own = (0..2 * MAX_TARGETS).filter(|number| name("a", number) != OTHER).count();
        assert!(own < MAX_TARGETS, "{own}");
        assert!((0..MAX_TARGETS).all(|number| name("b", &number) == OTHER));
        assert_eq!(TargetMetrics::of("first").target(), first, "a known name keeps its series");
    }
}
