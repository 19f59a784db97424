//! Decides, as plain code, how long a member that failed is left out.

use std::time::{Duration, Instant};

use crate::{ErrorCode, Failure, clock};

/// The failures of a member since its last success.
///
/// One failure is enough to leave it out: the other members take its calls, and one attempt after each
/// cooldown finds out whether it is back. A success ends it.
#[derive(Debug, Default)]
pub(super) struct MemberCooldown {
    /// The cooldowns since the last success.
    count: u32,
    /// When the last one began, or was ended by hand.
    since: Option<Instant>,
    until: Option<Instant>,
    /// When the attempt after a cooldown began, until there is a result.
    attempt: Option<Instant>,
    /// Whether the account is the cause.
    is_of_account: bool,
    /// The latest end of a cooldown because of the account, which the store has as well.
    account_until: Option<Instant>,
    /// The latest end of such a cooldown that a success or a reset has ended early.
    refuted_until: Option<Instant>,
}

/// How much later the end of a cooldown may be in the store than in the process that set it.
const STORE_DELAY: Duration = Duration::from_secs(10);

/// The first cooldown. Each further one is twice as long as the one before.
const FIRST: Duration = Duration::from_secs(1);

/// The longest cooldown, unless the provider reported another time.
const LONGEST: Duration = Duration::from_secs(60);

/// The first and the longest cooldown after a failure of the account: its key is invalid, its quota is used
/// up, or it has no access to what another one has.
const OF_ACCOUNT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

/// Whether a failure with this code is one of the account: of its key or its quota.
pub(super) const fn is_of_account(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Authentication | ErrorCode::QuotaExhausted)
}

impl MemberCooldown {
    /// How much longer the member is left out at `now`.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Begins the attempt after a cooldown: the member is left out until there is a result, for [`LONGEST`]
    /// or as long again at most.
    pub(super) fn start_attempt(&mut self, now: Instant) {
        if self.count > 0 && self.remaining(now).is_none() {
            self.until = Some(clock::after(self.step().max(LONGEST), now));
            self.attempt = Some(now);
        }
    }

    /// Records an end without a result of an attempt that began at `began`, or did not begin. The attempt
    /// after a cooldown is made by the next call then.
    pub(super) fn record_no_result(&mut self, began: Option<Instant>, now: Instant) {
        let is_own = |attempt: &mut Instant| began.is_none_or(|began| began >= *attempt);
        if self.attempt.take_if(is_own).is_some() {
            self.until = Some(now);
        }
    }

    /// Records a failure of an attempt that began at `began`. Returns the cooldown, if one begins.
    pub(super) fn record_failure(
        &mut self,
        failure: &Failure,
        began: Instant,
        now: Instant,
    ) -> Option<Duration> {
        self.record(failure, is_of_account(failure.code), began, now)
    }

    /// Records a refusal of a request that another member has taken since: the account is the cause, whatever
    /// the code.
    pub(super) fn record_refusal(
        &mut self,
        failure: &Failure,
        began: Instant,
        now: Instant,
    ) -> Option<Duration> {
        self.record(failure, true, began, now)
    }

    fn record(
        &mut self,
        failure: &Failure,
        is_of_account: bool,
        began: Instant,
        now: Instant,
    ) -> Option<Duration> {
        let counts = failure.code.counts_against_health() || failure.code == ErrorCode::RateLimited;
        if failure.is_neutral() || (!counts && !is_of_account) {
            self.record_no_result(Some(began), now);
            return None;
        }
        // Attempts that were in flight when the cooldown began are no further evidence.
        let is_late = self.since.is_some_and(|since| began <= since);
        let has_more = failure.wait().is_some() || (is_of_account && !self.is_of_account);
        let is_ended_by_hand = self.count == 0;
        if is_late && (is_ended_by_hand || !has_more) {
            return None;
        }
        // An attempt that was made within a cooldown, since all members were left out, begins the same cooldown
        // again. Only the attempt after a cooldown shows that it was too short.
        let is_within = self.attempt.is_none() && self.until.is_some_and(|until| began < until);
        self.is_of_account = is_of_account;
        self.count = if is_late || is_within { self.count.max(1) } else { self.count.saturating_add(1) };
        // A failure without a time does not shorten a cooldown. Only the result of the attempt after one ends
        // it.
        let current = self.remaining(now).filter(|_| self.attempt.is_none()).unwrap_or_default();
        let cooldown = failure.wait().unwrap_or_else(|| self.step().max(current));
        let until = clock::after(cooldown, now);
        if is_late && self.until.is_some_and(|current| current >= until) {
            return None;
        }
        (self.since, self.until, self.attempt) = (Some(now), Some(until), None);
        if is_of_account {
            self.account_until = self.until.max(self.account_until);
        }
        Some(cooldown)
    }

