use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use crate::Usage;

/// The tokens that the attempts of one call have used so far.
///
/// The meter is a handle in the extensions of a request. A layer that counts tokens inserts it, and the wire
/// (`ClassifyLayer`) records in it what was sent, what was received, and the usage that the provider
/// reported. Without a meter nothing is counted and nothing is allocated. If several layers insert a meter,
/// each of them is updated: the outer meter is the parent of the [nested](Self::nested) one.
#[derive(Clone, Debug)]
pub struct UsageMeter(Arc<MeterState>);

#[derive(Debug)]
struct MeterState {
    /// The estimated tokens of the prompt, used until the provider reports them.
    prompt: u64,
    total: Mutex<UsageTotals>,
    parent: Option<UsageMeter>,
}

/// The totals of a [`UsageMeter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "tokens_used")]
pub struct UsageTotals {
    /// Attempts that reached the wire.
    pub attempts: u32,
    /// Tokens of their prompts: as reported by the provider, else as estimated.
    pub input: u64,
    /// Tokens of their responses: as reported by the provider, else as counted in the stream.
    pub output: u64,
    /// Tokens of their prompts that the providers reported to have read from their caches.
    pub cache_read: u64,
    /// Of these, those that `input` does not contain; see [`Usage::uncounted`].
    pub uncounted: u64,
    /// Tokens of their prompts that the providers reported to have written to their caches.
    pub cache_written: u64,
    /// Attempts with unknown output: the response has not begun, or cannot be read.
    pub unknown: u32,
}

/// The usage of one attempt, recorded by the wire. Every update changes the meters at once, so that the end
/// of the attempt need not be recorded.
#[derive(Debug)]
pub struct AttemptUsage {
    recorded: MeteredAttempt,
    input: Option<u64>,
    output: Option<u64>,
    cached: CachedTokens,
    /// Tokens that were seen in the response.
    seen: u64,
}

/// An attempt in the meters, in the extensions of the request that the wire sends on.
#[derive(Clone, Debug)]
struct MeteredAttempt {
    meter: UsageMeter,
    /// A wire below records the attempts that it makes of this one.
    is_replaced: Arc<AtomicBool>,
}

/// The tokens of a prompt that were read from a cache, also without those that count as input, and those that
/// were written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CachedTokens {
    read: u64,
    uncounted: u64,
    written: u64,
}

impl UsageMeter {
    /// A meter for a call with an estimated prompt of `prompt` tokens.
    #[must_use]
    pub fn new(prompt: u64) -> Self {
        Self(Arc::new(MeterState { prompt, total: Mutex::default(), parent: None }))
    }

    /// The meter of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Inserts a new meter into `extensions`, with the meter that was there as its parent. An update of the
    /// new meter updates its parent as well.
    #[must_use]
    pub fn nested(prompt: u64, extensions: &mut Extensions) -> Self {
        let parent = extensions.remove();
        let meter = Self(Arc::new(MeterState { prompt, total: Mutex::default(), parent }));
        extensions.insert(meter.clone());
        meter
    }

    /// Records that an attempt reaches the wire, if its request has a meter. In a stack inside of another one the
    /// attempts of the inner wire are recorded, and that of the outer one is not.
    #[inline]
    #[must_use]
    pub fn start_attempt(extensions: &mut Extensions) -> Option<AttemptUsage> {
        if Self::of(extensions).is_some() { Self::start_metered(extensions) } else { None }
    }

    #[cold]
    fn start_metered(extensions: &mut Extensions) -> Option<AttemptUsage> {
        let attempt = Self::of(extensions)?.attempt();
        if let Some(outer) = extensions.insert(attempt.recorded.clone()) {
            outer.replace();
        }
        Some(attempt)
    }

    fn attempt(&self) -> AttemptUsage {
        self.update_all(|prompt, total| {
            total.attempts = total.attempts.saturating_add(1);
            total.unknown = total.unknown.saturating_add(1);
            total.input = total.input.saturating_add(prompt);
        });
        AttemptUsage {
            recorded: MeteredAttempt { meter: self.clone(), is_replaced: Arc::default() },
            input: None,
            output: None,
            cached: CachedTokens::default(),
            seen: 0,
        }
    }

    /// The totals so far.
    #[must_use]
    pub fn read(&self) -> UsageTotals {
        *self.lock()
    }

