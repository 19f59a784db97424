use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Request};

use super::RateLimitLayer;
use super::limits::{Shortfall, Spent};
use super::line::Line;
use super::quota::Cost;
use super::ramp::Ramp;
use super::settings::{Reader, Settings};
use crate::key::RequestHead;
use crate::keyed::Kept;
use crate::shared::Shared;
use crate::{
    Classifier, Deadline, ErrorCode, Estimated, LimitScope, LimitUnit, Outcome, Payload, Priority, Rejection,
    ReportedLimits, clock,
};

/// The limit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Line>);

/// No prompt is believed to be longer: ten times what the largest models take.
const MOST_INPUT: u64 = 10_000_000;

impl Handle {
    /// How many requests could be sent at once now; `None` without a quota.
    #[must_use]
    pub fn remaining(&self) -> Option<u32> {
        let left = self.0.lock().limits.remaining(|currency| currency == LimitUnit::Requests, clock::now());
        left.map(|left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// How many tokens could be spent at once now; `None` without a quota of tokens. Where input and output are
    /// counted apart, the lesser of both.
    #[must_use]
    pub fn tokens_remaining(&self) -> Option<u64> {
        let line = self.0.lock();
        line.limits.remaining(LimitUnit::is_tokens, clock::now()).filter(|_| line.limits.count_tokens())
    }

    /// How much longer the provider wants to be left alone, if it said so.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.0.lock().limits.closed_for(clock::now())
    }

    /// How many calls wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().ahead.all()
    }

