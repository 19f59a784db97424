use std::time::Duration;

use bytes::Bytes;

use super::dialect::{Answer, Dialect, Events};
use super::reply::{Ending, ErrorWords, Reply};
use crate::Fault;

/// A body as a row of steps, before anybody reads it.
#[derive(Debug, Default)]
pub(super) struct Telling {
    pub(super) steps: Vec<Step>,
    /// The length that the head promises.
    pub(super) length: Option<u64>,
}

/// What a body does next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Frame(Bytes),
    Wait(Duration),
    /// Lets the frames so far reach the caller.
    Flush,
    Stall,
    Pings(Duration, Bytes),
    Fail(Fault),
}

impl Telling {
    /// One JSON text. All faults come after half of it.
    pub(super) fn whole(text: String, reply: &Reply, dialect: &dyn Dialect) -> Self {
        let text = Bytes::from(text);
        let length = Some(text.len() as u64);
        let half = text.slice(..text.len() / 2);
        match reply.ending {
            Ending::Whole | Ending::ErrorAt(..) => Self { steps: vec![Step::Frame(text)], length },
            Ending::EndAfter(_) => Self { steps: vec![Step::Frame(half)], length: None },
            Ending::StallAfter(_) => {
                let mut telling = Self { steps: vec![Step::Frame(half)], length };
                telling.stall(None, dialect);
                telling
            }
            Ending::CutAfter(_) => {
                let mut telling = Self { steps: vec![Step::Frame(half)], length };
                telling.cut();
                telling
            }
        }
    }

    /// An answer as a stream of events.
    pub(super) fn stream(
        answer: &Answer<'_>,
        reply: &Reply,
        dialect: &dyn Dialect,
        request_id: &str,
    ) -> Self {
        let Events { before, mut tokens, after } = dialect.stream(answer);
        let said = match reply.ending {
            Ending::StallAfter(said) | Ending::CutAfter(said) | Ending::EndAfter(said) => said,
            Ending::Whole | Ending::ErrorAt(..) => usize::MAX,
        };
        tokens.truncate(said);
        let is_whole = matches!(reply.ending, Ending::Whole | Ending::ErrorAt(..));
        let first = before.len();
        let mut events = before;
        let last = first + tokens.len();
        events.extend(tokens);
        if is_whole {
            events.extend(after);
        }
        let mut telling = Self::default();
        for (number, event) in events.into_iter().enumerate() {
            if telling.breaks_at(number, reply, dialect, request_id) {
                return telling;
            }
            if number > first && number < last {
                telling.wait(reply.pace);
            }
            telling.steps.push(Step::Frame(event));
        }
        telling.end(&reply.ending, reply.pings, dialect, request_id);
        telling
    }

    /// Frames as they were given.
    pub(super) fn raw(frames: &[Bytes], reply: &Reply, dialect: &dyn Dialect, request_id: &str) -> Self {
        let said = match reply.ending {
            Ending::StallAfter(said)
            | Ending::CutAfter(said)
            | Ending::EndAfter(said)
            | Ending::ErrorAt(said, _) => said,
            Ending::Whole => usize::MAX,
        };
        let mut telling = Self::default();
        for (number, frame) in frames.iter().take(said).enumerate() {
            if number > 0 {
                telling.wait(reply.pace);
            }
            telling.steps.push(Step::Frame(frame.clone()));
        }
        telling.end(&reply.ending, reply.pings, dialect, request_id);
        telling
    }

    /// Puts in what goes wrong before event `number`; whether the stream is over by that.
    fn breaks_at(&mut self, number: usize, reply: &Reply, dialect: &dyn Dialect, request_id: &str) -> bool {
        if reply.malformed_at == Some(number) {
            self.steps.push(Step::Frame(dialect.malformed_event()));
        }
        match &reply.ending {
            Ending::ErrorAt(at, words) if *at == number => {
                self.error(words, dialect, request_id);
                true
            }
            _ => false,
        }
    }

    fn end(&mut self, ending: &Ending, pings: Option<Duration>, dialect: &dyn Dialect, request_id: &str) {
        match ending {
            Ending::Whole | Ending::EndAfter(_) => {}
            Ending::StallAfter(_) => self.stall(pings, dialect),
            Ending::CutAfter(_) => self.cut(),
            Ending::ErrorAt(_, words) => self.error(words, dialect, request_id),
        }
    }

    fn wait(&mut self, time: Duration) {
        if !time.is_zero() {
            self.steps.push(Step::Wait(time));
        }
    }

    fn stall(&mut self, pings: Option<Duration>, dialect: &dyn Dialect) {
        self.steps.push(match pings {
            Some(every) => Step::Pings(every, dialect.ping()),
            None => Step::Stall,
        });
    }

    fn cut(&mut self) {
        self.steps.extend([Step::Flush, Step::Fail(Fault::cut())]);
    }

    fn error(&mut self, words: &ErrorWords, dialect: &dyn Dialect, request_id: &str) {
        self.steps.push(Step::Frame(dialect.error_event(words, request_id)));
    }
}
