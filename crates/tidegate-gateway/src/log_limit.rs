use std::time::Duration;

use tokio::time::Instant;

/// Limits a line of the log to one a second.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last_line: Option<Instant>,
    since: u64,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl LogLimit {
    /// Counts an occurrence. If a line may be written now, returns the number of occurrences since the last
    /// one.
    pub(crate) fn count(&mut self) -> Option<u64> {
        self.since += 1;
        if self.last_line.is_some_and(|last| last.elapsed() < INTERVAL) {
            return None;
        }
        let since = self.since;
        *self = Self { last_line: Some(Instant::now()), since: 0 };
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_a_second_has_the_number_of_occurrences() {
        let mut limit = LogLimit::default();
        let mut lines = Vec::new();
        for _ in 0..25 {
            lines.extend(limit.count());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(lines, [1, 10, 10]);
    }
}
