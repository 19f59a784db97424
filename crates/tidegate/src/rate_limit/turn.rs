use std::future::poll_fn;

use crate::Priority;
use crate::slots::{Asked, Order, Place, Slots};

/// The turn to sleep until there is room: one at a time has it, first come first served within each priority.
#[derive(Debug)]
pub(super) struct Turn(Slots);

/// Has the turn, or waits for it; dropped, it goes on to the next.
pub(super) struct Holder<'a> {
    turn: &'a Turn,
    /// The place in the line, until the turn has come.
    place: Option<Place>,
}

impl Turn {
    /// At most `max` of each priority wait.
    pub(super) fn new(max: usize) -> Self {
        Self(Slots::new(1, max, Order::Fifo))
    }

    /// Waits for the turn; nothing, if as many wait as may.
    pub(super) async fn take(&self, priority: Priority) -> Option<Holder<'_>> {
        let mut holder = match self.0.ask(priority) {
            Asked::Taken => return Some(Holder { turn: self, place: None }),
            Asked::Waits(place) => Holder { turn: self, place: Some(place) },
            Asked::Full => return None,
        };
        poll_fn(|cx| match &holder.place {
            Some(place) => self.0.poll(place, cx.waker()),
            None => std::task::Poll::Ready(()),
        })
        .await;
        if let Some(place) = holder.place.take() {
            self.0.keep(place);
        }
        Some(holder)
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        match self.place.take() {
            Some(place) => self.turn.0.leave(place),
            None => self.turn.0.release(),
        }
    }
}
