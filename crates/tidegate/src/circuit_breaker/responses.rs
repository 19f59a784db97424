//! What the responses of admitted attempts change.

use super::Handle;
use super::attempt_result::{AttemptResult, Latency};
use super::circuit::CircuitAdmission;
use crate::clock;

impl Handle {
    /// Handles the head of a successful response.
    pub(super) fn record_head(
        &self,
        admission: CircuitAdmission,
        is_proven: bool,
        latency: Latency,
    ) -> Option<CircuitAdmission> {
        let recorded = self.0.circuit.record_head(admission, is_proven, latency, clock::now);
        let admission = self.emit_transition(recorded);
        if latency != Latency::Unknown {
            self.report(latency == Latency::Slow);
        }
        admission
    }

    pub(super) fn record(&self, admission: CircuitAdmission, result: AttemptResult, latency: Latency) {
        let link = self.0.store.as_ref().filter(|_| !matches!(result, AttemptResult::Success));
        let previous = link.map(|link| (link, self.0.circuit.cooldown()));
        let recorded = self.0.circuit.record(admission, result, latency, clock::now);
        let is_shared = recorded.1.is_some();
        self.emit_transition(recorded);
        if let Some((link, cooldown)) = previous
            && !is_shared
            && self.0.circuit.cooldown() != cooldown
        {
            link.share_wait(self);
        }
        self.report(latency == Latency::Slow || matches!(result, AttemptResult::Failure(..)));
    }

    /// Requests a report of the recorded calls to the store, if the window is shared. A bad call may be
    /// urgent.
    #[inline]
    fn report(&self, is_bad: bool) {
        if self.settings().shared_window
            && let Some(link) = &self.0.store
        {
            link.reports.request(self, is_bad);
        }
    }
}
