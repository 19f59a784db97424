//! The attempts of a run: when each was sent, what the provider made of it, and how it ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a provider does with an attempt that it works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// The tokens of the prompt.
    pub(crate) prompt: u32,
    /// The tokens that it generates.
    pub(crate) output: u32,
    /// The time to the first of them, and between them.
    pub(crate) first_token: Duration,
    pub(crate) pace: Duration,
    /// Whether it counts as work in progress: a provider that hangs does not work.
    pub(crate) is_charged: bool,
}

/// The requests for which a further attempt at this provider fails, too, as a failure reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// For this request.
    Request,
    /// For every request, until this time since the start.
    Until(Duration),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnding {
    /// The body was read to its end.
    Read,
    /// The connection failed.
    Broken,
    /// The stack or the caller dropped it.
    Dropped,
}

/// One request on the wire.
#[derive(Clone, Debug)]
pub(crate) struct AttemptRecord {
    pub(crate) call: u32,
    pub(crate) provider: usize,
    pub(crate) sent: Duration,
    pub(crate) work: Option<Work>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) status: Option<u16>,
    /// When the response head, or the error, arrived.
    pub(crate) head: Option<Duration>,
    pub(crate) end: Option<(Duration, AttemptEnding)>,
}

/// The attempts of one run. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    start: Instant,
    attempts: Arc<Mutex<Vec<AttemptRecord>>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), attempts: Arc::default() }
    }

    /// The time since the start of the run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    /// Records an attempt that is sent, and returns its number.
    pub(crate) fn send(&self, call: u32, provider: usize) -> usize {
        let sent = self.elapsed();
        let mut attempts = self.lock();
        attempts.push(AttemptRecord {
            call,
            provider,
            sent,
            work: None,
            refusal: None,
            status: None,
            head: None,
            end: None,
        });
        attempts.len() - 1
    }

    /// Changes an attempt.
    pub(crate) fn edit(&self, number: usize, change: impl FnOnce(&mut AttemptRecord)) {
        if let Some(attempt) = self.lock().get_mut(number) {
            change(attempt);
        }
    }

    /// The requests that a provider works on.
    pub(crate) fn working(&self, provider: usize) -> usize {
        let is_working = |attempt: &&AttemptRecord| {
            attempt.provider == provider
                && attempt.end.is_none()
                && attempt.work.is_some_and(|work| work.is_charged)
        };
        // Attempts last for minutes at most; the newest are enough.
        self.lock().iter().rev().take(MOST_OPEN).filter(is_working).count()
    }

    /// The number of attempts of a call at a provider, the one with this number not counted.
    pub(crate) fn earlier(&self, number: usize) -> usize {
        let attempts = self.lock();
        let Some(attempt) = attempts.get(number) else { return 0 };
        let is_same =
            |other: &&AttemptRecord| other.call == attempt.call && other.provider == attempt.provider;
        attempts[..number].iter().rev().take(MOST_OPEN).filter(is_same).count()
    }

    /// The attempts, when the run is over.
    pub(crate) fn attempts(&self) -> Vec<AttemptRecord> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AttemptRecord>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempts that are looked through for those in progress.
const MOST_OPEN: usize = 4_096;

impl AttemptRecord {
    /// Whether the provider has delivered the whole response.
    pub(crate) fn is_answer(&self) -> bool {
        let is_read = matches!(self.end, Some((_, AttemptEnding::Read)));
        is_read && self.work.is_some() && self.status == Some(200)
    }

    /// The tokens that the provider bills: the prompt of each request that it works on, and what it has generated until
    /// the end.
    pub(crate) fn billed(&self) -> u64 {
        let Some(work) = self.work.filter(|work| work.is_charged) else { return 0 };
        let until = self.end.map_or(Duration::MAX, |(end, _)| end);
        let time = until.saturating_sub(self.sent + work.first_token);
        let has_started = until >= self.sent + work.first_token;
        let generated = match work.pace {
            Duration::ZERO => u64::from(work.output),
            pace => 1 + (time.as_nanos() / pace.as_nanos()).min(u128::from(u32::MAX)) as u64,
        };
        u64::from(work.prompt) + if has_started { generated.min(work.output.into()) } else { 0 }
    }
}
