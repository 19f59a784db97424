use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::call_end::CallEnd;
use super::record::CallRecord;
use crate::call_trace::CallTrace;
use crate::sync::lock;

/// The latest calls, those in flight included. Clones share them.
#[derive(Clone)]
pub(crate) struct RecentCalls {
    /// The number of calls that are kept.
    limit: usize,
    shared: Arc<SharedCalls>,
}

struct SharedCalls {
    /// Distinguishes the ids of this process from those of an earlier one.
    prefix: String,
    kept: Mutex<KeptCalls>,
}

#[derive(Default)]
struct KeptCalls {
    /// Their numbers are consecutive.
    calls: VecDeque<KeptCall>,
    /// How many have begun is the number of the next call.
    totals: CallCounts,
    bytes: usize,
}

/// The numbers of calls since the start, those that are no longer kept included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CallCounts {
    pub(crate) begun: u64,
    /// Calls with a complete response.
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Calls that their caller left before the end.
    pub(crate) left: u64,
}

struct KeptCall {
    record: Arc<CallRecord>,
    /// The bytes that are counted for it.
    bytes: usize,
}

/// The most bytes that the records occupy together. Their number is below the limit if they are large.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl RecentCalls {
    /// Keeps `limit` calls; none if it is zero.
    pub(crate) fn new(limit: usize) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("{:x}", started.as_millis());
        Self { limit, shared: Arc::new(SharedCalls { prefix, kept: Mutex::default() }) }
    }

    /// The same calls under another limit, which applies from the next call on.
    pub(crate) fn with_limit(&self, limit: usize) -> Self {
        Self { limit, shared: Arc::clone(&self.shared) }
    }

    /// Adds a call. It is kept in place of the oldest one.
    pub(super) fn add(
        &self,
        path: &'static str,
        caller: Option<Arc<str>>,
        trace: Option<Arc<dyn CallTrace>>,
    ) -> Arc<CallRecord> {
        let mut kept = self.lock();
        let number = kept.totals.begun;
        kept.totals.begun += 1;
        let id = format!("{}-{number}", self.shared.prefix);
        let record = Arc::new(CallRecord::new(number, id, path, caller, trace));
        let bytes = record.size();
        kept.calls.push_back(KeptCall { record: Arc::clone(&record), bytes });
        kept.bytes += bytes;
        kept.evict(self.limit);
        record
    }

    /// Counts a call that has ended, and its bytes, if it is still kept.
    pub(super) fn count(&self, record: &CallRecord, end: CallEnd) {
        let has_failed = record.code().is_some();
        let mut kept = self.lock();
        kept.totals.add(end, has_failed);
        let Some(index) = kept.index(record.number) else { return };
        let bytes = record.size();
        let before = mem::replace(&mut kept.calls[index].bytes, bytes);
        kept.bytes = kept.bytes - before + bytes;
        kept.evict(self.limit);
    }

    /// The calls with this number and above, of at most `limit` calls the latest, and the totals. Oldest
    /// first.
    pub(crate) fn since(&self, number: u64, limit: usize) -> (Vec<Arc<CallRecord>>, CallCounts) {
        let kept = self.lock();
        let newest = kept.calls.iter().rev().take(limit).map(|kept| &kept.record);
        let mut records: Vec<_> = newest.take_while(|record| record.number >= number).cloned().collect();
        records.reverse();
        (records, kept.totals)
    }

    /// Whether calls are kept at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.limit > 0
    }

    pub(super) fn newest_first(&self) -> Vec<Arc<CallRecord>> {
        self.lock().calls.iter().rev().map(|kept| Arc::clone(&kept.record)).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<CallRecord>> {
        let number = id.strip_prefix(&self.shared.prefix)?.strip_prefix('-')?.parse().ok()?;
        let kept = self.lock();
        let record = &kept.calls[kept.index(number)?].record;
        (record.id == id).then(|| Arc::clone(record))
    }

    fn lock(&self) -> MutexGuard<'_, KeptCalls> {
        lock(&self.shared.kept)
    }
}

impl KeptCalls {
    fn index(&self, number: u64) -> Option<usize> {
        let first = self.calls.front()?.record.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        (index < self.calls.len()).then_some(index)
    }

