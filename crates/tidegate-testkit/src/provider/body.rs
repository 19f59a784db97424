use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::body_plan::{BodyPlan, BodyStep, QuietPeriod};
use super::log::InFlightGuard;
use crate::Fault;

/// The body of a provider's response, sent at the pace of the script.
///
/// The request is in flight until the last frame is handed out. Ending it only when the end of the body is
/// polled would be too late over a socket: the caller has the last frame by then, and a caller that sends its
/// next request at once would be counted twice.
#[derive(Debug)]
pub struct ProviderBody {
    steps: VecDeque<BodyStep>,
    /// The rest of the declared length.
    length: Option<u64>,
    wait: Option<BodyWait>,
    guard: Option<InFlightGuard>,
}

#[derive(Debug)]
struct BodyWait {
    sleep: Pin<Box<Sleep>>,
    /// The frame that is sent when the sleep ends.
    ping: Option<Bytes>,
}

impl ProviderBody {
    pub(super) fn new(body_plan: BodyPlan, guard: InFlightGuard) -> Self {
        let mut body =
            Self { steps: body_plan.steps.into(), length: body_plan.length, wait: None, guard: Some(guard) };
        body.finish_at_end();
        body
    }

    fn finish_at_end(&mut self) {
        if self.steps.is_empty()
            && let Some(guard) = self.guard.take()
        {
            guard.finish();
        }
    }

    /// Starts the sleep until the quiet period ends or until its next ping. Returns false if neither ever
    /// comes.
    fn start_wait(&mut self, quiet: &QuietPeriod) -> bool {
        let wait = |time, ping| Some(BodyWait { sleep: Box::pin(sleep(time)), ping });
        self.wait = match (quiet.time, &quiet.pings) {
            (None, None) => None,
            (Some(time), None) => wait(time, None),
            (Some(time), Some((every, _))) if time <= *every => wait(time, None),
            (time, Some((every, ping))) => {
                let time = time.map(|time| time.saturating_sub(*every));
                self.steps.push_front(BodyStep::Quiet(QuietPeriod { time, pings: quiet.pings.clone() }));
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
                Some(BodyStep::Frame(data)) => break Some(Ok(self.send(data))),
                Some(BodyStep::Fail(fault)) => {
                    self.steps.clear();
                    break Some(Err(fault));
                }
                Some(BodyStep::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(BodyStep::Quiet(quiet)) if !self.start_wait(&quiet) => {
                    self.steps.push_front(BodyStep::Quiet(quiet));
                    return Poll::Pending;
                }
                Some(BodyStep::Quiet(_)) => {}
            }
        };
        self.finish_at_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
