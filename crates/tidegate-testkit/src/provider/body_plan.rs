use std::time::Duration;

use bytes::Bytes;

use super::dialect::{Completion, EventFramer, StreamEvents, TestDialect, WireEvent};
use super::framing::Framing;
use super::reply::{Reply, ReplyEnding};
use super::stop_kind::StopKind;
use crate::Fault;

/// A body as a sequence of steps, planned before the body is read.
#[derive(Debug, Default)]
pub(super) struct BodyPlan {
    pub(super) steps: Vec<BodyStep>,
    /// The length that the head declares.
    pub(super) length: Option<u64>,
}

/// One step of a body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum BodyStep {
    Frame(Bytes),
    Quiet(QuietPeriod),
    /// Flushes the previous frames to the caller.
    Flush,
    Fail(Fault),
}

/// A period without tokens, in which only pings are sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QuietPeriod {
    /// Its duration. It never ends if this is not set.
    pub(super) time: Option<Duration>,
    /// The interval of the pings, and the ping.
    pub(super) pings: Option<(Duration, Bytes)>,
}

/// The dialect and the framing of a stream.
#[derive(Clone, Copy)]
pub(super) struct StreamFormat<'a> {
    pub(super) dialect: &'static dyn TestDialect,
    pub(super) framing: Framing,
    pub(super) request_id: &'a str,
}

/// Builds the steps of a stream.
struct StreamPlanner<'a> {
    format: &'a StreamFormat<'a>,
    reply: &'a Reply,
    framer: EventFramer,
    steps: Vec<BodyStep>,
    /// The number of events so far, without injected ones.
    events: usize,
}

impl BodyPlan {
    /// A body of one JSON text. All faults come after half of it.
    pub(super) fn json(text: String, reply: &Reply) -> Self {
        let text = Bytes::from(text);
        let promised = Some(text.len() as u64);
        let half = text.slice(..text.len() / 2);
        let (sent, length, end) = match reply.ending {
            ReplyEnding::Whole | ReplyEnding::ErrorAt(..) | ReplyEnding::FailedAt(..) => {
                (text, promised, Vec::new())
            }
            ReplyEnding::EndAfter(_) => (half, None, Vec::new()),
            ReplyEnding::StallAfter(_) => (half, promised, vec![BodyStep::Quiet(QuietPeriod::default())]),
            ReplyEnding::CutAfter(_) => (half, promised, vec![BodyStep::Flush, BodyStep::Fail(Fault::cut())]),
            ReplyEnding::ResetAfter(_) => {
                (half, promised, vec![BodyStep::Flush, BodyStep::Fail(Fault::reset())])
            }
        };
        Self { steps: [BodyStep::Frame(sent)].into_iter().chain(end).collect(), length }
    }

    /// A response as a stream of events.
    pub(super) fn stream(completion: &Completion<'_>, reply: &Reply, format: &StreamFormat<'_>) -> Self {
        let StreamEvents { before, mut tokens, after } = format.dialect.stream(completion);
        let giant = reply.giant_at.map(|(at, bytes)| (at, giant(completion, format.dialect, bytes)));
        if let Some(count) = reply.ending.token_count() {
            tokens.truncate(count);
        }
        let mut stream = StreamPlanner::new(reply, format);
        for event in before {
            if stream.push_event(event, giant.as_ref()) {
                return stream.close();
            }
        }
        let last = tokens.len();
        for (number, events) in tokens.into_iter().enumerate() {
            stream.push_pause_after(number);
            if number > 0 {
                stream.push_quiet(Some(reply.pace));
            }
            for event in events {
                if stream.push_event(event, giant.as_ref()) {
                    return stream.close();
                }
            }
        }
        stream.push_pause_after(last);
        if reply.ending.token_count().is_none() {
            for event in after {
                if stream.push_event(event, giant.as_ref()) {
                    return stream.close();
                }
            }
        }
        stream.finish()
    }

    /// A body of frames that are sent as they are.
    pub(super) fn raw(frames: &[Bytes], reply: &Reply, format: &StreamFormat<'_>) -> Self {
        let count = match reply.ending {
            ReplyEnding::ErrorAt(count, _) | ReplyEnding::FailedAt(count, _) => count,
            _ => reply.ending.token_count().unwrap_or(usize::MAX),
        };
        let mut stream = StreamPlanner::new(reply, format);
        for (number, frame) in frames.iter().take(count).enumerate() {
            if number > 0 {
                stream.push_quiet(Some(reply.pace));
            }
            stream.steps.push(BodyStep::Frame(frame.clone()));
        }
        // A raw body contains its own terminator.
        stream.end_early()
    }
}