    /// How many words of the provider's about its limits were not believed: stale, contradictory or absurd.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.0.ignored.load(Ordering::Relaxed)
    }

    /// Forgets all that was spent, and what the provider said.
    pub fn reset(&self) {
        let fresh = self.0.settings().limits(clock::now());
        self.0.counts_tokens.store(fresh.count_tokens(), Ordering::Relaxed);
        self.0.lock().limits.forget(fresh);
        self.0.has_heard.store(false, Ordering::Relaxed);
        self.0.changed.notify_one();
    }

    /// Whether a call that came now would be refused at once, and why. Takes nothing. What the call would cost is not
    /// known here: it is taken for an interactive one without tokens.
    #[must_use]
    pub fn peek(&self, deadline: Option<Deadline>) -> Option<Rejection> {
        if !self.0.settings().enabled {
            return None;
        }
        let now = clock::now();
        let line = self.0.lock();
        let waiting = line.ahead.count(Priority::Interactive);
        let lack = line.limits.lack(&line.ahead.of(Priority::Interactive), &Cost::CALL, now);
        if lack.wait.is_zero() && line.ahead.all() == 0 {
            return None;
        }
        self.0.settings().doomed(waiting, &lack, deadline, now)
    }

    /// Whether any quota is in tokens.
    pub(super) fn counts_tokens(&self) -> bool {
        self.0.counts_tokens.load(Ordering::Relaxed)
    }

    /// What a request takes. Nothing is read, and nothing counted, where no quota is in tokens.
    pub(super) fn cost<B: 'static>(&self, request: &Request<B>) -> Cost {
        if !self.0.settings().enabled || !self.counts_tokens() {
            return Cost::CALL;
        }
        let body = (request.body() as &dyn std::any::Any).downcast_ref().and_then(Payload::bytes);
        let settings = self.0.settings();
        let estimated: Estimated =
            settings.estimate.0.estimate(request.headers(), body.map_or(&[], |body| body));
        // Of a body that is not at hand nobody knows what it asks for, and a length is what the caller says it is.
        let estimated = if body.is_some() { estimated } else { Estimated { max_output: None, ..estimated } };
        let output = estimated.output(settings.default_output);
        Cost { calls: 1, input: estimated.input.min(MOST_INPUT), output }
    }

    /// Listens to what came back: a 429 closes the gate, and so does an ailing provider that says for how long.
    pub(super) fn learn(&self, outcome: &Outcome) {
        let Outcome::Failure(failure) = outcome else { return };
        let told = failure.hint.filter(|hint| hint.scope == LimitScope::Momentary).and_then(|hint| hint.wait);
        let wait = match failure.code {
            ErrorCode::RateLimited => Some(failure.wait().unwrap_or(self.0.settings().pause)),
            code if code.counts_against_health() => told,
            _ => None,
        };
        if let Some(wait) = wait {
            self.close(wait);
        }
    }

    /// Listens to what the headers of an answer, good or bad, say of how the limits stand. A good one that says nothing
    /// is one more sign that there is nothing to say.
    pub(super) fn hear(&self, headers: &HeaderMap, is_good: bool, spent: &Spent) {
        let settings = self.0.settings();
        let has_heard = is_good && self.0.has_heard.load(Ordering::Relaxed);
        if !settings.learn || (headers.is_empty() && !has_heard) {
            return;
        }
        let announced = match settings.classifier.as_ref().or_else(|| self.0.classifier.get()) {
            Some(classifier) => classifier.0.announced(headers),
            None => ReportedLimits::from_headers(headers),
        };
        if announced.is_empty() && !has_heard {
            return;
        }
        let (now, wall) = (clock::now(), SystemTime::now());
        let learned = {
            let mut line = self.0.lock();
            let learned = line.limits.hear(&announced, spent, settings.adopt, now, wall);
            if is_good {
                line.limits.forget_untold(now);
            }
            self.0.counts_tokens.store(line.limits.count_tokens(), Ordering::Relaxed);
            self.0.has_heard.store(line.limits.have_heard(), Ordering::Relaxed);
            learned
        };
        if learned.ignored > 0 {
            self.0.ignored.fetch_add(learned.ignored, Ordering::Relaxed);
        }
        if let Some(wait) = learned.closed_for {
            self.close(wait);
        }
    }

    fn close(&self, wait: Duration) {
        let now = clock::now();
        let until = Deadline::after(wait, now).instant();
        self.0.lock().limits.close(until, Ramp::new(wait, until, fastrand::f64()), now);
    }

    /// Sets right what a call had reserved; room may be had earlier than the first in the queue thinks.
    pub(super) fn settle(&self, spent: &Spent, used: &Cost) {
        let mut line = self.0.lock();
        line.limits.settle(spent, used, clock::now());
        self.wake(line.ahead.all());
    }

    /// Gives back what a call had reserved that never reached the wire.
    pub(super) fn refund(&self, spent: &Spent) {
        let mut line = self.0.lock();
        line.limits.refund(spent, clock::now());
        self.wake(line.ahead.all());
    }

    fn wake(&self, waiting: usize) {
        if waiting > 0 {
            self.0.changed.notify_one();
        }
    }

    /// Who reads what answers say of the limits, unless the layer was told otherwise; the first one holds.
    pub(super) fn heard_by(&self, classifier: &Arc<dyn Classifier>) {
        let _ = self.0.classifier.set(Reader(Arc::clone(classifier)));
    }

    /// The state of one more key, under the settings that it is to have.
    pub(super) fn for_key<B>(&self, request: &Request<B>) -> Self {
        let settings = self.0.settings();
        let fresh = match &settings.per_key {
            Some(per_key) => per_key.0(&RequestHead::of(request), RateLimitLayer::of(self.clone())).fresh(),
            None => Self(self.0.fresh(|_| ())),
        };
        if let Some(classifier) = self.0.classifier.get() {
            fresh.heard_by(&classifier.0);
        }
        fresh
    }
}

/// A key that has nothing to remember is forgotten.
impl Kept for Handle {
    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    fn is_as_new(&self, now: Instant) -> bool {
        let line = self.0.lock();
        line.ahead.all() == 0 && line.limits.are_as_new(now)
    }
}

impl Shortfall {
    /// The rejection with all that is known of the lack.
    pub(super) fn explain(&self, rejection: Rejection) -> Rejection {
        let rejection = rejection.with_retry_after(self.wait);
        match self.quota {
            Some(quota) => rejection.for_lack_of(quota),
            None => rejection,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("remaining", &self.remaining())
            .field("tokens_remaining", &self.tokens_remaining())
            .field("waiting", &self.waiting())
            .finish()
    }
}
