use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::response_times::ResponseTimes;
use crate::sync::unpoisoned;

/// How long a target usually takes to its first token: streams and whole answers apart, since the first token
/// of a whole answer arrives with its last one.
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

    /// Records a call that was given up after `time` without a first token. Its whole time is unknown, and is
    /// recorded only if it is certain to be above the percentile: to leave out all such calls would make the
    /// target look faster.
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
        unpoisoned(times.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SECOND;

    #[test]
    fn streams_and_documents_are_measured_apart_and_need_their_samples() {
        let times = TargetTimes::default();
        (0..20).for_each(|_| times.record(AnswerKind::Stream, SECOND));
        assert_eq!(times.percentile(AnswerKind::Stream, 95.0, 21), None);
        assert!(times.percentile(AnswerKind::Stream, 95.0, 20).is_some_and(|time| time >= SECOND));
        assert_eq!(times.percentile(AnswerKind::Document, 95.0, 1), None);
    }

    /// Every call that takes longer than the percentile is cut off there, as if its hedge were faster. Without
    /// these calls the percentile would sink from one window to the next.
    #[test]
    fn calls_that_are_given_up_late_count_and_others_do_not() {
        let times = TargetTimes::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut percentile = Duration::MAX;
        for call in 0..20_000 {
            let time = SECOND.mul_f64(random.f64());
            if time > percentile {
                times.record_cut_off(AnswerKind::Stream, percentile, 95.0)
            } else {
                times.record(AnswerKind::Stream, time)
            }
            times.record_cut_off(AnswerKind::Stream, SECOND / 10, 95.0);
            if call > 200 {
                percentile = times.percentile(AnswerKind::Stream, 95.0, 1).unwrap();
                assert!((0.85..1.05).contains(&percentile.as_secs_f64()), "{percentile:?} at call {call}");
            }
        }
    }
}