impl<'a> StreamPlanner<'a> {
    fn new(reply: &'a Reply, format: &'a StreamFormat<'a>) -> Self {
        Self { format, reply, framer: EventFramer::new(format.framing), steps: Vec::new(), events: 0 }
    }

    /// Adds the next event, after the malformed and giant events that are due before it. Returns whether the
    /// stream ends before the event.
    fn push_event(&mut self, event: WireEvent, giant: Option<&(usize, WireEvent)>) -> bool {
        if self.reply.malformed_at == Some(self.events) {
            self.push_frame(self.format.dialect.malformed_event());
        }
        if let Some((_, giant)) = giant.filter(|(at, _)| *at == self.events) {
            self.push_frame(giant.clone());
        }
        if let ReplyEnding::ErrorAt(at, _) | ReplyEnding::FailedAt(at, _) = self.reply.ending
            && at == self.events
        {
            self.push_failure();
            return true;
        }
        self.push_frame(event);
        self.events += 1;
        false
    }

    fn push_frame(&mut self, event: WireEvent) {
        self.steps.push(BodyStep::Frame(self.framer.frame(event)));
    }

    /// Adds the pause that is due after `tokens` tokens.
    fn push_pause_after(&mut self, tokens: usize) {
        if let Some((after, time)) = self.reply.pause
            && after == tokens
        {
            self.push_quiet(Some(time));
        }
    }

    /// Adds a quiet period of `time`, or one without an end.
    fn push_quiet(&mut self, time: Option<Duration>) {
        let every = self.reply.pings.filter(|every| !every.is_zero());
        let pings = every.map(|every| (every, self.framer.ping(self.format.dialect.ping())));
        if time.is_none_or(|time| !time.is_zero()) {
            self.steps.push(BodyStep::Quiet(QuietPeriod { time, pings }));
        }
    }

    fn push_failure(&mut self) {
        let StreamFormat { dialect, request_id, .. } = *self.format;
        let event = match &self.reply.ending {
            ReplyEnding::ErrorAt(_, spec) => dialect.error_event(spec, request_id),
            ReplyEnding::FailedAt(_, spec) => dialect.failed_event(spec, request_id),
            _ => return,
        };
        self.push_frame(event);
    }

    fn finish(mut self) -> BodyPlan {
        match self.reply.ending {
            ReplyEnding::Whole => self.close(),
            ReplyEnding::ErrorAt(..) | ReplyEnding::FailedAt(..) => {
                self.push_failure();
                self.close()
            }
            _ => self.end_early(),
        }
    }

    /// Adds the end of the framing and finishes the stream.
    fn close(mut self) -> BodyPlan {
        self.steps.extend(self.framer.end().map(BodyStep::Frame));
        BodyPlan { steps: self.steps, length: None }
    }

    /// Finishes the stream without a terminator, as the script sets it.
    fn end_early(mut self) -> BodyPlan {
        match self.reply.ending {
            ReplyEnding::Whole | ReplyEnding::EndAfter(_) => {}
            ReplyEnding::StallAfter(_) => self.push_quiet(None),
            ReplyEnding::CutAfter(_) => self.steps.extend([BodyStep::Flush, BodyStep::Fail(Fault::cut())]),
            ReplyEnding::ResetAfter(_) => {
                self.steps.extend([BodyStep::Flush, BodyStep::Fail(Fault::reset())])
            }
            ReplyEnding::ErrorAt(..) | ReplyEnding::FailedAt(..) => self.push_failure(),
        }
        BodyPlan { steps: self.steps, length: None }
    }
}

/// An event of one token of `bytes` bytes.
fn giant(completion: &Completion<'_>, dialect: &dyn TestDialect, bytes: usize) -> WireEvent {
    let tokens = ["x".repeat(bytes)];
    let giant =
        Completion { reasoning: &[], tokens: &tokens, tool: None, stop: &StopKind::Natural, ..*completion };
    let tokens = dialect.stream(&giant).tokens;
    tokens.into_iter().flatten().next_back().expect("a token has an event")
}

impl ReplyEnding {
    /// The number of tokens before the end, if the response ends early.
    const fn token_count(&self) -> Option<usize> {
        match self {
            Self::StallAfter(count)
            | Self::CutAfter(count)
            | Self::ResetAfter(count)
            | Self::EndAfter(count) => Some(*count),
            Self::Whole | Self::ErrorAt(..) | Self::FailedAt(..) => None,
        }
    }
}
