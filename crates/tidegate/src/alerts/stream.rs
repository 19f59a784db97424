use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::monitor::Monitor;
use super::{Alert, Settings};
use crate::clock;
use crate::stack::SignalsSnapshot;

/// The signals of the targets of one chain.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainSignals {
    /// The name of the chain.
    pub name: Arc<str>,
    /// The signals of its targets.
    pub targets: Vec<SignalsSnapshot>,
}

/// The alerts about some stacks, in the order in which they begin and end.
///
/// The signals are read in [`next`](Self::next), every [`interval`](Settings::interval). Nothing runs in
/// between.
pub struct Alerts {
    read: Box<dyn FnMut() -> Vec<SignalsSnapshot> + Send>,
    read_chains: Box<dyn FnMut() -> Vec<ChainSignals> + Send>,
    monitor: Monitor,
    interval: Interval,
    /// Bounded by the number of conditions of all targets.
    pending: VecDeque<Alert>,
}

impl Alerts {
    /// The alerts about the stacks that `read` has the signals of. An alert has the name in its snapshot;
    /// stacks of one name are one target.
    ///
    /// # Panics
    ///
    /// The interval of the settings is out of range, or there is no tokio runtime with a timer.
    pub fn new(settings: Settings, read: impl FnMut() -> Vec<SignalsSnapshot> + Send + 'static) -> Self {
        Self {
            read: Box::new(read),
            read_chains: Box::new(Vec::new),
            interval: delayed(interval(settings.interval)),
            monitor: Monitor::new(settings),
            pending: VecDeque::new(),
        }
    }

    /// Adds alerts about chains: `read` has the signals of the targets of each. A chain of which no target
    /// admits calls is an alert of its own, with its name as `target`.
    #[must_use]
    pub fn chains(self, read: impl FnMut() -> Vec<ChainSignals> + Send + 'static) -> Self {
        Self { read_chains: Box::new(read), ..self }
    }

    /// Replaces the settings. An alert that is raised is cleared by the new ones.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn set_settings(&mut self, settings: Settings) {
        if self.interval.period() != settings.interval {
            self.interval = delayed(interval(settings.interval));
        }
        self.monitor.set_settings(settings);
    }

    /// Ends all alerts that are raised, as [unwatched](super::AlertEnd::Unwatched), and returns them behind
    /// what [`next`](Self::next) has not returned.
    pub fn clear(&mut self) -> Vec<Alert> {
        let mut alerts = self.ready();
        alerts.extend(self.monitor.clear(clock::now()));
        alerts
    }

    /// The alerts that [`next`](Self::next) would return at once.
    pub fn ready(&mut self) -> Vec<Alert> {
        Vec::from(std::mem::take(&mut self.pending))
    }

    /// Waits for the next alert. Cancel safe.
    pub async fn next(&mut self) -> Alert {
        loop {
            if let Some(alert) = self.pending.pop_front() {
                return alert;
            }
            self.interval.tick().await;
            let (signals, chains) = ((self.read)(), (self.read_chains)());
            self.pending.extend(self.monitor.observe(&signals, &chains, clock::now()));
        }
    }
}

fn delayed(mut interval: Interval) -> Interval {
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

partial_debug!([] Alerts, "Alerts", monitor);
