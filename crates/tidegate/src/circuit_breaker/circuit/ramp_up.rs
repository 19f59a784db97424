use std::time::{Duration, Instant};

/// Ramps the traffic up after a circuit has closed: the admitted share of the calls grows to all of them.
///
/// The share is kept by a counter and not by random draws. Of any run of calls the counter admits the share
/// to within one call. Random draws would let bursts through and, with few calls a second, could reject a
/// caller for long. The share begins at a tenth and grows evenly, as in Envoy's slow start
/// (`min_weight_percent` 10, aggression 1).
#[derive(Debug)]
pub(crate) struct RampUp {
    since: Instant,
    over: Duration,
    /// The part of the next admitted call that has accumulated.
    credit: f64,
}

const MIN_SHARE: f64 = 0.1;

/// It is not known which call is admitted next, but it will be soon.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(1);

impl RampUp {
    /// Creates a ramp that begins at `now`. Its first call is admitted.
    pub(crate) fn new(over: Duration, now: Instant) -> Self {
        Self { since: now, over, credit: 1.0 }
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.remaining(now).is_zero()
    }

    /// Admits a call, or returns when to try again.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
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
