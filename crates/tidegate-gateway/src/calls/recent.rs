use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::record::CallRecord;

/// The latest calls, those in flight included. Clones share them.
#[derive(Clone)]
pub(crate) struct RecentCalls(Arc<SharedCalls>);

struct SharedCalls {
    /// Distinguishes the ids of this process from those of an earlier one.
    prefix: String,
    /// The number of calls that are kept.
    limit: usize,
    kept: Mutex<KeptCalls>,
}

#[derive(Default)]
struct KeptCalls {
    /// Their numbers are consecutive.
    calls: VecDeque<KeptCall>,
    next: u64,
    bytes: usize,
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
        Self(Arc::new(SharedCalls { prefix, limit, kept: Mutex::default() }))
    }

    /// Adds a call. It is kept in place of the oldest one.
    pub(super) fn add(&self, path: &'static str, caller: Option<Arc<str>>) -> Arc<CallRecord> {
        let mut kept = self.lock();
        let number = kept.next;
        kept.next += 1;
        let id = format!("{}-{number}", self.0.prefix);
        let record = Arc::new(CallRecord::new(number, id, path, caller));
        if self.0.limit > 0 {
            let bytes = record.size();
            kept.calls.push_back(KeptCall { record: Arc::clone(&record), bytes });
            kept.bytes += bytes;
            kept.evict(self.0.limit);
        }
        record
    }

    /// Counts the bytes of a call that has ended, if it is still kept.
    pub(super) fn count(&self, record: &CallRecord) {
        let mut kept = self.lock();
        let Some(index) = kept.index(record.number) else { return };
        let bytes = record.size();
        let before = mem::replace(&mut kept.calls[index].bytes, bytes);
        kept.bytes = kept.bytes - before + bytes;
        kept.evict(self.0.limit);
    }

    /// Whether calls are kept at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.0.limit > 0
    }

    pub(super) fn newest_first(&self) -> Vec<Arc<CallRecord>> {
        self.lock().calls.iter().rev().map(|kept| Arc::clone(&kept.record)).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<CallRecord>> {
        let number = id.strip_prefix(&self.0.prefix)?.strip_prefix('-')?.parse().ok()?;
        let kept = self.lock();
        let record = &kept.calls[kept.index(number)?].record;
        (record.id == id).then(|| Arc::clone(record))
    }

    fn lock(&self) -> MutexGuard<'_, KeptCalls> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
        let calls: Vec<_> = (0..5).map(|_| OngoingCall::begin(&recent, "/", None)).collect();
        assert_eq!(ids(&recent), [4, 3, 2]);
        let found: Vec<_> = calls.iter().map(|call| recent.find(&call.record().id).is_some()).collect();
        assert_eq!(found, [false, false, true, true, true]);
        // A call that is no longer kept may end later.
        drop(calls);
        assert_eq!(ids(&recent), [4, 3, 2]);
        for id in
            ["", "4", "-4", "x-4", &format!("{}-04", recent.0.prefix), &format!("{}-9", recent.0.prefix)]
        {
            assert!(recent.find(id).is_none(), "{id}");
        }
    }

    #[test]
    fn the_memory_of_long_trails_is_bounded() {
        let recent = RecentCalls::new(usize::MAX);
        for _ in 0..3000 {
            let call = OngoingCall::begin(&recent, "/", None);
            (0..1000).for_each(|_| call.record().trail().attempt(&Outcome::Success));
        }
        let kept = recent.lock();
        let bytes: usize = kept.calls.iter().map(|kept| kept.record.size()).sum();
        assert_eq!(bytes, kept.bytes);
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
    }

    #[test]
    fn without_a_limit_nothing_is_kept_and_ids_are_unique() {
        let recent = RecentCalls::new(0);
        let (one, other) = (OngoingCall::begin(&recent, "/", None), OngoingCall::begin(&recent, "/", None));
        assert_ne!(one.record().id, other.record().id);
        assert!(ids(&recent).is_empty() && !recent.is_enabled());
    }
}
