use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidegate_core::BoxError;
use tokio::time::{Sleep, sleep};

use super::answer::Step;
use super::state::Shared;

/// The body of a scripted answer. Alive, for [`Handle::live_bodies`](super::Handle::live_bodies), until
/// it has given its last frame, has failed or is dropped.
pub struct StrictBody {
    steps: VecDeque<Step>,
    sized: bool,
    pause: Option<Pin<Box<Sleep>>>,
    life: Option<Life>,
}

impl StrictBody {
    pub(super) fn new(steps: VecDeque<Step>, sized: bool, shared: Arc<Shared>) -> Self {
        let mut body = Self { steps, sized, pause: None, life: Some(Life::begin(shared)) };
        body.notice_end();
        body
    }

    fn notice_end(&mut self) {
        if self.steps.is_empty()
            && let Some(life) = self.life.take()
        {
            life.finish();
        }
    }

    fn left(&self) -> u64 {
        let data = self.steps.iter().filter_map(|step| match step {
            Step::Data(data) => Some(data.len() as u64),
            _ => None,
        });
        data.sum()
    }
}

impl Body for StrictBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.steps.pop_front() {
                None => break None,
                Some(Step::Data(data)) => break Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => break Some(Ok(Frame::trailers(trailers))),
                Some(Step::Pause(time)) => self.pause = Some(Box::pin(sleep(time))),
                Some(Step::Fail(make)) => {
                    self.steps.clear();
                    break Some(Err(make()));
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
            }
        };
        self.notice_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

/// Counts the body among the living. Dropping it unfinished counts the body as dropped.
struct Life {
    shared: Arc<Shared>,
    is_finished: bool,
}

impl Life {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.lock().tally.live_bodies += 1;
        Self { shared, is_finished: false }
    }

    fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.tally.live_bodies -= 1;
        match self.is_finished {
            true => state.tally.finished_bodies += 1,
            false => state.tally.dropped_bodies += 1,
        }
    }
}
