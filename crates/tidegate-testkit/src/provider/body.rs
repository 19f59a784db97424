use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::log::Visit;
use super::telling::{Step, Telling};
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
    wait: Option<Pin<Box<Sleep>>>,
    visit: Option<Visit>,
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
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
                if let Some(Step::Pings(_, ping)) = self.steps.front() {
                    let ping = ping.clone();
                    break Some(Ok(self.send(ping)));
                }
            }
            match self.steps.pop_front() {
                None => break None,
                Some(Step::Frame(data)) => break Some(Ok(self.send(data))),
                Some(Step::Wait(time)) => self.wait = Some(Box::pin(sleep(time))),
                Some(Step::Fail(fault)) => {
                    self.steps.clear();
                    break Some(Err(fault));
                }
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
                Some(Step::Pings(every, ping)) => {
                    self.wait = Some(Box::pin(sleep(every)));
                    self.steps.push_front(Step::Pings(every, ping));
                }
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