    /// Begins a cooldown that another process has found out, because of the account. Returns whether it is
    /// the later one.
    pub(super) fn begin_elsewhere(&mut self, wait: Duration, now: Instant) -> bool {
        let until = clock::after(wait, now);
        if until <= self.until.unwrap_or(now) {
            return false;
        }
        (self.count, self.is_of_account) = (self.count.max(1), true);
        (self.since, self.until, self.attempt) = (Some(now), Some(until), None);
        self.account_until = self.until.max(self.account_until);
        true
    }

    /// Begins a cooldown that was read from the store, as [`begin_elsewhere`](Self::begin_elsewhere) does,
    /// unless it is one that a success or a reset has ended.
    pub(super) fn begin_stored(&mut self, wait: Duration, now: Instant) -> bool {
        let (until, refuted_until) = (clock::after(wait, now), self.refuted_until);
        let is_refuted = refuted_until.is_some_and(|end| until <= clock::after(STORE_DELAY, end));
        !is_refuted && self.begin_elsewhere(wait, now)
    }

    /// Records a success of an attempt that began at `began`. Returns whether it ends a cooldown.
    pub(super) fn record_success(&mut self, began: Instant) -> bool {
        let is_late = self.since.is_some_and(|since| began <= since);
        if self.count == 0 || is_late {
            return false;
        }
        self.end(None);
        true
    }

    /// Ends the cooldown by hand.
    pub(super) fn reset(&mut self, now: Instant) {
        self.end(Some(now));
    }

    fn end(&mut self, since: Option<Instant>) {
        let refuted_until = self.account_until.max(self.refuted_until);
        *self = Self { since, refuted_until, ..Self::default() };
    }

    /// The cooldown of the last failure, without a reported time.
    fn step(&self) -> Duration {
        let [first, longest] = if self.is_of_account { OF_ACCOUNT } else { [FIRST, LONGEST] };
        first.saturating_mul(1 << self.count.saturating_sub(1).min(16)).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RetryHint;
    use crate::testing::secs;

    fn fail(code: ErrorCode) -> Failure {
        Failure::new(code)
    }

    #[test]
    fn each_failure_of_an_attempt_doubles_the_cooldown_and_a_success_ends_it() {
        let mut now = Instant::now();
        let mut cooldown = MemberCooldown::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(cooldown.remaining(now), None);
            cooldown.start_attempt(now);
            let began = now;
            now += secs(1);
            assert_eq!(
                cooldown.record_failure(&fail(ErrorCode::ServerError), began, now),
                Some(secs(expected))
            );
            assert_eq!(cooldown.remaining(now), Some(secs(expected)));
            now += secs(expected);
        }
        assert!(cooldown.record_success(now) && !cooldown.record_success(now));
        assert_eq!(cooldown.record_failure(&fail(ErrorCode::Timeout), now, now), Some(secs(1)));
    }

    #[test]
    fn a_stored_cooldown_that_a_success_has_ended_does_not_begin_again() {
        let start = Instant::now();
        for (code, wait, begins) in [
            (ErrorCode::QuotaExhausted, 3_500, false),
            (ErrorCode::QuotaExhausted, 3_501, false),
            (ErrorCode::QuotaExhausted, 30, false),
            (ErrorCode::QuotaExhausted, 3_600, true),
            // This one is not in the store.
            (ErrorCode::ServerError, 3_500, true),
        ] {
            let mut cooldown = MemberCooldown::default();
            let retry_hint = Some(RetryHint { wait: Some(secs(3_600)), ..RetryHint::default() });
            cooldown.record_failure(&Failure { retry_hint, ..fail(code) }, start, start);
            assert!(cooldown.record_success(start + secs(1)));
            assert_eq!(cooldown.begin_stored(secs(wait), start + secs(100)), begins, "{code:?} {wait}");
        }
    }

