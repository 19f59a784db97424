use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::log::Visit;
use super::telling::{Silence, Step, Telling};
use crate::Fault;

/// The body of a provider's answer, told at the pace of the script.
///
/// The request is in flight until the last frame was handed out (not until it was seen to be the last: over a
/// socket that would be after the caller has it, and a caller that asks again at once would count twice).
#[derive(Debug)]
pub struct ProviderBody {
    steps: VecDeque<Step>,
    /// What is left of the promised length.
    length: Option<u64>,
    wait: Option<Wait>,
    visit: Option<Visit>,
}

#[derive(Debug)]
struct Wait {
    sleep: Pin<Box<Sleep>>,
    /// What is said at its end.
    ping: Option<Bytes>,
}

impl ProviderBody {
    pub(super) fn new(telling: Telling, visit: Visit) -> Self {
        let mut body =
            Self { steps: telling.steps.into(), length: telling.length, wait: None, visit: Some(visit) };
        body.notice_end();
        body
    }

    fn notice_end(&mut self) {
        if self.steps.is_empty()
            && let Some(visit) = self.visit.take()
        {
            visit.finish();
        }
    }

    /// Waits for the end of the silence, or for the next sign of life in it; not at all if neither ever comes.
    fn keep(&mut self, silence: &Silence) -> bool {
        let wait = |time, ping| Some(Wait { sleep: Box::pin(sleep(time)), ping });
        self.wait = match (silence.time, &silence.pings) {
            (None, None) => None,
            (Some(time), None) => wait(time, None),
            (Some(time), Some((every, _))) if time <= *every => wait(time, None),
            (time, Some((every, ping))) => {
                let time = time.map(|time| time.saturating_sub(*every));
                self.steps.push_front(Step::Silence(Silence { time, pings: silence.pings.clone() }));
                wait(*every, Some(ping.clone()))
            }
        };
        self.wait.is_some()
    }

    fn send(&mut self, data: Bytes) -> Frame<Bytes> {
        if let Some(length) = &mut self.length {
            *length = length.saturating_sub(data.len() as u64);
        }
        Frame::data(data)
    }
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let frame = loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.sleep.as_mut().poll(cx));
                let ping = wait.ping.take();
                self.wait = None;
                if let Some(ping) = ping {
                    break Some(Ok(self.send(ping)));
                }
            }
            match self.steps.pop_front() {
                None => break None,
                Some(Step::Frame(data)) => break Some(Ok(self.send(data))),
                Some(Step::Fail(fault)) => {
                    self.steps.clear();
                    break Some(Err(fault));
                }
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Silence(silence)) if !self.keep(&silence) => {
                    self.steps.push_front(Step::Silence(silence));
                    return Poll::Pending;
                }
                Some(Step::Silence(_)) => {}
            }
        };
        self.notice_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