    fn update_all(&self, change: impl Fn(u64, &mut UsageTotals)) {
        let mut next = Some(self);
        while let Some(meter) = next {
            change(meter.0.prompt, &mut meter.lock());
            next = meter.0.parent.as_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, UsageTotals> {
        self.0.total.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeteredAttempt {
    fn update_all(&self, change: impl Fn(u64, &mut UsageTotals)) {
        if !self.is_replaced.load(Ordering::Relaxed) {
            self.meter.update_all(change);
        }
    }

    /// Removes an attempt without a response from the meters.
    fn replace(&self) {
        self.update_all(|prompt, total| total.remove_attempt(prompt, None));
        self.is_replaced.store(true, Ordering::Relaxed);
    }
}

impl UsageTotals {
    fn remove_attempt(&mut self, input: u64, output: Option<u64>) {
        self.attempts = self.attempts.saturating_sub(1);
        self.input = self.input.saturating_sub(input);
        match output {
            Some(output) => self.output = self.output.saturating_sub(output),
            None => self.unknown = self.unknown.saturating_sub(1),
        }
    }
}

impl AttemptUsage {
    /// Removes the attempt from the meters, because it was rejected below the wire and never sent.
    pub fn withdraw(mut self) {
        self.set_cached(CachedTokens::default());
        let Self { recorded, input, output, .. } = self;
        recorded.update_all(|prompt, total| total.remove_attempt(input.unwrap_or(prompt), output));
    }

    /// Records that the provider rejected the request without processing it: no tokens were used.
    pub fn mark_unprocessed(&mut self) {
        self.update(Some(0), Some(0));
    }

    /// Records that the response can be metered, or has no content: usage that is not reported from here on
    /// counts as zero.
    pub fn start_response(&mut self) {
        self.update(self.input, Some(self.output.unwrap_or_default()));
    }

    /// Records `tokens` more tokens that were seen in the response, as its scanner estimates them.
    pub fn add_seen_tokens(&mut self, tokens: u32) {
        self.seen = self.seen.saturating_add(u64::from(tokens));
        match self.output {
            None => self.update(self.input, Some(self.seen)),
            Some(output) if output < self.seen => {
                self.output = Some(self.seen);
                let added = self.seen - output;
                self.recorded.update_all(|_, total| total.output = total.output.saturating_add(added));
            }
            Some(_) => {}
        }
    }

    /// Records the usage that the provider reports. Until it is final, the number of tokens seen may be larger and
    /// is then used, because some providers report the output only at the end.
    pub fn set_usage(&mut self, usage: Usage, is_final: bool) {
        let output = usage.output.map(|output| if is_final { output } else { output.max(self.seen) });
        self.update(usage.input.or(self.input), output.or(self.output));
        let CachedTokens { read, uncounted, written } = self.cached;
        self.set_cached(CachedTokens {
            read: usage.cache_read.unwrap_or(read),
            uncounted: usage.uncounted.unwrap_or(uncounted),
            written: usage.cache_written.unwrap_or(written),
        });
    }

    fn set_cached(&mut self, cached: CachedTokens) {
        let old = std::mem::replace(&mut self.cached, cached);
        if old != cached {
            self.recorded.update_all(|_, total| {
                for (total, old, new) in [
                    (&mut total.cache_read, old.read, cached.read),
                    (&mut total.uncounted, old.uncounted, cached.uncounted),
                    (&mut total.cache_written, old.written, cached.written),
                ] {
                    *total = total.saturating_sub(old).saturating_add(new);
                }
            });
        }
    }

    fn update(&mut self, input: Option<u64>, output: Option<u64>) {
        if (input, output) == (self.input, self.output) {
            return;
        }
        let (old_input, old_output) = (self.input, self.output);
        self.recorded.update_all(|prompt, total| {
            let rest = total.input.saturating_sub(old_input.unwrap_or(prompt));
            total.input = rest.saturating_add(input.unwrap_or(prompt));
            let rest = total.output.saturating_sub(old_output.unwrap_or_default());
            total.output = rest.saturating_add(output.unwrap_or_default());
            if old_output.is_none() && output.is_some() {
                total.unknown = total.unknown.saturating_sub(1);
            }
        });
        (self.input, self.output) = (input, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    fn totals(attempts: u32, input: u64, output: u64, unknown: u32) -> UsageTotals {
        UsageTotals { attempts, input, output, unknown, ..UsageTotals::default() }
    }

    #[test]
    fn an_attempt_counts_as_estimated_until_its_usage_is_known() {
        let meter = UsageMeter::new(100);
        assert_eq!(meter.read(), UsageTotals::default());
        let mut attempt = meter.attempt();
        assert_eq!(meter.read(), totals(1, 100, 0, 1));
        attempt.add_seen_tokens(3);
        assert_eq!(meter.read(), totals(1, 100, 3, 0));
        // Anthropic reports the input first, and an output of 1.
        attempt.set_usage(usage(90, 1), false);
        assert_eq!((meter.read().input, meter.read().output), (90, 3));
        attempt.add_seen_tokens(4);
        attempt.set_usage(usage(90, 6), true);
        assert_eq!((meter.read().input, meter.read().output), (90, 6));
    }

    #[test]
    fn the_attempts_of_one_call_add_up() {
        let meter = UsageMeter::new(100);
        meter.attempt().mark_unprocessed();
        let mut broken = meter.attempt();
        broken.start_response();
        broken.add_seen_tokens(7);
        drop(broken);
        let mut good = meter.attempt();
        good.set_usage(usage(110, 50), true);
        meter.attempt().withdraw();
        assert_eq!(meter.read(), totals(3, 210, 57, 0));
    }

    #[test]
    fn nested_meters_are_all_updated() {
        let mut extensions = Extensions::new();
        let outer = UsageMeter::nested(100, &mut extensions);
        let inner = UsageMeter::nested(80, &mut extensions);
        let mut attempt = UsageMeter::of(&extensions).unwrap().attempt();
        assert_eq!((outer.read().input, inner.read().input), (100, 80));
        attempt.set_usage(usage(90, 5), true);
        assert_eq!(outer.read(), inner.read());
        assert_eq!(outer.read(), totals(1, 90, 5, 0));
    }

    #[test]
    fn an_attempt_that_passes_two_wires_counts_as_those_of_the_inner_one() {
        let mut extensions = Extensions::new();
        let outer = UsageMeter::nested(100, &mut extensions);
        let mut by_outer = UsageMeter::start_attempt(&mut extensions).unwrap();
        let inner = UsageMeter::nested(80, &mut extensions);
        // The inner stack has retries.
        for expected in [totals(1, 90, 5, 0), totals(2, 180, 10, 0)] {
            let mut by_inner = UsageMeter::start_attempt(&mut extensions.clone()).unwrap();
            by_inner.set_usage(usage(90, 5), true);
            assert_eq!((outer.read(), inner.read()), (expected, expected));
        }
        by_outer.set_usage(usage(90, 5), true);
        by_outer.withdraw();
        assert_eq!((outer.read(), inner.read()), (totals(2, 180, 10, 0), totals(2, 180, 10, 0)));
    }

    #[test]
    fn the_last_report_of_cached_tokens_counts_once_in_every_meter() {
        let mut extensions = Extensions::new();
        let outer = UsageMeter::nested(0, &mut extensions);
        let inner = UsageMeter::nested(0, &mut extensions);
        let cached = |meter: &UsageMeter| {
            let used = meter.read();
            (used.cache_read, used.uncounted, used.cache_written)
        };
        let mut attempt = inner.attempt();
        let begun =
            Usage { cache_read: Some(900), uncounted: Some(900), cache_written: Some(100), ..usage(10, 1) };
        attempt.set_usage(begun, false);
        attempt.set_usage(Usage { cache_read: Some(950), uncounted: Some(950), ..usage(10, 5) }, true);
        let mut other = inner.attempt();
        other.set_usage(Usage { cache_read: Some(50), ..usage(10, 5) }, true);
        assert_eq!((cached(&inner), cached(&outer)), ((1_000, 950, 100), (1_000, 950, 100)));
        attempt.withdraw();
        assert_eq!((cached(&inner), cached(&outer)), ((50, 0, 0), (50, 0, 0)));
    }

    #[test]
    fn absurd_counts_neither_panic_nor_overflow() {
        let meter = UsageMeter::new(u64::MAX);
        let mut attempt = meter.attempt();
        let mut other = meter.attempt();
        attempt.set_usage(usage(u64::MAX, u64::MAX), false);
        other.set_usage(usage(u64::MAX, u64::MAX), true);
        attempt.add_seen_tokens(u32::MAX);
        attempt.set_usage(usage(0, 0), true);
        other.withdraw();
        assert_eq!(meter.read().attempts, 1);
    }
}
