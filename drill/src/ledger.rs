//! The attempts of a run: when each was sent, what the provider made of it, and how it ended.

use std::collections::HashMap;
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
    /// The attempts of the same call at this provider before it.
    pub(crate) earlier: u32,
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
    state: Arc<Mutex<State>>,
}

/// The attempts, and counts of them: a run has hundreds of thousands.
#[derive(Debug, Default)]
struct State {
    attempts: Vec<AttemptRecord>,
    /// By call and provider.
    sent: HashMap<(u32, usize), u32>,
    /// The requests that each provider works on.
    working: Vec<usize>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), state: Arc::default() }
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
        let mut state = self.lock();
        let count = state.sent.entry((call, provider)).or_default();
        let earlier = *count;
        *count += 1;
        state.attempts.push(AttemptRecord {
            call,
            provider,
            earlier,
            sent,
            work: None,
            refusal: None,
            status: None,
            head: None,
            end: None,
        });
        state.attempts.len() - 1
    }

    /// Changes an attempt.
    pub(crate) fn edit(&self, number: usize, change: impl FnOnce(&mut AttemptRecord)) {
        let mut state = self.lock();
        let State { attempts, working, .. } = &mut *state;
        let Some(attempt) = attempts.get_mut(number) else { return };
        let was_working = attempt.is_working();
        change(attempt);
        let provider = attempt.provider;
        working.resize(working.len().max(provider + 1), 0);
        working[provider] += usize::from(attempt.is_working());
        working[provider] -= usize::from(was_working);
    }

    /// The requests that a provider works on.
    pub(crate) fn working(&self, provider: usize) -> usize {
        self.lock().working.get(provider).copied().unwrap_or_default()
    }

    /// The number of attempts of a call at a provider, before the one with this number.
    pub(crate) fn earlier(&self, number: usize) -> u32 {
        self.lock().attempts.get(number).map_or(0, |attempt| attempt.earlier)
    }

    /// The attempts, when the run is over.
    pub(crate) fn attempts(&self) -> Vec<AttemptRecord> {
        self.lock().attempts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptRecord {
    fn is_working(&self) -> bool {
        self.end.is_none() && self.work.is_some_and(|work| work.is_charged)
    }

    /// Whether the provider has delivered the whole response.
    pub(crate) fn is_answer(&self) -> bool {
        let is_read = matches!(self.end, Some((_, AttemptEnding::Read)));
        is_read && self.work.is_some() && self.status == Some(200)
    }

    /// The tokens that the provider bills: the prompt of each request that it works on, and what it has
    /// generated until the end.
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
