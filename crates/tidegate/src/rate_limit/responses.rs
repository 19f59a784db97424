//! What responses change: the reported limits, the time for which the gate is closed, and the reservations.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;

use super::cost::{CallCost, Reserved};
use super::handle::Handle;
use super::queue::RateQueue;
use super::quota_set::ReopenRamp;
use crate::{ErrorCode, Failure, LimitScope, Outcome, ReportedLimits, clock, server_time};

impl Handle {
    /// Closes the gate after a 429, and after a failure of the provider that carries a wait, unless it serves
    /// other calls.
    #[inline]
    pub(super) fn on_outcome(&self, outcome: &Outcome, started: Instant) {
        match outcome {
            Outcome::Success => self.0.overload_hints.record_success(started),
            Outcome::Failure(failure) => self.on_failure(failure),
            Outcome::Neutral => {}
        }
    }

    pub(super) fn on_failure(&self, failure: &Failure) {
        if self.0.settings().hooks.ignores_responses {
            return;
        }
        let is_momentary = failure.retry_hint.is_some_and(|hint| hint.scope == LimitScope::Momentary);
        let hinted = failure.wait().filter(|_| is_momentary);
        let wait = match failure.code {
            _ if failure.is_neutral() => None,
            ErrorCode::RateLimited => Some(failure.wait().unwrap_or(self.0.settings().default_retry_after)),
            code if code.counts_against_health() => {
                hinted.filter(|wait| self.0.overload_hints.closes(*wait, clock::now()))
            }
            _ => None,
        };
        if let Some(wait) = wait {
            self.close(wait);
        }
    }

    /// Applies the limits that response headers report, on success and on failure. A successful response
    /// without a report counts towards expiry of the reported quotas.
    pub(super) fn on_headers(&self, headers: &HeaderMap, is_success: bool, reserved: &Reserved) {
        let settings = self.0.settings();
        let has_reported_quotas = is_success && self.0.has_reported_quotas.load(Ordering::Relaxed);
        let follows = settings.follow_headers && !settings.hooks.ignores_responses;
        if !follows || (headers.is_empty() && !has_reported_quotas) {
            return;
        }
        let report = match settings.hooks.classifier.as_ref().or_else(|| self.0.classifier.get()) {
            Some(classifier) => classifier.reported_limits(headers),
            None => ReportedLimits::from_headers(headers),
        };
        if report.is_empty() && !has_reported_quotas {
            return;
        }
        let (now, wall) = (clock::now(), server_time(headers, SystemTime::now()));
        let effect = {
            let mut queue = self.lock();
            self.0.queue.clear_headroom();
            let effect =
                queue.limits.apply_report(&report, reserved, settings.adopt_reported_quotas, now, wall);
            if is_success {
                queue.limits.expire_unreported(now);
            }
            self.0.has_token_quota.store(queue.limits.has_token_quota(), Ordering::Relaxed);
            self.0.has_reported_quotas.store(queue.limits.has_reported_quotas(), Ordering::Relaxed);
            queue.grant_returned(now);
            effect
        };
        if effect.ignored > 0 {
            self.0.ignored.add(effect.ignored);
        }
        if let Some(wait) = effect.closed_for {
            self.close(wait);
        }
    }

    /// Closes the gate, for all processes that share it.
    fn close(&self, wait: Duration) {
        if self.close_here(wait, true) {
            self.share_gate();
        }
    }

    /// Closes the gate of this process as another process has closed its own, which was requested or received
    /// at `sent`. A reset that has not reached the store holds, and is sent again.
    pub(super) fn close_as_elsewhere(&self, wait: Duration, sent: Instant) {
        if self.lock().limits.is_taken_back(sent) {
            return self.share_opening();
        }
        self.0.overload_hints.note_closed(wait, clock::now());
        self.close_here(wait, false);
    }

    /// Opens the gate of this process as another process has opened its own. Of a closing time that may not
    /// have reached the store, the reply of the store decides whether it is the later change.
    pub(super) fn open_as_elsewhere(&self) {
        if self.lock().limits.has_unshared_closing {
            return self.share_gate();
        }
        self.0.overload_hints.clear();
        self.change(|queue, now| {
            self.0.queue.clear_headroom();
            queue.limits.open(now);
        });
    }

    /// Closes the gate of this process. `is_own`: no other process has closed its own for that long. Returns
    /// whether that is for longer than before.
    pub(super) fn close_here(&self, wait: Duration, is_own: bool) -> bool {
        let now = clock::now();
        let until = clock::after(wait, now);
        let ramp = ReopenRamp::new(wait, until, fastrand::f64());
        let mut queue = self.lock();
        self.0.queue.clear_headroom();
        let is_longer = queue.limits.close(until, ramp, now);
        if is_longer {
            queue.limits.has_unshared_closing = is_own;
        }
        is_longer
    }

    /// Replaces what a call reserved by what it used.
    pub(super) fn settle(&self, reserved: &Reserved, used: &CallCost) {
        self.change(|queue, now| {
            self.0.queue.clear_headroom();
            queue.limits.settle(reserved, used, now);
        });
    }

    /// Returns the whole reservation of a call that never reached the wire.
    pub(super) fn refund(&self, reserved: &Reserved) {
        self.change(|queue, now| queue.limits.refund(reserved, now));
    }

    /// Changes the quotas, and grants the room that this makes.
    pub(super) fn change(&self, change: impl FnOnce(&mut RateQueue, Instant)) {
        let now = clock::now();
        let mut queue = self.lock();
        change(&mut queue, now);
        if queue.backlog.total() > 0 {
            queue.grant_returned(now);
        }
        self.report_returned(&mut queue, now);
    }
}
