use std::time::Duration;

use super::{CircuitChange, CircuitView};

/// What a store keeps of a circuit, as plain data: changes and the time of the store in, views out.
///
/// For a store of one's own. The script in `tidegate-redis` decides in the same way, by the same table of
/// cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitRecord {
    state: RecordedState,
    /// When a process opened or closed it for the last time, as far as that is known.
    since: Duration,
    turn: Option<ProbeTurn>,
}

/// Times are those of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RecordedState {
    #[default]
    Unknown,
    Closed,
    Open {
        until: Duration,
        is_quota: bool,
    },
}

/// The turn to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProbeTurn {
    /// `None` while it is not known whether a process probes.
    process: Option<String>,
    until: Duration,
}

impl CircuitRecord {
    /// Applies the change of a process, and returns what that process sees then. `now` is the time of the
    /// store since any fixed moment.
    pub fn apply(&mut self, change: CircuitChange, process: &str, now: Duration) -> CircuitView {
        self.turn.take_if(|turn| turn.until <= now);
        match change {
            CircuitChange::Read => {}
            CircuitChange::Open { wait, is_quota } => {
                self.since = now;
                self.open(wait, is_quota, now);
            }
            CircuitChange::Restore { wait, is_quota, grace } => self.restore(wait, is_quota, grace, now),
            CircuitChange::Reopen { wait, is_quota, grace, age } => {
                self.end_turn(process);
                let opened = now.saturating_sub(age);
                if self.state == RecordedState::Closed && self.since <= opened {
                    self.open(wait, is_quota, now);
                } else {
                    self.restore(wait, is_quota, grace, now);
                }
                self.since = self.since.max(opened);
            }
            CircuitChange::Close => self.close(now),
            CircuitChange::Reclose { age } => {
                let closed = now.saturating_sub(age);
                if self.state != RecordedState::Closed && self.since <= closed {
                    self.close(closed);
                }
            }
            CircuitChange::TakeTurn { grace, .. } if self.state == RecordedState::Unknown => {
                self.state = RecordedState::Open { until: now, is_quota: false };
                self.turn = Some(ProbeTurn { process: None, until: now + grace });
            }
            CircuitChange::TakeTurn { lease, .. } => self.take_turn(process, lease, now),
            CircuitChange::KeepTurn { lease } => self.keep_turn(process, lease, now),
            CircuitChange::EndTurn => self.end_turn(process),
        }
        self.view(process, now)
    }

    fn open(&mut self, wait: Duration, is_quota: bool, now: Duration) {
        self.extend(wait, is_quota, now);
        self.turn = None;
    }

    fn close(&mut self, since: Duration) {
        *self = Self { state: RecordedState::Closed, since, turn: None };
    }

    fn has_turn(&self, process: &str) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.process.as_deref() == Some(process))
    }

    fn end_turn(&mut self, process: &str) {
        self.turn.take_if(|turn| turn.process.as_deref() == Some(process));
    }

    /// Of two times the later holds. While the circuit is open, an exhausted quota stays exhausted.
    fn extend(&mut self, wait: Duration, is_quota: bool, now: Duration) {
        let (end, was_quota) = match self.state {
            RecordedState::Open { until, is_quota } if until > now => (until, is_quota),
            _ => (now, false),
        };
        self.state = RecordedState::Open { until: end.max(now + wait), is_quota: is_quota || was_quota };
    }

    /// The circuit was open before the store lost it. Whether a process probed is not known until the grace
    /// has passed.
    fn restore(&mut self, wait: Duration, is_quota: bool, grace: Duration, now: Duration) {
        let is_probed = self.turn.as_ref().is_some_and(|turn| turn.process.is_some());
        match self.state {
            RecordedState::Unknown => {
                self.extend(wait, is_quota, now);
                self.turn = Some(ProbeTurn { process: None, until: now + grace });
            }
            RecordedState::Open { .. } if !is_probed => self.extend(wait, is_quota, now),
            RecordedState::Open { .. } | RecordedState::Closed => {}
        }
    }

    /// A process that had the turn when the store lost it has it again.
    fn keep_turn(&mut self, process: &str, lease: Duration, now: Duration) {
        let is_unknown = self.state == RecordedState::Unknown;
        if is_unknown {
            self.state = RecordedState::Open { until: now, is_quota: false };
        }
        if is_unknown || self.turn.as_ref().is_some_and(|turn| turn.process.is_none()) {
            self.turn = Some(ProbeTurn { process: Some(process.to_owned()), until: now + lease });
        } else {
            self.take_turn(process, lease, now);
        }
    }

    fn take_turn(&mut self, process: &str, lease: Duration, now: Duration) {
        let is_free = self.turn.as_ref().is_none_or(|turn| turn.process.as_deref() == Some(process));
        if is_free && matches!(self.state, RecordedState::Open { until, .. } if until <= now) {
            self.turn = Some(ProbeTurn { process: Some(process.to_owned()), until: now + lease });
        }
    }

    fn view(&self, process: &str, now: Duration) -> CircuitView {
        match self.state {
            RecordedState::Unknown => CircuitView::Unknown,
            RecordedState::Closed => CircuitView::Closed,
            RecordedState::Open { until, is_quota } => CircuitView::Open {
                wait: until.saturating_sub(now),
                is_quota,
                has_turn: self.has_turn(process),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_cases;

    /// The table is that of the script that decides in a store as well.
    #[test]
    fn the_record_decides_by_the_table_of_the_script() {
        let table = include_str!("../../../tidegate-redis/cases/circuit.txt");
        check_cases(
            table,
            |_| CircuitRecord::default(),
            |record, step| {
                let time = |index: usize| Duration::from_micros(step[index].parse().unwrap());
                let change = match step[1] {
                    "read" => CircuitChange::Read,
                    "open" => CircuitChange::Open { wait: time(3), is_quota: step[4] == "1" },
                    "restore" => {
                        CircuitChange::Restore { wait: time(3), is_quota: step[4] == "1", grace: time(5) }
                    }
                    "reopen" => {
                        let (wait, is_quota) = (time(3), step[4] == "1");
                        CircuitChange::Reopen { wait, is_quota, grace: time(5), age: time(6) }
                    }
                    "close" => CircuitChange::Close,
                    "reclose" => CircuitChange::Reclose { age: time(3) },
                    "take_turn" => CircuitChange::TakeTurn { lease: time(3), grace: time(4) },
                    "keep_turn" => CircuitChange::KeepTurn { lease: time(3) },
                    "end_turn" => CircuitChange::EndTurn,
                    other => panic!("{other}"),
                };
                match record.apply(change, step[2], time(0)) {
                    CircuitView::Unknown => "unknown".to_owned(),
                    CircuitView::Closed => "closed".to_owned(),
                    CircuitView::Open { wait, is_quota, has_turn } => {
                        format!("open {} {} {}", wait.as_micros(), u8::from(is_quota), u8::from(has_turn))
                    }
                }
            },
        );
    }
}
