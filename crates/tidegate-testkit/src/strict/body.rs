use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidegate_core::BoxError;
use tokio::time::{Sleep, sleep};

use super::answer::AnswerStep;
use super::state::StrictShared;

/// The body of a scripted response. It counts in [`Handle::live_bodies`](super::Handle::live_bodies) until it
/// has produced its last frame, has failed or is dropped.
pub struct StrictBody {
    steps: VecDeque<AnswerStep>,
    sized: bool,
    pause: Option<Pin<Box<Sleep>>>,
    live: Option<LiveBody>,
}

impl StrictBody {
    pub(super) fn new(steps: VecDeque<AnswerStep>, sized: bool, shared: Arc<StrictShared>) -> Self {
        let mut body = Self { steps, sized, pause: None, live: Some(LiveBody::begin(shared)) };
        body.finish_at_end();
        body
    }

    fn finish_at_end(&mut self) {
        if self.steps.is_empty()
            && let Some(live) = self.live.take()
        {
            live.finish();
        }
    }

    fn left(&self) -> u64 {
        let data = self.steps.iter().filter_map(|step| match step {
            AnswerStep::Data(data) => Some(data.len() as u64),
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
                Some(AnswerStep::Data(data)) => break Some(Ok(Frame::data(data))),
                Some(AnswerStep::Trailers(trailers)) => break Some(Ok(Frame::trailers(trailers))),
                Some(AnswerStep::Pause(time)) => self.pause = Some(Box::pin(sleep(time))),
                Some(AnswerStep::Fail(make)) => {
                    self.steps.clear();
                    break Some(Err(make()));
                }
                Some(AnswerStep::Stall) => {
                    self.steps.push_front(AnswerStep::Stall);
                    return Poll::Pending;
                }
            }
        };
        self.finish_at_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

/// Counts the body as live. Dropping it unfinished counts the body as dropped.
struct LiveBody {
    shared: Arc<StrictShared>,
    is_finished: bool,
}

impl LiveBody {
    fn begin(shared: Arc<StrictShared>) -> Self {
        shared.lock().counters.live_bodies += 1;
        Self { shared, is_finished: false }
    }

    fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for LiveBody {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.counters.live_bodies -= 1;
        if self.is_finished {
            state.counters.finished_bodies += 1
        } else {
            state.counters.dropped_bodies += 1
        }
    }
}
