use std::collections::VecDeque;

use crate::ErrorCode;

/// Consecutive failures: those since the latest success, and since the latest head of a response that is still
/// in flight. Once the body of such a response breaks off or is dropped, its head no longer counts.
///
/// Bodies that break off are also counted alone, since the latest success: a head in flight does not show that
/// its body will not break off.
///
/// The number of failures is never reset, so that a head of an earlier streak is not taken for one of this.
#[derive(Debug, Default)]
pub(super) struct Streak {
    failures: u64,
    /// The number of failures at the latest success.
    at_success: u64,
    /// The bodies that have broken since then.
    broken: u32,
    /// The heads in flight since the latest success, by the number of failures before them, in ascending order.
    heads: VecDeque<Heads>,
    /// The code of the latest failure.
    code: Option<ErrorCode>,
    /// The number of failures before the latest ones with the same code.
    alike_since: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heads {
    failures_before: u64,
    in_flight: usize,
}

/// The length of a streak, and whether its failures have the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreakLength {
    pub(super) count: u32,
    pub(super) alike: bool,
}

impl Streak {
    /// Whether there was no failure since the latest success.
    pub(super) fn is_empty(&self) -> bool {
        self.failures == self.at_success
    }

    pub(super) fn reset(&mut self) {
        self.at_success = self.failures;
        self.broken = 0;
        self.heads.clear();
    }

    pub(super) fn record_failure(&mut self, code: ErrorCode, is_of_body: bool) -> StreakLength {
        if self.code.replace(code) != Some(code) {
            self.alike_since = self.failures;
        }
        self.failures += 1;
        let since = self.heads.back().map_or(self.at_success, |heads| heads.failures_before);
        let count = u32::try_from(self.failures - since).unwrap_or(u32::MAX);
        if is_of_body {
            self.broken = self.broken.saturating_add(1);
            if self.broken > count {
                return StreakLength { count: self.broken, alike: self.alike_since <= self.at_success };
            }
        }
        StreakLength { count, alike: self.alike_since <= since }
    }

    /// Adds the head of a response. Returns the number of failures before it, unless there is none to separate
    /// from others.
    pub(super) fn add_head(&mut self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        match self.heads.back_mut() {
            Some(latest) if latest.failures_before == self.failures => latest.in_flight += 1,
            _ => self.heads.push_back(Heads { failures_before: self.failures, in_flight: 1 }),
        }
        Some(self.failures)
    }

    /// Removes a head with this many failures before it, unless a success has removed it already.
    pub(super) fn remove_head(&mut self, failures_before: u64) {
        let Ok(found) = self.heads.binary_search_by_key(&failures_before, |heads| heads.failures_before)
        else {
            return;
        };
        self.heads[found].in_flight -= 1;
        if self.heads[found].in_flight == 0 {
            self.heads.remove(found);
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;

    const CODE: ErrorCode = ErrorCode::Overloaded;

    #[test]
    fn a_head_separates_failures_as_long_as_it_is_in_flight() {
        let mut streak = Streak::default();
        assert_eq!(streak.add_head(), None, "there is no failure to separate");
        let fail = |streak: &mut Streak| streak.record_failure(CODE, false).count;
        assert_eq!((fail(&mut streak), fail(&mut streak)), (1, 2));
        let [first, second] = [(); 2].map(|()| streak.add_head().unwrap());
        assert_eq!((fail(&mut streak), fail(&mut streak)), (1, 2));
        let latest = streak.add_head().unwrap();
        assert_eq!(fail(&mut streak), 1);
        streak.remove_head(first);
        streak.remove_head(latest);
        assert_eq!(fail(&mut streak), 4, "since the second head");
        streak.remove_head(second);
        assert_eq!(fail(&mut streak), 7, "since the start");
    }

    #[test]
    fn a_head_from_before_a_success_does_not_end_one_after_it() {
        let mut streak = Streak::default();
        let fail = |streak: &mut Streak| streak.record_failure(CODE, false).count;
        fail(&mut streak);
        let early = streak.add_head().unwrap();
        streak.reset();
        assert!(streak.is_empty());
        fail(&mut streak);
        streak.add_head().unwrap();
        streak.remove_head(early);
        assert_eq!(fail(&mut streak), 1);
    }

    #[test]
    fn bodies_that_break_are_consecutive_whatever_heads_are_in_flight() {
        let mut streak = Streak::default();
        for broken in 1..=3 {
            streak.add_head();
            streak.record_failure(CODE, false);
            streak.add_head().unwrap();
            assert_eq!(streak.record_failure(CODE, true), StreakLength { count: broken, alike: true });
        }
        streak.reset();
        assert_eq!(streak.record_failure(CODE, true).count, 1);
    }

    #[test]
    fn failures_are_alike_if_all_of_the_streak_are() {
        let mut streak = Streak::default();
        let is_alike = |streak: &mut Streak, code| streak.record_failure(code, false).alike;
        assert!(is_alike(&mut streak, CODE));
        assert!(!is_alike(&mut streak, ErrorCode::Timeout));
        streak.add_head().unwrap();
        assert!(is_alike(&mut streak, ErrorCode::Timeout));
        assert!(!is_alike(&mut streak, CODE));
        streak.reset();
        assert!(is_alike(&mut streak, CODE));
        assert!(is_alike(&mut streak, CODE));
    }
}
