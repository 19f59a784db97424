use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;

/// A record of the requests and responses of a provider. Clones share one log, and the log outlives its
/// provider.
#[derive(Clone)]
pub struct RequestLog(Arc<LogShared>);

struct LogShared {
    record: Mutex<LogRecord>,
    /// Wakes the tasks that wait for a count.
    counts: watch::Sender<LogCounts>,
}

#[derive(Default)]
struct LogRecord {
    requests: VecDeque<LoggedRequest>,
    /// Bytes of request bodies in `requests`.
    size: usize,
    arrivals: VecDeque<Instant>,
    statuses: BTreeMap<u16, usize>,
}

#[derive(Clone, Copy, Default)]
struct LogCounts {
    arrived: usize,
    /// Requests with a body that was read to its end.
    calls: usize,
    in_flight: usize,
    max_in_flight: usize,
    abandoned: usize,
}

/// A request that reached the provider.
#[derive(Clone)]
pub struct LoggedRequest {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body. Empty if it was too large to be read.
    pub body: Bytes,
    /// The model that it names.
    pub model: Option<String>,
    /// Whether it requests a stream.
    pub is_stream: bool,
    /// When it arrived, by tokio's clock.
    pub at: Instant,
}

impl RequestLog {
    /// A test that would wait forever fails instead.
    const BOUND: Duration = Duration::from_secs(60);
    const MAX_REQUESTS: usize = 4096;
    const MAX_SIZE: usize = 64 * 1024 * 1024;
    const MAX_ARRIVALS: usize = 65_536;

    pub(super) fn new() -> Self {
        Self(Arc::new(LogShared {
            record: Mutex::default(),
            counts: watch::Sender::new(LogCounts::default()),
        }))
    }

    /// The number of requests that arrived complete, whatever the response.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.counts().calls
    }

    /// The requests, oldest first. Only the newest are kept if there were very many.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.record().requests.iter().cloned().collect()
    }

    /// The newest request.
    #[must_use]
    pub fn last(&self) -> Option<LoggedRequest> {
        self.record().requests.back().cloned()
    }

    /// The number of requests in flight: from their arrival to the last byte of the response, or until the
    /// caller disconnected.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counts().in_flight
    }

    /// The largest number of requests that were in flight at once.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.counts().max_in_flight
    }

    /// The number of callers that disconnected before their response was complete.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.counts().abandoned
    }

    /// The number of responses with this status.
    #[must_use]
    pub fn responses_with_status(&self, status: u16) -> usize {
        self.record().statuses.get(&status).copied().unwrap_or(0)
    }

    /// The number of responses by status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, usize> {
        self.record().statuses.clone()
    }

    /// The arrival times of the requests, oldest first.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.record().arrivals.iter().copied().collect()
    }

    /// The largest number of requests that arrived within any `window`, wherever it begins.
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

    /// Waits until `calls` requests have arrived.
    ///
    /// # Panics
    ///
    /// If they have not after a minute.
    pub async fn calls_reach(&self, calls: usize) {
        self.wait_for(|counts| counts.calls >= calls).await;
    }

    /// Waits until exactly `requests` are in flight.
    ///
    /// # Panics
    ///
    /// If that is not the case after a minute.
    pub async fn in_flight_is(&self, requests: usize) {
        self.wait_for(|counts| counts.in_flight == requests).await;
    }

    async fn wait_for(&self, condition: impl FnMut(&LogCounts) -> bool) {
        let mut counts = self.0.counts.subscribe();
        let reached = tokio::time::timeout(Self::BOUND, counts.wait_for(condition)).await;
        assert!(reached.is_ok(), "the expected requests are not there after {:?}: {self:?}", Self::BOUND);
    }

    fn counts(&self) -> LogCounts {
        *self.0.counts.borrow()
    }

    fn record(&self) -> MutexGuard<'_, LogRecord> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Recording, by the provider.
impl RequestLog {
    /// Records the arrival of a request. The request is in flight as long as the guard lives.
    pub(super) fn begin_request(&self) -> InFlightGuard {
        let now = Instant::now();
        push_bounded(&mut self.record().arrivals, now, Self::MAX_ARRIVALS);
        let mut number = 0;
        self.0.counts.send_modify(|counts| {
            counts.arrived += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
            number = counts.arrived;
        });
        InFlightGuard { log: self.clone(), number, at: now, is_finished: false }
    }

    pub(super) fn record_request(&self, request: LoggedRequest) {
        let mut record = self.record();
        record.size += request.body.len();
        record.requests.push_back(request);
        while record.requests.len() > Self::MAX_REQUESTS || record.size > Self::MAX_SIZE {
            let Some(oldest) = record.requests.pop_front() else { break };
            record.size -= oldest.body.len();
        }
        drop(record);
        self.0.counts.send_modify(|counts| counts.calls += 1);
    }

    pub(super) fn record_status(&self, status: StatusCode) {
        *self.record().statuses.entry(status.as_u16()).or_default() += 1;
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, limit: usize) {
    if queue.len() == limit {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// Keeps a request in flight. Dropping it unfinished counts the request as abandoned by its caller.
#[derive(Debug)]
pub(super) struct InFlightGuard {
    log: RequestLog,
    pub(super) number: usize,
    pub(super) at: Instant,
    is_finished: bool,
}

impl InFlightGuard {
    pub(super) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.log.0.counts.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.abandoned += usize::from(!self.is_finished);
        });
    }
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogCounts { calls, in_flight, max_in_flight, abandoned, .. } = self.counts();
        f.debug_struct("RequestLog")
            .field("calls", &calls)
            .field("in_flight", &in_flight)
            .field("max_in_flight", &max_in_flight)
            .field("abandoned", &abandoned)
            .field("statuses", &self.statuses())
            .finish()
    }
}

/// Shows no headers and no body, because they hold keys and prompts.
impl fmt::Debug for LoggedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_deref().unwrap_or("no model");
        write!(f, "LoggedRequest({} {} for {model}, {} bytes)", self.method, self.path, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_requests_and_the_busiest_window() {
        let log = RequestLog::new();
        let first = log.begin_request();
        let second = log.begin_request();
        tokio::time::advance(Duration::from_secs(1)).await;
        log.begin_request().finish();
        assert_eq!((log.in_flight(), log.max_in_flight()), (2, 3));
        assert_eq!(log.most_within(Duration::from_secs(1)), 2);
        assert_eq!(log.most_within(Duration::from_millis(1001)), 3);
        first.finish();
        drop(second);
        assert_eq!((log.in_flight(), log.abandoned()), (0, 1));
        log.in_flight_is(0).await;
    }

    #[test]
    fn drops_the_oldest_requests() {
        let (log, at) = (RequestLog::new(), Instant::now());
        let body = Bytes::from(vec![0; 20 * 1024 * 1024]);
        for number in 0..5 {
            log.record_request(LoggedRequest {
                method: Method::POST,
                path: number.to_string(),
                headers: HeaderMap::new(),
                body: body.clone(),
                model: None,
                is_stream: false,
                at,
            });
        }
        let paths: Vec<_> = log.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["2", "3", "4"]);
        assert_eq!(log.calls(), 5);
    }
}
