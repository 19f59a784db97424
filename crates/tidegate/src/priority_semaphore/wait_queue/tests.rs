use proptest::prelude::*;

use super::*;

/// A naive implementation of the same rules: all waiters in order of arrival, and the history of grants.
struct NaiveQueue {
    waiting: Vec<(u32, Priority)>,
    granted: Vec<(Priority, bool)>,
    max: usize,
    order: Order,
}

impl NaiveQueue {
    fn count(&self, priority: Priority) -> usize {
        self.waiting.iter().filter(|(_, other)| *other == priority).count()
    }

    fn enqueue(&mut self, id: u32, priority: Priority) -> bool {
        let fits = self.count(priority) < self.max;
        if fits {
            self.waiting.push((id, priority));
        }
        fits
    }

    fn pop(&mut self) -> Option<u32> {
        let (interactive, batch) = (self.count(Priority::Interactive), self.count(Priority::Batch));
        let batch_skipped = self.granted.iter().rev().take_while(|(to, _)| *to == Priority::Interactive);
        let batch_skipped = batch_skipped.filter(|(_, batch_waited)| *batch_waited).count();
        let to = match batch > 0 && (interactive == 0 || batch_skipped >= 4) {
            true => Priority::Batch,
            false => Priority::Interactive,
        };
        let newest_first = self.order == Order::NewestFirstUnderOverload
            && to == Priority::Interactive
            && interactive > self.max / 2;
        let of_class = |(_, priority): &(u32, Priority)| *priority == to;
        let at = match newest_first {
            true => self.waiting.iter().rposition(of_class),
            false => self.waiting.iter().position(of_class),
        }?;
        self.granted.push((to, batch > 0));
        Some(self.waiting.remove(at).0)
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Enqueue(Priority),
    Pop,
    /// Removes a ticket, queued or already popped.
    Remove(prop::sample::Index),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Interactive), Just(Priority::Batch)]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => priority().prop_map(Operation::Enqueue),
        3 => Just(Operation::Pop),
        1 => any::<prop::sample::Index>().prop_map(Operation::Remove),
    ]
}

proptest! {
    #[test]
    fn pops_the_same_waiter_as_the_naive_queue(
        operations in prop::collection::vec(operation(), 0..120),
        max in 0usize..8,
        newest_first: bool,
    ) {
        let order = if newest_first { Order::NewestFirstUnderOverload } else { Order::Fifo };
        let mut queue = WaitQueue::new(max, order);
        let mut model = NaiveQueue { waiting: Vec::new(), granted: Vec::new(), max, order };
        let mut tickets = Vec::new();
        for (id, operation) in (0u32..).zip(operations) {
            match operation {
                Operation::Enqueue(priority) => {
                    let ticket = queue.enqueue(priority, id);
                    prop_assert_eq!(ticket.is_some(), model.enqueue(id, priority));
                    tickets.extend(ticket);
                }
                Operation::Pop => prop_assert_eq!(queue.pop().copied(), model.pop()),
                Operation::Remove(_) if tickets.is_empty() => {}
                Operation::Remove(which) => {
                    let id = queue.remove(tickets.swap_remove(which.index(tickets.len())));
                    model.waiting.retain(|(other, _)| *other != id);
                }
            }
            for priority in [Priority::Interactive, Priority::Batch] {
                prop_assert_eq!(queue.len(priority), model.count(priority));
                prop_assert_eq!(queue.is_full(priority), model.count(priority) >= max);
            }
            prop_assert_eq!(queue.is_empty(), model.waiting.is_empty());
        }
        // Freed entries are reused: no more entries than there ever were tickets at once.
        prop_assert!(queue.lists.peak_len() <= 2 * max + model.granted.len());
    }

    /// For any sequence of arrivals, batch gets one of any five grants, and never two in a row while an
    /// interactive call waits.
    #[test]
    fn batch_gets_one_grant_in_five_and_never_two_in_a_row(
        arrivals in prop::collection::vec((0u8..3, 0u8..3), 1..100),
    ) {
        let mut queue = WaitQueue::new(usize::MAX, Order::Fifo);
        let (mut batch_lost, mut interactive_lost) = (0, 0);
        for (interactive, batch) in arrivals {
            for _ in 0..interactive {
                queue.enqueue(Priority::Interactive, Priority::Interactive);
            }
            for _ in 0..batch {
                queue.enqueue(Priority::Batch, Priority::Batch);
            }
            let waited = |priority| queue.len(priority) > 0;
            let (interactive, batch) = (waited(Priority::Interactive), waited(Priority::Batch));
            match queue.pop() {
                Some(Priority::Interactive) => (batch_lost, interactive_lost) = (batch_lost + u32::from(batch), 0),
                Some(Priority::Batch) => (batch_lost, interactive_lost) = (0, interactive_lost + u32::from(interactive)),
                None => prop_assert!(!interactive && !batch),
            }
            prop_assert!(batch_lost <= 4, "batch was overtaken {} times", batch_lost);
            prop_assert!(interactive_lost <= 1, "an interactive call was overtaken {} times", interactive_lost);
        }
    }
}

#[test]
fn newest_first_applies_only_while_the_queue_is_more_than_half_full() {
    let mut queue = WaitQueue::new(4, Order::NewestFirstUnderOverload);
    for id in 1..=4 {
        queue.enqueue(Priority::Interactive, id).unwrap();
    }
    let served: Vec<_> = std::iter::from_fn(|| queue.pop().copied()).collect();
    assert_eq!(served, [4, 3, 1, 2]);
}

#[test]
fn neither_priority_uses_the_capacity_of_the_other() {
    let mut queue = WaitQueue::new(1, Order::Fifo);
    assert!(queue.enqueue(Priority::Batch, ()).is_some());
    assert!(queue.enqueue(Priority::Batch, ()).is_none());
    assert!(queue.enqueue(Priority::Interactive, ()).is_some());
    assert!(queue.enqueue(Priority::Interactive, ()).is_none());
}