    fn evict(&mut self, limit: usize) {
        while self.calls.len() > limit || self.bytes > MAX_BYTES {
            let Some(oldest) = self.calls.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

impl CallCounts {
    fn add(&mut self, end: CallEnd, has_failed: bool) {
        match end {
            CallEnd::Dropped | CallEnd::Unread => self.left += 1,
            CallEnd::Finished if !has_failed => self.succeeded += 1,
            CallEnd::Finished | CallEnd::Failed | CallEnd::Cut | CallEnd::Stalled | CallEnd::Stopped => {
                self.failed += 1;
            }
        }
    }
}

impl fmt::Debug for RecentCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecentCalls").field(&self.lock().calls.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use tidegate::Outcome;

    use super::super::OngoingCall;
    use super::*;

    fn ids(recent: &RecentCalls) -> Vec<u64> {
        recent.newest_first().iter().map(|record| record.number).collect()
    }

    #[test]
    fn the_oldest_call_makes_room_and_is_found_no_longer() {
        let recent = RecentCalls::new(3);
        let calls: Vec<_> = (0..5).map(|_| OngoingCall::begin(&recent, "/", None, None)).collect();
        assert_eq!(ids(&recent), [4, 3, 2]);
        let found: Vec<_> = calls.iter().map(|call| recent.find(&call.record().id).is_some()).collect();
        assert_eq!(found, [false, false, true, true, true]);
        // A call that is no longer kept may end later.
        drop(calls);
        assert_eq!(ids(&recent), [4, 3, 2]);
        for id in [
            "",
            "4",
            "-4",
            "x-4",
            &format!("{}-04", recent.shared.prefix),
            &format!("{}-9", recent.shared.prefix),
        ] {
            assert!(recent.find(id).is_none(), "{id}");
        }
    }

    #[test]
    fn another_limit_keeps_the_calls_before_it() {
        let recent = RecentCalls::new(3);
        let calls: Vec<_> = (0..3).map(|_| OngoingCall::begin(&recent, "/", None, None)).collect();
        let lowered = recent.with_limit(2);
        let last = OngoingCall::begin(&lowered, "/", None, None);
        assert_eq!(ids(&lowered), [3, 2]);
        // Calls under the limit before may end later.
        drop((calls, last));
        assert_eq!(ids(&recent), [3, 2]);
        drop(OngoingCall::begin(&lowered.with_limit(0), "/", None, None));
        assert!(ids(&recent).is_empty());
    }

    #[test]
    fn the_memory_of_long_trails_is_bounded() {
        let recent = RecentCalls::new(usize::MAX);
        for _ in 0..3000 {
            let call = OngoingCall::begin(&recent, "/", None, None);
            (0..1000).for_each(|_| call.record().trail().attempt(&Outcome::Success));
        }
        let kept = recent.lock();
        let bytes: usize = kept.calls.iter().map(|kept| kept.record.size()).sum();
        assert_eq!(bytes, kept.bytes);
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
    }

    #[test]
    fn all_calls_are_counted_and_the_latest_are_listed_from_a_number_on() {
        let recent = RecentCalls::new(3);
        let begin = || OngoingCall::begin(&recent, "/", None, None);
        let calls: Vec<_> = (0..5).map(|_| begin()).collect();
        calls[0].end(CallEnd::Finished);
        calls[1].end(CallEnd::Cut);
        calls[2].end(CallEnd::Unread);
        drop(begin());
        let (records, totals) = recent.since(0, 2);
        assert_eq!(totals, CallCounts { begun: 6, succeeded: 1, failed: 1, left: 2 });
        assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((recent.since(5, 9).0.len(), recent.since(6, 9).0.len()), (1, 0));
    }

    #[test]
    fn without_a_limit_nothing_is_kept_and_ids_are_unique() {
        let recent = RecentCalls::new(0);
        let (one, other) =
            (OngoingCall::begin(&recent, "/", None, None), OngoingCall::begin(&recent, "/", None, None));
        assert_ne!(one.record().id, other.record().id);
        assert!(ids(&recent).is_empty() && !recent.is_enabled());
    }
}
