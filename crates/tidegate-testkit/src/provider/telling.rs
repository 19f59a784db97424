use std::time::Duration;

use bytes::Bytes;

use super::dialect::{Answer, Dialect, Event, Events, Framer, Framing, Stop};
use super::reply::{Ending, Reply};
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
    Silence(Silence),
    /// Lets the frames so far reach the caller.
    Flush,
    Fail(Fault),
}

/// Nothing is said for a while but, now and then, that somebody is still there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Silence {
    /// How long; for ever if it is not set.
    pub(super) time: Option<Duration>,
    /// The sign of life, and how often it comes.
    pub(super) pings: Option<(Duration, Bytes)>,
}

/// Who tells, and in which frames.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) framing: Framing,
    pub(super) request_id: &'a str,
}

/// A stream on its way to be a row of steps.
struct Stream<'a> {
    teller: &'a Teller<'a>,
    reply: &'a Reply,
    framer: Framer,
    steps: Vec<Step>,
    /// Events so far, those that are faults left out.
    events: usize,
}

impl Telling {
    /// One JSON text. All faults come after half of it.
    pub(super) fn whole(text: String, reply: &Reply) -> Self {
        let text = Bytes::from(text);
        let promised = Some(text.len() as u64);
        let half = text.slice(..text.len() / 2);
        let (sent, length, end) = match reply.ending {
            Ending::Whole | Ending::ErrorAt(..) | Ending::FailedAt(..) => (text, promised, Vec::new()),
            Ending::EndAfter(_) => (half, None, Vec::new()),
            Ending::StallAfter(_) => (half, promised, vec![Step::Silence(Silence::default())]),
            Ending::CutAfter(_) => (half, promised, vec![Step::Flush, Step::Fail(Fault::cut())]),
            Ending::ResetAfter(_) => (half, promised, vec![Step::Flush, Step::Fail(Fault::reset())]),
        };
        Self { steps: [Step::Frame(sent)].into_iter().chain(end).collect(), length }
    }

    /// An answer as a stream of events.
    pub(super) fn stream(answer: &Answer<'_>, reply: &Reply, teller: &Teller<'_>) -> Self {
        let Events { before, mut tokens, after } = teller.dialect.stream(answer);
        let giant = reply.giant_at.map(|(at, bytes)| (at, giant(answer, teller.dialect, bytes)));
        if let Some(said) = reply.ending.after() {
            tokens.truncate(said);
        }
        let mut stream = Stream::new(reply, teller);
        for event in before {
            if stream.tell(event, giant.as_ref()) {
                return stream.over();
            }
        }
        let last = tokens.len();
        for (number, events) in tokens.into_iter().enumerate() {
            stream.pause(number);
            if number > 0 {
                stream.silence(Some(reply.pace));
            }
            for event in events {
                if stream.tell(event, giant.as_ref()) {
                    return stream.over();
                }
            }
        }
        stream.pause(last);
        if reply.ending.after().is_none() {
            for event in after {
                if stream.tell(event, giant.as_ref()) {
                    return stream.over();
                }
            }
        }
        stream.end()
    }

    /// Frames as they were given.
    pub(super) fn raw(frames: &[Bytes], reply: &Reply, teller: &Teller<'_>) -> Self {
        let said = match reply.ending {
            Ending::ErrorAt(said, _) | Ending::FailedAt(said, _) => said,
            _ => reply.ending.after().unwrap_or(usize::MAX),
        };
        let mut stream = Stream::new(reply, teller);
        for (number, frame) in frames.iter().take(said).enumerate() {
            if number > 0 {
                stream.silence(Some(reply.pace));
            }
            stream.steps.push(Step::Frame(frame.clone()));
        }
        // Whoever gives the frames gives the last of them, too.
        stream.end_without_more()
    }
}

impl<'a> Stream<'a> {
    fn new(reply: &'a Reply, teller: &'a Teller<'a>) -> Self {
        Self { teller, reply, framer: Framer::new(teller.framing), steps: Vec::new(), events: 0 }
    }

    /// The next event, and before it what is out of order there; whether the stream is over by that.
    fn tell(&mut self, event: Event, giant: Option<&(usize, Event)>) -> bool {
        if self.reply.malformed_at == Some(self.events) {
            self.send(self.teller.dialect.malformed_event());
        }
        if let Some((_, giant)) = giant.filter(|(at, _)| *at == self.events) {
            self.send(giant.clone());
        }
        if let Ending::ErrorAt(at, _) | Ending::FailedAt(at, _) = self.reply.ending
            && at == self.events
        {
            self.fail();
            return true;
        }
        self.send(event);
        self.events += 1;
        false
    }

    fn send(&mut self, event: Event) {
        self.steps.push(Step::Frame(self.framer.frame(event)));
    }

    /// The pause that comes after `tokens` tokens.
    fn pause(&mut self, tokens: usize) {
        if let Some((after, time)) = self.reply.pause
            && after == tokens
        {
            self.silence(Some(time));
        }
    }

    /// For `time`, or for ever.
    fn silence(&mut self, time: Option<Duration>) {
        let every = self.reply.pings.filter(|every| !every.is_zero());
        let pings = every.map(|every| (every, self.framer.ping(self.teller.dialect.ping())));
        if time.is_none_or(|time| !time.is_zero()) {
            self.steps.push(Step::Silence(Silence { time, pings }));
        }
    }

    fn fail(&mut self) {
        let Teller { dialect, request_id, .. } = *self.teller;
        let event = match &self.reply.ending {
            Ending::ErrorAt(_, words) => dialect.error_event(words, request_id),
            Ending::FailedAt(_, words) => dialect.failed_event(words, request_id),
            _ => return,
        };
        self.send(event);
    }

    fn end(mut self) -> Telling {
        match self.reply.ending {
            Ending::Whole => self.over(),
            Ending::ErrorAt(..) | Ending::FailedAt(..) => {
                self.fail();
                self.over()
            }
            _ => self.end_without_more(),
        }
    }

    /// What closes the frames, and the end.
    fn over(mut self) -> Telling {
        self.steps.extend(self.framer.end().map(Step::Frame));
        Telling { steps: self.steps, length: None }
    }

    /// The end that the script asks for.
    fn end_without_more(mut self) -> Telling {
        match self.reply.ending {
            Ending::Whole | Ending::EndAfter(_) => {}
            Ending::StallAfter(_) => self.silence(None),
            Ending::CutAfter(_) => self.steps.extend([Step::Flush, Step::Fail(Fault::cut())]),
            Ending::ResetAfter(_) => self.steps.extend([Step::Flush, Step::Fail(Fault::reset())]),
            Ending::ErrorAt(..) | Ending::FailedAt(..) => self.fail(),
        }
        Telling { steps: self.steps, length: None }
    }
}

/// A token of so many bytes, on its own.
fn giant(answer: &Answer<'_>, dialect: &dyn Dialect, bytes: usize) -> Event {
    let tokens = ["x".repeat(bytes)];
    let giant = Answer { reasoning: &[], tokens: &tokens, tool: None, stop: &Stop::Natural, ..*answer };
    let tokens = dialect.stream(&giant).tokens;
    tokens.into_iter().flatten().next_back().expect("a token has an event")
}

impl Ending {
    /// How many tokens come before the end, if it is not the end of all of them.
    const fn after(&self) -> Option<usize> {
        match self {
            Self::StallAfter(said) | Self::CutAfter(said) | Self::ResetAfter(said) | Self::EndAfter(said) => {
                Some(*said)
            }
            Self::Whole | Self::ErrorAt(..) | Self::FailedAt(..) => None,
        }
    }
}
