use std::collections::VecDeque;
use std::fmt;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::monitor::Monitor;
use super::{Alert, Settings};
use crate::clock;
use crate::stack::SignalsSnapshot;

/// The alerts about some stacks, in the order in which they begin and end.
///
/// The signals are read in [`next`](Self::next), every [`interval`](Settings::interval). Nothing runs in between.
pub struct Alerts {
    read: Box<dyn FnMut() -> Vec<SignalsSnapshot> + Send>,
    monitor: Monitor,
    interval: Interval,
    /// Bounded by the number of conditions of all targets.
    pending: VecDeque<Alert>,
}

impl Alerts {
    /// The alerts about the stacks that `read` has the signals of. An alert has the name in its snapshot; stacks of one
    /// name are one target.
    ///
    /// # Panics
    ///
    /// The interval of the settings is zero, or there is no tokio runtime with a timer.
    pub fn new(settings: Settings, read: impl FnMut() -> Vec<SignalsSnapshot> + Send + 'static) -> Self {
        let mut interval = interval(settings.interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { read: Box::new(read), monitor: Monitor::new(settings), interval, pending: VecDeque::new() }
    }

    /// Waits for the next alert. Cancel safe.
    pub async fn next(&mut self) -> Alert {
        loop {
            if let Some(alert) = self.pending.pop_front() {
                return alert;
            }
            self.interval.tick().await;
            self.pending.extend(self.monitor.observe(&(self.read)(), clock::now()));
        }
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}
