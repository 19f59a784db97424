use std::time::Instant;

/// The turn of this process to probe a circuit that several processes share, as far as this process has seen
/// it.
#[derive(Debug, Default)]
pub(crate) struct LocalTurn {
    /// No probe begins at this time or later, unless the turn is renewed; `None` without the turn.
    until: Option<Instant>,
    /// The number of times that the turn began or ended, or could have ended.
    revision: u64,
}

impl LocalTurn {
    /// Changes whenever the turn begins or ends. A reply to a request of another revision is out of date.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Begins or renews the turn until `until`, which is later than now.
    pub(crate) fn begin(&mut self, until: Instant) {
        self.revision += u64::from(self.until.is_none());
        self.until = self.until.max(Some(until));
    }

    pub(crate) fn end(&mut self) {
        self.until = None;
        self.revision += 1;
    }

    /// Whether this process has the turn. It keeps it while the store does not reply, because its probes are
    /// in flight.
    pub(crate) fn is_held(&self) -> bool {
        self.until.is_some()
    }

    /// Whether a probe may begin now.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_begins_is_renewed_and_ends() {
        let (mut turn, now) = (LocalTurn::default(), Instant::now());
        let until = now + Duration::from_secs(2);
        turn.begin(until);
        assert!(turn.admits(now) && !turn.admits(until) && turn.is_held());
        let revision = turn.revision();
        // A renewal is the same turn, and does not shorten it.
        turn.begin(now);
        assert!(turn.admits(now) && turn.revision() == revision);
        turn.end();
        assert!(!turn.is_held() && !turn.admits(now) && turn.revision() != revision);
    }
}
