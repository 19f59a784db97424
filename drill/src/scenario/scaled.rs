use super::{CallerGroup, PlannedFault, ProviderSpec, Scenario, Time};

/// How much smaller a scenario is made for real sockets.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Every duration is divided by this.
    pub time: f64,
    /// The number of calls, and what providers take of them, are divided by this.
    pub load: f64,
}

/// The most that times are divided by: timers have a resolution of a millisecond.
const MAX_TIME: f64 = 60.0;

impl Scale {
    /// No change.
    pub const ONE: Self = Self { time: 1.0, load: 1.0 };

    /// A scenario that takes about `seconds`, with about `calls` calls; longer if the times would become so
    /// short that the load of the machine shows.
    pub fn to(scenario: &Scenario, seconds: f64, calls: f64) -> Self {
        let time = scenario.duration.0.as_secs_f64() / seconds;
        Self { time: time.clamp(1.0, MAX_TIME), load: (scenario.mean_calls() / calls).max(1.0) }
    }

    fn time(self, time: Time) -> Time {
        Time(time.0.div_f64(self.time))
    }

    fn count(self, count: u32) -> u32 {
        ((f64::from(count) / self.load).round() as u32).max(1)
    }
}

impl Scenario {
    /// The same scenario, smaller. Rates are still a minute: they grow by as much as the time shrinks.
    #[must_use]
    pub fn scaled(&self, scale: Scale) -> Self {
        Self {
            duration: scale.time(self.duration),
            callers: self.callers.iter().map(|callers| callers.scaled(scale)).collect(),
            providers: self.providers.iter().map(|provider| provider.scaled(scale)).collect(),
            ..self.clone()
        }
    }
}

impl CallerGroup {
    fn scaled(&self, scale: Scale) -> Self {
        Self {
            per_minute: self.per_minute.map(|rate| rate * scale.time / scale.load),
            burst: self.burst.map(|burst| scale.count(burst)),
            from: scale.time(self.from),
            to: self.to.map(|to| scale.time(to)),
            patience: scale.time(self.patience),
            leave_after: self.leave_after.map(|time| scale.time(time)),
            ..self.clone()
        }
    }
}

impl ProviderSpec {
    fn scaled(&self, scale: Scale) -> Self {
        Self {
            first_token: self.first_token.map(|time| scale.time(time)),
            slow_first_token: self.slow_first_token.map(|time| scale.time(time)),
            pace: scale.time(self.pace),
            capacity: self.capacity.map(|capacity| scale.count(capacity)),
            requests_per_minute: self.requests_per_minute.map(|limit| scale.count(limit)),
            tokens_per_minute: self.tokens_per_minute.map(|limit| scale.count(limit)),
            faults: self.faults.iter().map(|fault| fault.scaled(scale)).collect(),
            ..self.clone()
        }
    }
}

impl PlannedFault {
    fn scaled(&self, scale: Scale) -> Self {
        Self {
            from: scale.time(self.from),
            to: self.to.map(|to| scale.time(to)),
            retry_after: self.retry_after.map(|wait| scale.time(wait)),
            pings: self.pings.map(|every| scale.time(every)),
            capacity: self.capacity.map(|capacity| scale.count(capacity)),
            ..self.clone()
        }
    }
}
