use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Sleep;

use super::bulkhead::Bulkhead;
use super::gate::Patience;
use super::permit::Permit;
use crate::slots::Place;
use crate::{Rejection, clock};

/// A call in the queue: waits for a permit, as long as its patience lasts. Nothing is allocated for it.
#[pin_project]
pub(super) struct Queued {
    waiting: Option<Waiting>,
    patience: Patience,
    // Made at the first poll: only there a runtime is sure to be.
    #[pin]
    sleep: Option<Sleep>,
}

/// A place in the line; left when dropped.
struct Waiting {
    bulkhead: Arc<Bulkhead>,
    place: Option<Place>,
}

impl Queued {
    pub(super) fn new(bulkhead: Arc<Bulkhead>, place: Place, patience: Patience) -> Self {
        Self { waiting: Some(Waiting { bulkhead, place: Some(place) }), patience, sleep: None }
    }
}

impl Future for Queued {
    type Output = Result<Permit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let waiting = this.waiting.as_mut().expect("polled after completion");
        if let Poll::Ready(permit) = waiting.poll(cx) {
            return Poll::Ready(Ok(permit));
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(this.patience.until().into())));
        }
        loop {
            ready!(this.sleep.as_mut().as_pin_mut().expect("set above").poll(cx));
            // A timer may ring a little early; then it is wound up again.
            if let Some(rejection) = this.patience.refusal_at(clock::now()) {
                *this.waiting = None;
                return Poll::Ready(Err(rejection));
            }
            this.sleep.set(Some(tokio::time::sleep_until(this.patience.until().into())));
        }
    }
}

impl Waiting {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Permit> {
        let place = self.place.as_ref().expect("polled after completion");
        ready!(self.bulkhead.slots.poll(place, cx.waker()));
        self.bulkhead.slots.keep(self.place.take().expect("checked above"));
        Poll::Ready(Permit::holding(Arc::clone(&self.bulkhead)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.bulkhead.slots.leave(place);
        }
    }
}
