use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use crate::Usage;

/// What the attempts of one call have used so far, in tokens.
///
/// A handle: the one who counts tokens puts one into the extensions of a request, and the wire (`ClassifyLayer`)
/// writes to it what was sent, what came, and what the provider counted. Without one nothing is counted and nothing
/// is allocated. Of several on the way of one request each hears everything: the inner ones have the outer ones for
/// [parents](Self::nested).
#[derive(Clone, Debug)]
pub struct UsageMeter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What the prompt is taken to be until the provider says.
    prompt: u64,
    total: Mutex<UsageTotals>,
    parent: Option<UsageMeter>,
}

/// What a [`UsageMeter`] shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// Attempts that reached the wire.
    pub attempts: u32,
    /// Tokens of their prompts: as counted by the provider, else as estimated.
    pub input: u64,
    /// Tokens of their answers: as counted by the provider, else as seen.
    pub output: u64,
    /// Of the attempts, those of whose answers nothing is known: not begun, or not to be read.
    pub unknown: u32,
}

/// One attempt, as the wire tells of it. Whatever is told is on the meters at once: how it ends needs no telling.
#[derive(Debug)]
pub struct AttemptUsage {
    meter: UsageMeter,
    input: Option<u64>,
    output: Option<u64>,
    /// Pieces of the answer that have come.
    seen: u64,
}

impl UsageMeter {
    /// A meter for a call whose prompt has about `prompt` tokens.
    #[must_use]
    pub fn new(prompt: u64) -> Self {
        Self(Arc::new(Inner { prompt, total: Mutex::default(), parent: None }))
    }

    /// The meter of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// A meter that is put into `extensions`, so that what is told to it is told to the one that was there, too.
    #[must_use]
    pub fn nested(prompt: u64, extensions: &mut Extensions) -> Self {
        let parent = extensions.remove();
        let meter = Self(Arc::new(Inner { prompt, total: Mutex::default(), parent }));
        extensions.insert(meter.clone());
        meter
    }

    /// An attempt reaches the wire.
    #[must_use]
    pub fn attempt(&self) -> AttemptUsage {
        self.each(|prompt, total| {
            total.attempts = total.attempts.saturating_add(1);
            total.unknown = total.unknown.saturating_add(1);
            total.input = total.input.saturating_add(prompt);
        });
        AttemptUsage { meter: self.clone(), input: None, output: None, seen: 0 }
    }

    /// What has been used so far.
    #[must_use]
    pub fn read(&self) -> UsageTotals {
        *self.lock()
    }

    fn each(&self, change: impl Fn(u64, &mut UsageTotals)) {
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

impl AttemptUsage {
    /// It was not sent after all: somebody below the wire refused it.
    pub fn withdraw(self) {
        let Self { meter, input, output, .. } = self;
        meter.each(|prompt, total| {
            total.attempts = total.attempts.saturating_sub(1);
            total.input = total.input.saturating_sub(input.unwrap_or(prompt));
            match output {
                Some(output) => total.output = total.output.saturating_sub(output),
                None => total.unknown = total.unknown.saturating_sub(1),
            }
        });
    }

    /// The provider turned it down unread: no tokens were used.
    pub fn mark_unprocessed(&mut self) {
        self.tell(Some(0), Some(0));
    }

    /// The answer is one that can be followed, or one without a word: from here on what is not told has not been
    /// used.
    pub fn start_response(&mut self) {
        self.tell(self.input, Some(self.output.unwrap_or_default()));
    }

    /// Pieces of the answer came. One is taken for a token, as most providers cut them.
    pub fn add_chunks(&mut self, pieces: u32) {
        self.seen = self.seen.saturating_add(u64::from(pieces));
        if self.output.is_none_or(|output| output < self.seen) {
            self.tell(self.input, Some(self.seen));
        }
    }

    /// The provider said what it has counted up to now. Until the end the pieces that came may be more than that:
    /// some count only then.
    pub fn set_usage(&mut self, usage: Usage, is_final: bool) {
        let output = usage.output.map(|output| if is_final { output } else { output.max(self.seen) });
        self.tell(usage.input.or(self.input), output.or(self.output));
    }

    fn tell(&mut self, input: Option<u64>, output: Option<u64>) {
        if (input, output) == (self.input, self.output) {
            return;
        }
        let (was_input, was_output) = (self.input, self.output);
        self.meter.each(|prompt, total| {
            let rest = total.input.saturating_sub(was_input.unwrap_or(prompt));
            total.input = rest.saturating_add(input.unwrap_or(prompt));
            let rest = total.output.saturating_sub(was_output.unwrap_or_default());
            total.output = rest.saturating_add(output.unwrap_or_default());
            if was_output.is_none() && output.is_some() {
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
        Usage { input: Some(input), output: Some(output) }
    }

    #[test]
    fn an_attempt_is_taken_for_the_estimate_until_somebody_knows_better() {
        let meter = UsageMeter::new(100);
        assert_eq!(meter.read(), UsageTotals::default());
        let mut attempt = meter.attempt();
        assert_eq!(meter.read(), UsageTotals { attempts: 1, input: 100, output: 0, unknown: 1 });
        attempt.add_chunks(3);
        assert_eq!(meter.read(), UsageTotals { attempts: 1, input: 100, output: 3, unknown: 0 });
        // Anthropic tells the input first, and an output of 1.
        attempt.set_usage(usage(90, 1), false);
        assert_eq!((meter.read().input, meter.read().output), (90, 3));
        attempt.add_chunks(4);
        attempt.set_usage(usage(90, 6), true);
        assert_eq!((meter.read().input, meter.read().output), (90, 6));
    }

    #[test]
    fn the_attempts_of_one_call_add_up() {
        let meter = UsageMeter::new(100);
        meter.attempt().mark_unprocessed();
        let mut broken = meter.attempt();
        broken.start_response();
        broken.add_chunks(7);
        drop(broken);
        let mut good = meter.attempt();
        good.set_usage(usage(110, 50), true);
        meter.attempt().withdraw();
        assert_eq!(meter.read(), UsageTotals { attempts: 3, input: 210, output: 57, unknown: 0 });
    }

    #[test]
    fn each_of_several_meters_hears_everything() {
        let mut extensions = Extensions::new();
        let outer = UsageMeter::nested(100, &mut extensions);
        let inner = UsageMeter::nested(80, &mut extensions);
        let mut attempt = UsageMeter::of(&extensions).unwrap().attempt();
        assert_eq!((outer.read().input, inner.read().input), (100, 80));
        attempt.set_usage(usage(90, 5), true);
        assert_eq!(outer.read(), inner.read());
        assert_eq!(outer.read(), UsageTotals { attempts: 1, input: 90, output: 5, unknown: 0 });
    }

    #[test]
    fn absurd_counts_neither_panic_nor_overflow() {
        let meter = UsageMeter::new(u64::MAX);
        let mut attempt = meter.attempt();
        let mut other = meter.attempt();
        attempt.set_usage(usage(u64::MAX, u64::MAX), false);
        other.set_usage(usage(u64::MAX, u64::MAX), true);
        attempt.add_chunks(u32::MAX);
        attempt.set_usage(usage(0, 0), true);
        other.withdraw();
        assert_eq!(meter.read().attempts, 1);
    }
}
