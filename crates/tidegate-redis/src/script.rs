//! The scripts, and their arguments and replies.

use std::time::Duration;

use redis::{Script, ScriptInvocation};
use tidegate::provider::LimitUnit;
use tidegate::store::{
    CircuitChange, CircuitView, LeaseGrant, LeaseRequest, QuotaRequest, ReportedCalls, SharedCooldown,
    SharedWindow, WindowReport, WindowSpan, WindowTotals,
};

/// The decisions of a token bucket, without input or output.
pub(crate) const BUCKET: &str = include_str!("scripts/bucket.lua");
const SERVER_TIME: &str = include_str!("scripts/server_time.lua");
const TAKE_LEASE: &str = include_str!("scripts/take_lease.lua");
const CLOSE: &str = include_str!("scripts/close.lua");
const OPEN: &str = include_str!("scripts/open.lua");
const CIRCUIT: &str = include_str!("scripts/circuit.lua");
const WINDOW: &str = include_str!("scripts/window.lua");

/// The scripts as the server caches them.
pub(crate) struct Scripts {
    take_lease: Script,
    close: Script,
    open: Script,
    circuit: Script,
    window: Script,
}

/// The names of the keys of one limit, which have one hash tag.
pub(crate) struct Keys {
    buckets: String,
    processes: String,
    circuit: String,
    window: String,
}

/// The process that publishes a change, and the name of what has changed.
pub(crate) struct Sender<'a> {
    pub(crate) channel: &'a str,
    pub(crate) name: &'a str,
    pub(crate) process: &'a str,
}

/// A debt of more than ten years is the same as one of ten years. Larger numbers are not exact in a script.
const MAX_MICROS: u128 = 10 * 365 * 24 * 60 * 60 * 1_000_000;

impl Scripts {
    pub(crate) fn new() -> Self {
        let with_bucket = |script| Script::new(&[BUCKET, SERVER_TIME, script].concat());
        let with_time = |script| Script::new(&[SERVER_TIME, script].concat());
        Self {
            take_lease: with_bucket(TAKE_LEASE),
            close: with_bucket(CLOSE),
            open: with_bucket(OPEN),
            circuit: with_time(CIRCUIT),
            window: with_time(WINDOW),
        }
    }

    pub(crate) fn take_lease(
        &self,
        keys: &Keys,
        process: &str,
        request: &LeaseRequest,
    ) -> ScriptInvocation<'_> {
        let mut script = self.take_lease.key(&keys.buckets);
        script.key(&keys.processes).arg(process).arg(micros(request.horizon)).arg(micros(request.outage));
        for (index, quota) in request.quotas.iter().enumerate() {
            let is_same = |it: &&QuotaRequest| (it.unit, it.period) == (quota.unit, quota.period);
            let earlier = request.quotas[..index].iter().filter(is_same).count();
            script.arg(field(quota, earlier)).arg(unit_micros(quota)).arg(quota.burst).arg(quota.amount);
            script.arg(quota.returned).arg(micros(quota.returned_age)).arg(quota.charged);
            script.arg(micros(quota.known_debt)).arg(quota.spent_alone).arg(quota.spent_alone_debt);
        }
        script
    }

    pub(crate) fn close(
        &self,
        keys: &Keys,
        sender: &Sender<'_>,
        cooldown: &SharedCooldown,
    ) -> ScriptInvocation<'_> {
        let mut script = self.close.key(&keys.buckets);
        script.arg(micros(cooldown.wait)).arg(sender.channel).arg(sender.name).arg(sender.process);
        script.arg(micros(cooldown.age));
        if let Some(quota) = &cooldown.pacing {
            // The first of its unit.
            script.arg(field(quota, 0)).arg(unit_micros(quota)).arg(quota.burst);
        }
        script
    }

    pub(crate) fn open(
        &self,
        keys: &Keys,
        sender: &Sender<'_>,
        age: Duration,
        pacing: Option<&QuotaRequest>,
    ) -> ScriptInvocation<'_> {
        let mut script = self.open.key(&keys.buckets);
        script.arg(sender.channel).arg(sender.name).arg(sender.process).arg(micros(age));
        if let Some(quota) = pacing {
            script.arg(field(quota, 0));
        }
        script
    }
}

impl Scripts {
    pub(crate) fn circuit(
        &self,
        keys: &Keys,
        sender: &Sender<'_>,
        change: CircuitChange,
    ) -> ScriptInvocation<'_> {
        let grace = match change {
            CircuitChange::TakeTurn { grace, .. }
            | CircuitChange::Restore { grace, .. }
            | CircuitChange::Reopen { grace, .. } => grace,
            _ => Duration::ZERO,
        };
        let age = match change {
            CircuitChange::Reopen { age, .. } | CircuitChange::Reclose { age } => age,
            _ => Duration::ZERO,
        };
        let (change, time, is_quota) = match change {
            CircuitChange::Open { wait, is_quota } => ("open", wait, is_quota),
            CircuitChange::Restore { wait, is_quota, .. } => ("restore", wait, is_quota),
            CircuitChange::Reopen { wait, is_quota, .. } => ("reopen", wait, is_quota),
            CircuitChange::Reclose { .. } => ("reclose", Duration::ZERO, false),
            CircuitChange::Close => ("close", Duration::ZERO, false),
            CircuitChange::TakeTurn { lease, .. } => ("take_turn", lease, false),
            CircuitChange::KeepTurn { lease } => ("keep_turn", lease, false),
            CircuitChange::EndTurn => ("end_turn", Duration::ZERO, false),
            // A change that is not known here changes nothing.
            _ => ("read", Duration::ZERO, false),
        };
        let mut script = self.circuit.key(&keys.circuit);
        script.arg(change).arg(sender.process).arg(micros(time)).arg(u8::from(is_quota));
        script.arg(sender.channel).arg(sender.name).arg(micros(grace)).arg(micros(age));
        script
    }
}

