use std::time::Duration;

/// Durations in order.
#[derive(Debug)]
pub(super) struct Quantiles(Vec<Duration>);

impl Quantiles {
    pub(super) fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        Self(times)
    }

    /// The least duration that this share of them does not exceed; `None` if there are none.
    pub(super) fn at(&self, share: f64) -> Option<Duration> {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let at = |count: u64, share| {
            let quantiles = Quantiles::of((1..=count).rev().map(Duration::from_secs));
            quantiles.at(share).map(|time| time.as_secs())
        };
        assert_eq!((at(0, 0.5), at(1, 0.5), at(1, 0.99)), (None, Some(1), Some(1)));
        assert_eq!((at(4, 0.5), at(5, 0.5), at(200, 0.99)), (Some(2), Some(3), Some(198)));
    }
}
