use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::response_times::ResponseTimes;

/// How long a target usually takes to its first token: streams and whole answers apart, since the first token of a whole
/// answer arrives with its last one.
#[derive(Debug, Default)]
pub(crate) struct TargetTimes {
    streams: Mutex<ResponseTimes>,
    documents: Mutex<ResponseTimes>,
}

/// Whether a request is for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Stream,
    Document,
}

impl TargetTimes {
    /// Records the time of a call that has its first token.
    pub(super) fn record(&self, kind: AnswerKind, time: Duration) {
        self.of(kind).record(time);
    }

    /// Records a call that was given up after `time` without a first token. Its whole time is unknown, and is recorded only
    /// if it is certain to be above the percentile: to leave out all such calls would make the target look faster.
    pub(super) fn record_cut_off(&self, kind: AnswerKind, time: Duration, percentile: f64) {
        let mut times = self.of(kind);
        if times.percentile(percentile).is_some_and(|usual| time >= usual) {
            times.record(time);
        }
    }

    /// The percentile, if there are at least `min_samples` times.
    pub(super) fn percentile(&self, kind: AnswerKind, percentile: f64, min_samples: u32) -> Option<Duration> {
        let times = self.of(kind);
        if times.count() < min_samples { None } else { times.percentile(percentile) }
    }

    fn of(&self, kind: AnswerKind) -> MutexGuard<'_, ResponseTimes> {
        let times = match kind {
            AnswerKind::Stream => &self.streams,
            AnswerKind::Document => &self.documents,
        };
        times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn streams_and_documents_are_measured_apart_and_need_their_samples() {
        let times = TargetTimes::default();
        (0..20).for_each(|_| times.record(AnswerKind::Stream, SECOND));
        assert_eq!(times.percentile(AnswerKind::Stream, 95.0, 21), None);
        assert!(times.percentile(AnswerKind::Stream, 95.0, 20).is_some_and(|time| time >= SECOND));
        assert_eq!(times.percentile(AnswerKind::Document, 95.0, 1), None);
    }

    /// Every twentieth call is given up at the percentile, as one whose hedge is faster. Without these calls the
    /// percentile would sink from one to the next.
    #[test]
    fn calls_that_are_given_up_late_count_and_others_do_not() {
        let times = TargetTimes::default();
        (1..=100_u32).for_each(|centis| times.record(AnswerKind::Stream, SECOND / 100 * centis));
        let read = || times.percentile(AnswerKind::Stream, 95.0, 1).unwrap();
        let before = read();
        for round in 0..2_000_u32 {
            match round % 20 {
                19 => times.record_cut_off(AnswerKind::Stream, read(), 95.0),
                other => times.record(AnswerKind::Stream, SECOND / 20 * (1 + other)),
            }
            times.record_cut_off(AnswerKind::Stream, SECOND / 10, 95.0);
        }
        let ratio = read().as_secs_f64() / before.as_secs_f64();
        assert!((0.95..1.05).contains(&ratio), "{before:?} {:?}", read());
    }
}
