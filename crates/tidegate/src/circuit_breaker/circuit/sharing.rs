//! What a circuit does that several processes share: turns to probe, reports of calls, and changes of state
//! elsewhere.

use std::mem;
use std::time::{Duration, Instant};

use super::{Circuit, Phase, UnsharedChange};
use crate::circuit_breaker::reason::Reason;
use crate::circuit_breaker::rejections::RejectionCause;
use crate::circuit_breaker::shared::{LocalTurn, SentReport};
use crate::clock;
use crate::store::{CircuitChange, SharedWindow, WindowReport};

impl Circuit {
    /// Lets one of several processes probe at a time, and none before its turn has [begun](Self::begin_turn).
    pub(crate) fn share(&mut self) {
        self.turn = Some(LocalTurn::default());
        if self.settings.shared_window {
            self.windows.share();
        }
    }

    /// Begins or renews the turn of this process to probe.
    pub(crate) fn begin_turn(&mut self, until: Instant) {
        self.turn.iter_mut().for_each(|turn| turn.begin(until));
    }

    /// Another process may have the turn to probe. Probes in flight stay.
    pub(crate) fn end_turn(&mut self) {
        self.turn.iter_mut().for_each(LocalTurn::end);
    }

    /// Ends the turn of this process to probe if it has no probe in flight. Returns whether it had the turn
    /// and has none now.
    pub(crate) fn end_idle_turn(&mut self) -> bool {
        let is_idle = self.has_turn() && self.probes() == 0;
        if is_idle {
            self.end_turn();
        }
        is_idle
    }

    /// Whether it was forced while probes were in flight: the turn ends by itself, and not before them.
    pub(crate) fn is_forced_with_probes(&self) -> bool {
        matches!(self.phase, Phase::Forced { has_probes: true, .. })
    }