    #[test]
    fn a_reset_ends_a_cooldown_and_failures_of_attempts_from_before_begin_no_other() {
        let start = Instant::now();
        for code in [ErrorCode::ServerError, ErrorCode::QuotaExhausted] {
            let mut cooldown = MemberCooldown::default();
            cooldown.record_failure(&busy(3_600), start, start);
            cooldown.record_failure(&fail(code), start + secs(4_000), start + secs(4_000));
            let now = start + secs(4_001);
            cooldown.reset(now);
            let retry_hint = Some(RetryHint { wait: Some(secs(3_600)), ..RetryHint::default() });
            let late = Failure { retry_hint, ..fail(code) };
            assert_eq!((cooldown.remaining(now), cooldown.record_failure(&late, now, now)), (None, None));
            // A later one is the first.
            let first = if is_of_account(code) { 60 } else { 1 };
            let began = now + secs(1);
            assert_eq!(cooldown.record_failure(&fail(code), began, began), Some(secs(first)), "{code}");
        }
    }

    #[test]
    fn a_stored_cooldown_that_a_reset_has_ended_does_not_begin_again() {
        let start = Instant::now();
        let mut cooldown = MemberCooldown::default();
        cooldown.record_failure(&fail(ErrorCode::QuotaExhausted), start, start);
        cooldown.reset(start + secs(10));
        assert!(!cooldown.begin_stored(secs(49), start + secs(11)));
        assert!(cooldown.begin_stored(secs(3_600), start + secs(11)), "one that began later");
    }

    /// Regression: it did after a failure of another kind in between.
    #[test]
    fn a_stored_cooldown_is_ended_whatever_failed_in_between() {
        let start = Instant::now();
        let mut cooldown = MemberCooldown::default();
        let retry_hint = Some(RetryHint { wait: Some(secs(3_600)), ..RetryHint::default() });
        cooldown.record_failure(&Failure { retry_hint, ..fail(ErrorCode::QuotaExhausted) }, start, start);
        let now = start + secs(60);
        cooldown.record_failure(&fail(ErrorCode::Overloaded), now, now);
        assert!(cooldown.record_success(now + secs(60)));
        assert!(!cooldown.begin_stored(secs(3_400), start + secs(200)));
        assert!(cooldown.begin_stored(secs(3_500), start + secs(200)), "one that began later");
    }

    /// Regression: a caller's mistake, a hedge that won, or a caller that left kept the member out for as
    /// long again.
    #[test]
    fn an_attempt_without_a_result_is_made_by_the_next_call() {
        let start = Instant::now();
        for began in [Some(start + secs(60)), None] {
            let mut cooldown = MemberCooldown::default();
            cooldown.record_failure(&fail(ErrorCode::Authentication), start, start);
            let now = start + secs(60);
            cooldown.start_attempt(now);
            // One that was in flight before has no part in it.
            cooldown.record_no_result(Some(start), now + secs(1));
            assert_eq!(cooldown.remaining(now + secs(1)), Some(secs(59)));
            match began {
                Some(began) => {
                    assert_eq!(
                        cooldown.record_failure(&fail(ErrorCode::InvalidRequest), began, now + secs(2)),
                        None
                    );
                }
                None => cooldown.record_no_result(None, now + secs(2)),
            }
            assert_eq!(cooldown.remaining(now + secs(2)), None);
            cooldown.start_attempt(now + secs(3));
            assert_eq!(cooldown.remaining(now + secs(3)), Some(secs(60)), "the next call makes it");
            assert!(cooldown.record_success(now + secs(3)));
        }
    }

    #[test]
    fn one_attempt_follows_each_cooldown() {
        let start = Instant::now();
        let mut cooldown = MemberCooldown::default();
        cooldown.record_failure(&fail(ErrorCode::ServerError), start, start);
        let now = start + secs(1);
        cooldown.start_attempt(now);
        assert_eq!(cooldown.remaining(now), Some(secs(60)), "nobody else tries while it hangs");
        // Regression guard: an attempt without any result does not leave it out for ever.
        assert_eq!(cooldown.remaining(now + secs(60)), None);
    }