impl Scripts {
    pub(crate) fn report_calls(&self, keys: &Keys, report: &WindowReport) -> ScriptInvocation<'_> {
        let mut script = self.window.key(&keys.window);
        let closed_for = report.closed_for.map_or(0, |time| micros(time).max(1));
        script.arg(report.number).arg(closed_for);
        for (name, reported) in [("results", report.results), ("latencies", report.latencies)] {
            // What is not counted has no field.
            let Some(ReportedCalls { span, added, .. }) = reported else {
                script.arg("").arg("").arg(0).arg(0).arg(0);
                continue;
            };
            let (kind, length) = match span {
                WindowSpan::Calls(size) => ("calls", size.into()),
                WindowSpan::Time(time) => ("time", micros(time)),
            };
            script.arg(format!("{name}/{kind}:{length}")).arg(kind).arg(length);
            script.arg(added.bad).arg(added.calls);
        }
        script
    }
}

impl Keys {
    pub(crate) fn new(prefix: &str, name: &str) -> Self {
        // A brace in a name would end the hash tag. The names of layers have no other `%` than in `%25` and
        // `%3A`.
        let name = name.replace('{', "%7B").replace('}', "%7D");
        Self {
            buckets: format!("{prefix}:{{{name}}}:buckets"),
            processes: format!("{prefix}:{{{name}}}:processes"),
            circuit: format!("{prefix}:{{{name}}}:circuit"),
            window: format!("{prefix}:{{{name}}}:window"),
        }
    }
}

/// The lease in the reply to `take_lease`.
pub(crate) fn lease(reply: &[i64]) -> Option<LeaseGrant> {
    let [granted, wait, closed_for, processes, debts @ ..] = reply else { return None };
    let time = |micros: &i64| Duration::from_micros(u64::try_from(*micros).unwrap_or(0));
    Some(LeaseGrant {
        is_granted: *granted == 1,
        wait: time(wait),
        debts: debts.iter().map(time).collect(),
        closed_for: time(closed_for),
        processes: u32::try_from(*processes).unwrap_or(1),
    })
}

/// The window in the reply to `report_calls`.
pub(crate) fn shared_window(reply: &[u64]) -> Option<SharedWindow> {
    let [number, bad_results, results, bad_latencies, latencies] = *reply else { return None };
    Some(SharedWindow {
        number,
        results: WindowTotals { bad: bad_results, calls: results },
        latencies: WindowTotals { bad: bad_latencies, calls: latencies },
    })
}

/// The state in the reply to `circuit`.
pub(crate) fn circuit_view(reply: &[i64]) -> Option<CircuitView> {
    Some(match reply {
        [0, ..] => CircuitView::Unknown,
        [1, ..] => CircuitView::Closed,
        [2, wait, is_quota, has_turn] => CircuitView::Open {
            wait: Duration::from_micros(u64::try_from(*wait).ok()?),
            is_quota: *is_quota == 1,
            has_turn: *has_turn == 1,
        },
        _ => return None,
    })
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros().min(MAX_MICROS)).unwrap_or(u64::MAX)
}

/// The field of a quota. `earlier` is the number of quotas before it with the same unit and period. A quota
/// with another unit or period is another one; with another amount it is the same one with changed settings.
fn field(quota: &QuotaRequest, earlier: usize) -> String {
    let unit = match quota.unit {
        LimitUnit::Requests => "requests",
        LimitUnit::Tokens => "tokens",
        LimitUnit::InputTokens => "input_tokens",
        LimitUnit::OutputTokens => "output_tokens",
    };
    let period = micros(quota.period);
    match earlier {
        0 => format!("{unit}/{period}"),
        _ => format!("{unit}/{period}/{earlier}"),
    }
}

/// The time in which one unit refills.
fn unit_micros(quota: &QuotaRequest) -> f64 {
    micros(quota.period) as f64 / quota.count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: `a{b}` had the keys of `ab`.
    #[test]
    fn a_brace_in_a_name_does_not_end_the_hash_tag() {
        for (name, key) in [
            ("rate::a/b", "p:{rate::a/b}:buckets"),
            ("rate::{a}/b", "p:{rate::%7Ba%7D/b}:buckets"),
            ("rate::a/b:8%3A", "p:{rate::a/b:8%3A}:buckets"),
        ] {
            assert_eq!(Keys::new("p", name).buckets, key);
        }
    }
}
