//! Every metric: its name, unit and description. `docs/metrics.md` lists them with their labels.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric that is registered.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    kind: MetricKind,
    unit: Unit,
    description: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines the metrics as constants, and the list of all of them.
macro_rules! metrics {
    ($($id:ident = $kind:ident($unit:ident, $name:literal, $description:literal);)*) => {
        $(pub(super) const $id: Metric =
            Metric { name: $name, kind: MetricKind::$kind, unit: Unit::$unit, description: $description };)*
        const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    CALLS = Counter(Count, "tidegate.calls", "Calls of a stack, by their result");
    ATTEMPTS = Counter(Count, "tidegate.attempts", "Requests that were sent to the provider, by their result");
    FAILURES = Counter(Count, "tidegate.failures", "Failures of attempts, those of begun streams included");
    BROKEN = Counter(Count, "tidegate.responses.broken", "Successful responses whose body failed later");
    REJECTIONS = Counter(Count, "tidegate.rejections", "Attempts that a layer rejected, so that they were not sent");
    RETRIES = Counter(Count, "tidegate.retries", "Retries, by the result of the attempt before");
    RETRIED_CALLS = Counter(Count, "tidegate.retried_calls", "Calls with at least one retry, by their result");
    RETRIES_DENIED = Counter(Count, "tidegate.retries.denied", "Retries that the retry budget did not cover");
    FALLBACKS = Counter(Count, "tidegate.fallbacks", "Calls that went on to this target or last resort");
    HEDGES = Counter(Count, "tidegate.hedges", "Late requests that were sent once more to this target");
    GROUP_CHOICES = Counter(Count, "tidegate.group.choices", "Attempts that a group gave to this member, by the reason");
    GROUP_LEFT_OUT = Counter(Count, "tidegate.group.left_out", "Times that a group left this member out after a failure");
    CACHE_LOOKUPS = Counter(Count, "tidegate.cache.lookups", "Look-ups of answers when all targets have failed");
    RESENDS = Counter(Count, "tidegate.resends", "Requests sent again because they were not processed");
    TRANSITIONS = Counter(Count, "tidegate.circuit.transitions", "Changes of a circuit to this state");
    TOKENS_RESERVED = Counter(Count, "tidegate.tokens.reserved", "Tokens reserved from quotas");
    TOKENS_POSSIBLY_BILLED =
        Counter(Count, "tidegate.tokens.possibly_billed", "Output reserved for attempts of unknown use");
    TOKENS_CACHED = Counter(Count, "tidegate.tokens.cached", "Prompt tokens read from, or written to, a provider's cache");
    DURATION = Histogram(Seconds, "gen_ai.client.operation.duration", "Time of an attempt, to the end of its body");
    FIRST_TOKEN = Histogram(Seconds, "gen_ai.server.time_to_first_token", "Time of an attempt to its first token");
    TOKEN_USAGE = Histogram(Count, "gen_ai.client.token.usage", "Tokens that a call used");
    INFLIGHT = Gauge(Count, "tidegate.inflight", "Calls in flight under a limit");
    INFLIGHT_LIMIT = Gauge(Count, "tidegate.inflight.limit", "The limit of calls in flight");
    QUEUED = Gauge(Count, "tidegate.inflight.queued", "Calls that wait for a permit");
    RATE_QUEUED = Gauge(Count, "tidegate.rate_limit.queued", "Calls that wait for a quota");
    REQUESTS_REMAINING = Gauge(Count, "tidegate.rate_limit.requests.remaining", "Requests that could be sent now");
    TOKENS_REMAINING = Gauge(Count, "tidegate.rate_limit.tokens.remaining", "Tokens that could be used now");
    RATE_COOLDOWN =
        Gauge(Seconds, "tidegate.rate_limit.cooldown", "Rest of the time for which the provider closed the rate limit");
    RATE_SHARED = Gauge(Count, "tidegate.rate_limit.shared", "1 if the store of a shared rate limit replies, else 0");
    RATE_PROCESSES = Gauge(Count, "tidegate.rate_limit.processes", "Processes that share a rate limit");
    CIRCUIT_STATE = Gauge(Count, "tidegate.circuit.state", "0 closed, 1 half-open, 2 open");
    CIRCUIT_WINDOW_SHARED =
        Gauge(Count, "tidegate.circuit.window_shared", "1 if the rates of a circuit are those of all processes, else 0");
    ADMITS_CALLS = Gauge(Count, "tidegate.admits_calls", "1 if calls are admitted, of some key if there are keys, else 0");
    CIRCUIT_COOLDOWN = Gauge(Seconds, "tidegate.circuit.cooldown", "Time until an open circuit admits a probe");
}

/// Describes every metric to the recorder.
pub(super) fn describe() {
    for Metric { name, kind, unit, description } in ALL {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *unit, *description),
            MetricKind::Gauge => describe_gauge!(*name, *unit, *description),
            MetricKind::Histogram => describe_histogram!(*name, *unit, *description),
        }
    }
}