    #[test]
    fn attempts_that_were_in_flight_before_are_no_further_evidence() {
        let start = Instant::now();
        let mut cooldown = MemberCooldown::default();
        assert_eq!(
            cooldown.record_failure(&fail(ErrorCode::ServerError), start, start + secs(1)),
            Some(secs(1))
        );
        assert_eq!(cooldown.record_failure(&fail(ErrorCode::ServerError), start, start + secs(1)), None);
        assert!(!cooldown.record_success(start), "it began before the failure");
        assert_eq!(cooldown.remaining(start + secs(1)), Some(secs(1)));
        // A time that the provider reports extends it, and an account that fails is another matter.
        assert_eq!(cooldown.record_failure(&busy(30), start, start + secs(1)), Some(secs(30)));
        let revoked = cooldown.record_failure(&fail(ErrorCode::Authentication), start, start + secs(1));
        assert_eq!(revoked, Some(secs(60)));
    }

    fn busy(wait: u64) -> Failure {
        let retry_hint = Some(RetryHint { wait: Some(secs(wait)), ..RetryHint::default() });
        Failure { retry_hint, ..fail(ErrorCode::RateLimited) }
    }

    /// Pitfall P28 (docs/pitfalls.md): a failure without a time left two seconds of an hour.
    #[test]
    fn a_failure_without_a_time_does_not_shorten_a_reported_one() {
        let start = Instant::now();
        for code in [ErrorCode::Overloaded, ErrorCode::RateLimited, ErrorCode::Authentication] {
            let mut cooldown = MemberCooldown::default();
            assert_eq!(cooldown.record_failure(&busy(3_600), start, start), Some(secs(3_600)));
            // All members were left out, so that it got a call all the same.
            let began = start + secs(60);
            cooldown.start_attempt(began);
            assert_eq!(cooldown.record_failure(&fail(code), began, began), Some(secs(3_540)), "{code}");
            assert_eq!(cooldown.remaining(began), Some(secs(3_540)), "{code}");
            // What the provider reports last applies.
            assert_eq!(cooldown.record_failure(&busy(5), began + secs(1), began + secs(1)), Some(secs(5)));
            assert_eq!(cooldown.remaining(began + secs(1)), Some(secs(5)));
        }
    }

    proptest! {
        /// Regression: while all members were left out, each call that was sent to one all the same doubled its
        /// cooldown.
        #[test]
        fn only_a_failure_after_a_cooldown_doubles_it(
            pauses in prop::collection::vec(1..3_000_u64, 1..60),
            code in prop::sample::select(vec![
                ErrorCode::ServerError,
                ErrorCode::RateLimited,
                ErrorCode::Authentication,
            ]),
        ) {
            let (mut now, mut cooldown, mut count) = (Instant::now(), MemberCooldown::default(), 0_u32);
            let [first, longest] = if is_of_account(code) { OF_ACCOUNT } else { [FIRST, LONGEST] };
            for pause in pauses {
                now += first * u32::try_from(pause).unwrap() / 1_000;
                count += u32::from(cooldown.remaining(now).is_none());
                cooldown.start_attempt(now);
                let expected = (first * 2_u32.pow((count - 1).min(16))).min(longest);
                prop_assert_eq!(cooldown.record_failure(&fail(code), now, now), Some(expected));
            }
        }

        #[test]
        fn no_failure_without_a_time_ends_a_cooldown_earlier(
            steps in prop::collection::vec((1..200_u64, 0..100_u64, prop::option::of(1..4_000_u64)), 1..12),
        ) {
            let (mut now, mut cooldown) = (Instant::now(), MemberCooldown::default());
            for (pause, duration, wait) in steps {
                now += secs(pause);
                let left = cooldown.remaining(now);
                cooldown.start_attempt(now);
                let (began, ended) = (now, now + secs(duration));
                now = ended;
                match wait {
                    Some(wait) => _ = cooldown.record_failure(&busy(wait), began, now),
                    None => {
                        _ = cooldown.record_failure(&fail(ErrorCode::Overloaded), began, now);
                        prop_assert!(cooldown.remaining(now) >= left.map(|left| left.saturating_sub(secs(duration))));
                        prop_assert!(cooldown.remaining(now) >= Some(secs(1)));
                    }
                }
            }
        }
    }

    #[test]
    fn the_code_decides_whether_a_member_is_left_out() {
        let now = Instant::now();
        for code in ErrorCode::ALL {
            let cooldown = MemberCooldown::default().record_failure(&fail(code), now, now);
            let expected = match code {
                ErrorCode::Authentication | ErrorCode::QuotaExhausted => Some(secs(60)),
                ErrorCode::RateLimited => Some(secs(1)),
                _ if code.counts_against_health() => Some(secs(1)),
                _ => None,
            };
            assert_eq!(cooldown, expected, "{code}");
        }
    }
}
