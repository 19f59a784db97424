use std::time::{Duration, Instant};

/// The traffic that comes back after a circuit has closed: a share of the calls that grows to all of them.
///
/// The share is kept by a counter and not by dice. Of any run of calls it admits the share to within one call,
/// where dice let bursts through and, with few calls a second, keep somebody out for long by bad luck. The share
/// begins at a tenth and grows evenly, as in Envoy's slow start (`min_weight_percent` 10, aggression 1).
#[derive(Debug)]
pub(super) struct RampUp {
    since: Instant,
    over: Duration,
    /// What has come together of the next call to be admitted.
    credit: f64,
}

const MIN_SHARE: f64 = 0.1;

/// Nobody knows which call will be the next to pass, but it will be soon.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(1);

impl RampUp {
    /// A ramp that begins at `now`; its first call passes.
    pub(super) fn new(over: Duration, now: Instant) -> Self {
        Self { since: now, over, credit: 1.0 }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.remaining(now).is_zero()
    }

    /// Lets a call pass, or says when to try again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        self.credit += self.share(now);
        if self.credit < 1.0 {
            return Err(self.remaining(now).min(MAX_RETRY_AFTER));
        }
        self.credit -= 1.0;
        Ok(())
    }

    fn share(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64() / self.over.as_secs_f64();
        if elapsed.is_nan() { 1.0 } else { MIN_SHARE + (1.0 - MIN_SHARE) * elapsed.min(1.0) }
    }

    fn remaining(&self, now: Instant) -> Duration {
        self.over.saturating_sub(now.saturating_duration_since(self.since))
    }
}