    /// Whether it is the turn of this process to probe.
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.as_ref().is_some_and(LocalTurn::is_held)
    }

    /// Whether it is the turn of this process, and a probe may begin at `now`.
    pub(crate) fn may_probe(&self, now: Instant) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.admits(now))
    }

    /// Changes whenever the turn of this process begins or ends.
    pub(crate) fn turn_revision(&self) -> u64 {
        self.turn.as_ref().map_or(0, LocalTurn::revision)
    }

    /// Whether there are calls that are not reported to the store yet, if the window is shared.
    pub(crate) fn has_unreported(&mut self) -> bool {
        self.windows.shared().is_some_and(|shared| shared.has_unreported())
    }

    /// Whether the calls that are not reported yet could open the circuit by themselves.
    pub(crate) fn is_report_urgent(&mut self) -> bool {
        let Self { windows, settings, .. } = self;
        windows.shared().is_some_and(|shared| shared.is_urgent(settings))
    }

    /// Takes the calls that are not reported yet, if there are any.
    pub(crate) fn take_report(&mut self, now: Instant) -> Option<(SentReport, WindowReport)> {
        self.windows.take_report(&self.settings, now)
    }

    /// Handles the reply of the store to a report; `None` if there was none in time. Opens the circuit if a
    /// rate of all processes has become too large.
    pub(crate) fn on_report_reply(
        &mut self,
        sent: &SentReport,
        reply: Option<SharedWindow>,
        now: Instant,
        random: f64,
    ) {
        let reason = self.windows.on_reply(sent, reply, &self.settings, now);
        if let (Some(reason), Phase::Closed { .. }) = (reason, &self.phase) {
            self.open_for_cooldown(reason, now, random);
        }
    }

    /// Whether the rates are those of all processes; `None` if the window is not shared.
    pub(crate) fn is_window_of_all(&mut self) -> Option<bool> {
        let is_decided_by_all = self.windows.is_decided_by_all();
        self.windows.shared().map(|_| is_decided_by_all)
    }

    /// The rest of the cooldown of an open circuit, and whether the quota is exhausted.
    pub(crate) fn remaining_cooldown(&self, now: Instant) -> Option<(Duration, bool)> {
        match self.phase {
            Phase::Open { until, cause } if now < until => {
                Some((until - now, cause == RejectionCause::Quota))
            }
            _ => None,
        }
    }

    /// The generation of the latest change of state of this process, if the store has not replied to it.
    pub(crate) fn unshared_generation(&self) -> Option<u64> {
        self.unshared.map(|change| change.generation)
    }

    /// The change to send, with its generation. `grace` is the time for which no turn is granted by a store
    /// that has lost the circuit.
    pub(crate) fn next_unshared(&mut self, grace: Duration, now: Instant) -> Option<(u64, CircuitChange)> {
        let (wait, is_quota) = self.remaining_cooldown(now).unwrap_or_default();
        let UnsharedChange { generation, at, is_sent } = self.unshared.as_mut()?;
        let age = now.saturating_duration_since(*at);
        let change = match (&self.phase, mem::replace(is_sent, true)) {
            (Phase::Closed { .. }, false) => CircuitChange::Close,
            (Phase::Closed { .. }, true) => CircuitChange::Reclose { age },
            (Phase::Open { .. }, false) => CircuitChange::Open { wait, is_quota },
            (Phase::Open { .. } | Phase::HalfOpen { .. }, _) => {
                CircuitChange::Reopen { wait, is_quota, grace, age }
            }
            (Phase::Forced { .. }, _) => return None,
        };
        Some((*generation, change))
    }

    /// The store has replied to the change of this generation.
    pub(crate) fn on_shared(&mut self, generation: u64) {
        self.unshared.take_if(|change| change.generation == generation);
    }

    /// The cooldown of the open circuit was extended at `at`, and the store has not replied to that.
    pub(crate) fn on_wait_unshared(&mut self, at: Instant) {
        if let Phase::Open { .. } = self.phase {
            self.unshared = Some(UnsharedChange { generation: self.generation, at, is_sent: true });
        }
    }

    /// How long ago the cooldown of an open circuit ended.
    pub(crate) fn cooldown_over_for(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Open { until, .. } => now.saturating_duration_since(until),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => Duration::ZERO,
        }
    }

    /// Another process has opened the circuit for `wait`. The later of two times holds.
    pub(crate) fn open_elsewhere(&mut self, wait: Duration, is_quota: bool, now: Instant) {
        let end = clock::after(wait, now);
        // A circuit that opens ends every turn.
        self.end_turn();
        let cause = if is_quota { RejectionCause::Quota } else { RejectionCause::Failing };
        let is_opening = match self.phase {
            Phase::Forced { .. } => false,
            // The end of the same cooldown may be a moment later in the store. Another one takes its time.
            Phase::Open { until, .. } => {
                until <= now && end.saturating_duration_since(until) >= self.settings.cooldown / 2
            }
            Phase::Closed { .. } | Phase::HalfOpen { .. } => true,
        };
        if is_opening && is_quota {
            self.cooldown.on_quota_opening(now);
        } else if is_opening {
            self.cooldown.on_opening_elsewhere(wait, &self.settings, now);
        }
        match &mut self.phase {
            Phase::Forced { .. } => {}
            Phase::Open { until, cause: own } => {
                *until = end.max(*until);
                if is_quota {
                    *own = cause;
                }
            }
            Phase::Closed { .. } | Phase::HalfOpen { .. } => {
                self.open(end, cause, Reason::OpenElsewhere, now);
            }
        }
    }

    /// The cooldown of the circuit has passed in the store, and another process may have the turn. A closed
    /// circuit has missed that it was opened, and opens as well, so that its calls need the turn.
    pub(crate) fn half_open_elsewhere(&mut self, is_quota: bool, now: Instant) {
        match self.phase {
            Phase::Closed { .. } => self.open_elsewhere(Duration::ZERO, is_quota, now),
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => self.end_turn(),
        }
    }

    /// Another process has closed the circuit.
    pub(crate) fn close_elsewhere(&mut self, now: Instant) {
        if let Phase::Open { .. } | Phase::HalfOpen { .. } = self.phase {
            self.close(self.new_ramp_up(now), Reason::ClosedElsewhere, now);
        }
    }
}
