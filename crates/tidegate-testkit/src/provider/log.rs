use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a provider has seen and done. Clones share one log, and it outlives its provider.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    record: Mutex<Record>,
    /// For those who wait for something to happen.
    counts: watch::Sender<Counts>,
}

#[derive(Default)]
struct Record {
    asked: VecDeque<Asked>,
    /// Bytes of request bodies in `asked`.
    size: usize,
    arrivals: VecDeque<Instant>,
    statuses: BTreeMap<u16, usize>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    arrived: usize,
    /// Arrived, and read to the end.
    calls: usize,
    in_flight: usize,
    max_in_flight: usize,
    abandoned: usize,
}

/// A request that reached the provider.
#[derive(Clone)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty if it was too large to be read.
    pub body: Bytes,
    /// The model it asks for.
    pub model: Option<String>,
    /// Whether it asks for a stream.
    pub is_stream: bool,
    /// When it came, by tokio's clock.
    pub at: Instant,
}

impl Log {
    const MAX_ASKED: usize = 4096;
    const MAX_SIZE: usize = 64 * 1024 * 1024;
    const MAX_ARRIVALS: usize = 65_536;

    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { record: Mutex::default(), counts: watch::Sender::new(Counts::default()) }))
    }

    /// How many requests came whole, whatever became of them.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.counts().calls
    }

    /// The requests, oldest first; only the newest if there were very many.
    #[must_use]
    pub fn requests(&self) -> Vec<Asked> {
        self.record().asked.iter().cloned().collect()
    }

    /// The newest request.
    #[must_use]
    pub fn last(&self) -> Option<Asked> {
        self.record().asked.back().cloned()
    }

    /// How many requests are being answered: from their arrival to the last byte of the answer, or until the
    /// caller left.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counts().in_flight
    }

    /// The most requests that were ever in flight at once.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.counts().max_in_flight
    }

    /// How many callers left before their answer was complete.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.counts().abandoned
    }

    /// How many answers had this status.
    #[must_use]
    pub fn answered(&self, status: u16) -> usize {
        self.record().statuses.get(&status).copied().unwrap_or(0)
    }

    /// How many answers had which status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, usize> {
        self.record().statuses.clone()
    }

    /// When the requests came, oldest first.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.record().arrivals.iter().copied().collect()
    }

    /// The most requests that came within any `window`, wherever it begins.
    #[must_use]
    pub fn most_within(&self, window: Duration) -> usize {
        let arrivals = self.arrivals();
        let mut first = 0;
        let counts = arrivals.iter().enumerate().map(|(last, at)| {
            while at.saturating_duration_since(arrivals[first]) >= window && first < last {
                first += 1;
            }
            last + 1 - first
        });
        counts.max().unwrap_or(0)
    }

    /// Waits until `calls` requests came.
    pub async fn calls_reach(&self, calls: usize) {
        self.wait_for(|counts| counts.calls >= calls).await;
    }

    /// Waits until exactly `requests` are in flight.
    pub async fn in_flight_is(&self, requests: usize) {
        self.wait_for(|counts| counts.in_flight == requests).await;
    }

    async fn wait_for(&self, is_so: impl FnMut(&Counts) -> bool) {
        let mut counts = self.0.counts.subscribe();
        let _ = counts.wait_for(is_so).await.expect("the log holds the sender");
    }

    fn counts(&self) -> Counts {
        *self.0.counts.borrow()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the provider writes.
impl Log {
    /// A request came; it is in flight as long as the visit lasts.
    pub(super) fn arrive(&self) -> Visit {
        let now = Instant::now();
        push_bounded(&mut self.record().arrivals, now, Self::MAX_ARRIVALS);
        let mut number = 0;
        self.0.counts.send_modify(|counts| {
            counts.arrived += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
            number = counts.arrived;
        });
        Visit { log: self.clone(), number, at: now, is_finished: false }
    }

    pub(super) fn asked(&self, asked: Asked) {
        let mut record = self.record();
        record.size += asked.body.len();
        record.asked.push_back(asked);
        while record.asked.len() > Self::MAX_ASKED || record.size > Self::MAX_SIZE {
            let Some(oldest) = record.asked.pop_front() else { break };
            record.size -= oldest.body.len();
        }
        drop(record);
        self.0.counts.send_modify(|counts| counts.calls += 1);
    }

    pub(super) fn answers(&self, status: StatusCode) {
        *self.record().statuses.entry(status.as_u16()).or_default() += 1;
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// A request in flight. Dropped unfinished, it was abandoned by its caller.
#[derive(Debug)]
pub(super) struct Visit {
    log: Log,
    pub(super) number: usize,
    pub(super) at: Instant,
    is_finished: bool,
}

impl Visit {
    pub(super) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.log.0.counts.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.abandoned += usize::from(!self.is_finished);
        });
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { calls, in_flight, max_in_flight, abandoned, .. } = self.counts();
        f.debug_struct("Log")
            .field("calls", &calls)
            .field("in_flight", &in_flight)
            .field("max_in_flight", &max_in_flight)
            .field("abandoned", &abandoned)
            .field("statuses", &self.statuses())
            .finish()
    }
}

/// Shows no headers and no body: they hold keys and prompts.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_deref().unwrap_or("no model");
        write!(f, "Asked({} {} for {model}, {} bytes)", self.method, self.path, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_visits_and_the_fullest_window() {
        let log = Log::new();
        let first = log.arrive();
        let second = log.arrive();
        tokio::time::advance(Duration::from_secs(1)).await;
        log.arrive().finish();
        assert_eq!((log.in_flight(), log.max_in_flight()), (2, 3));
        assert_eq!(log.most_within(Duration::from_secs(1)), 2);
        assert_eq!(log.most_within(Duration::from_millis(1001)), 3);
        first.finish();
        drop(second);
        assert_eq!((log.in_flight(), log.abandoned()), (0, 1));
        log.in_flight_is(0).await;
    }

    #[test]
    fn forgets_the_oldest_requests() {
        let (log, at) = (Log::new(), Instant::now());
        let body = Bytes::from(vec![0; 20 * 1024 * 1024]);
        for number in 0..5 {
            log.asked(Asked {
                method: Method::POST,
                path: number.to_string(),
                headers: HeaderMap::new(),
                body: body.clone(),
                model: None,
                is_stream: false,
                at,
            });
        }
        let paths: Vec<_> = log.requests().into_iter().map(|asked| asked.path).collect();
        assert_eq!(paths, ["2", "3", "4"]);
        assert_eq!(log.calls(), 5);
    }
}
