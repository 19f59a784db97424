use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::shared_windows::SentReport;
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::handle::Handle;
use crate::clock;
use crate::store::link::{TaskFlag, TaskGuard, spawn};
use crate::store::{SharedWindow, WindowReport};

/// When the calls of a circuit with a shared window are reported to the store: by a task that runs while
/// there are calls.
#[derive(Debug, Default)]
pub(crate) struct CallReports {
    task: TaskFlag,
    is_urgent: Notify,
}

/// The time between two reports.
const INTERVAL: Duration = Duration::from_millis(100);

/// The time between two reports if the unreported calls could open the circuit.
const URGENT_INTERVAL: Duration = Duration::from_millis(10);

impl CallReports {
    /// Starts the task, unless it runs. Then a bad call may make the next report urgent.
    pub(crate) fn request(&self, circuit: &Handle, is_bad: bool) {
        if let Some(guard) = self.task.try_begin() {
            let reporter = circuit.clone();
            if !spawn(async move { reporter.report_calls(guard).await }) {
                // Without a runtime the local window decides.
                circuit.take_report().into_iter().for_each(|(sent, _)| circuit.on_report_reply(&sent, None));
            }
        } else if is_bad && circuit.with_circuit(Circuit::is_report_urgent) {
            self.is_urgent.notify_one();
        }
    }

    /// Waits for the time of the next report.
    async fn next(&self) {
        sleep(URGENT_INTERVAL).await;
        let _ = timeout(INTERVAL.saturating_sub(URGENT_INTERVAL), self.is_urgent.notified()).await;
    }
}

impl Handle {
    fn take_report(&self) -> Option<(SentReport, WindowReport)> {
        self.with_circuit(|circuit| circuit.take_report(clock::now()))
    }

    fn on_report_reply(&self, sent: &SentReport, reply: Option<SharedWindow>) {
        self.update_at_random(|circuit, now, random| circuit.on_report_reply(sent, reply, now, random));
    }

    /// Reports the calls of this process until there are none, in intervals.
    async fn report_calls(&self, mut guard: TaskGuard) {
        let Some(link) = &self.0.store else { return };
        let name = link.name(self);
        let longest = link.store.shared.settings().timeout.saturating_add(INTERVAL);
        loop {
            while let Some((sent, report)) = self.take_report() {
                let start = clock::now();
                let reply = link.store.shared.report_calls(&name, report).await;
                // A process that was suspended gets totals of the past.
                let is_late = clock::now().saturating_duration_since(start) > longest;
                self.on_report_reply(&sent, reply.ok().filter(|_| !is_late));
                link.reports.next().await;
            }
            drop(guard);
            // A call that was recorded before this has not started another task.
            if !self.with_circuit(Circuit::has_unreported) {
                return;
            }
            let Some(next) = link.reports.task.try_begin() else { return };
            guard = next;
        }
    }
}
