use proptest::prelude::*;

use super::*;
use crate::priority_semaphore::Arrival;

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
        let to = if batch > 0 && (interactive == 0 || batch_skipped >= 4) {
            Priority::Batch
        } else {
            Priority::Interactive
        };
        let newest_first = self.order == Order::NewestFirstUnderOverload
            && to == Priority::Interactive
            && interactive > self.max / 2;
        let of_class = |(_, priority): &(u32, Priority)| *priority == to;
        let at = (if newest_first {
            self.waiting.iter().rposition(of_class)
        } else {
            self.waiting.iter().position(of_class)
        })?;
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
                    let ticket = queue.enqueue(priority, 0, 1, id).map(|(ticket, displaced)| {
                        assert_eq!(displaced, None);
                        ticket
                    });
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
                prop_assert_eq!(queue.is_full(priority, 0), model.count(priority) >= max);
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
                queue.enqueue(Priority::Interactive, 0, 1, Priority::Interactive);
            }
            for _ in 0..batch {
                queue.enqueue(Priority::Batch, 0, 1, Priority::Batch);
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
        queue.enqueue(Priority::Interactive, 0, 1, id).unwrap();
    }
    let served: Vec<_> = std::iter::from_fn(|| queue.pop().copied()).collect();
    assert_eq!(served, [4, 3, 1, 2]);
}

/// Regression: a grant to the newest call moved the turns of its flow on, and another flow came after all of
/// its calls.
#[test]
fn newest_first_leaves_the_turns_of_flows_as_they_are() {
    let mut queue = WaitQueue::new(8, Order::NewestFirstUnderOverload);
    (1..=6).for_each(|id| assert!(queue.enqueue(Priority::Interactive, 1, 1, (1, id)).is_some()));
    assert_eq!([queue.pop().copied(), queue.pop().copied()], [Some((1, 6)), Some((1, 5))]);
    (1..=2).for_each(|id| assert!(queue.enqueue(Priority::Interactive, 2, 1, (2, id)).is_some()));
    queue.max = 100;
    assert_eq!(served(&mut queue), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (1, 4)]);
}

#[test]
fn neither_priority_uses_the_capacity_of_the_other() {
    let mut queue = WaitQueue::new(1, Order::Fifo);
    assert!(queue.enqueue(Priority::Batch, 0, 1, ()).is_some());
    assert!(queue.enqueue(Priority::Batch, 0, 1, ()).is_none());
    assert!(queue.enqueue(Priority::Interactive, 0, 1, ()).is_some());
    assert!(queue.enqueue(Priority::Interactive, 0, 1, ()).is_none());
}

/// The waiters of one flow, in the order in which they are served.
fn served(queue: &mut WaitQueue<(Flow, u32)>) -> Vec<(Flow, u32)> {
    std::iter::from_fn(|| queue.pop().copied()).collect()
}

#[test]
fn flows_take_turns_and_a_late_one_does_not_wait_for_the_others() {
    let mut queue = WaitQueue::new(8, Order::Fifo);
    let add = |queue: &mut WaitQueue<_>, flow, id| {
        _ = queue.enqueue(Priority::Interactive, flow, 1, (flow, id)).unwrap()
    };
    (1..=5).for_each(|id| add(&mut queue, 1, id));
    (1..=2).for_each(|id| add(&mut queue, 2, id));
    add(&mut queue, 3, 1);
    assert_eq!(served(&mut queue), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3), (1, 4), (1, 5)]);
    // One that is served at once and comes again has used its turn.
    (1..=3).for_each(|id| add(&mut queue, 1, id));
    let mut order = Vec::new();
    for id in 1..=3 {
        add(&mut queue, 2, id);
        order.extend(queue.pop().copied());
        order.extend(queue.pop().copied());
    }
    assert_eq!(order.iter().filter(|(flow, _)| *flow == 1).count(), 3, "{order:?}");
}

#[test]
fn waiters_that_return_are_served_before_all_others_in_the_order_in_which_they_return() {
    let extensions = http::Extensions::new();
    let returning = Arrival::Returning.flow(&extensions);
    let mut queue = WaitQueue::new(6, Order::Fifo);
    let enqueue = |queue: &mut WaitQueue<(Flow, u32)>, flow, id| {
        let (ticket, displaced) = queue.enqueue(Priority::Interactive, flow, 1, (flow, id))?;
        Some((ticket, displaced.copied()))
    };
    let (ticket, _) = enqueue(&mut queue, returning, 0).unwrap();
    (1..=2).for_each(|id| assert!(enqueue(&mut queue, 7, id).is_some()));
    (1..=2).for_each(|id| assert!(enqueue(&mut queue, returning, id).is_some()));
    queue.remove(ticket);
    assert_eq!([queue.pop().copied(), queue.pop().copied()], [Some((returning, 1)), Some((returning, 2))]);
    assert_eq!(queue.pop().copied(), Some((7, 1)));
    (3..=7).for_each(|id| assert!(enqueue(&mut queue, 7, id).is_some()));
    // They displace the last one of a full queue, but none that has returned.
    for id in 3..=8 {
        let (_, displaced) = enqueue(&mut queue, returning, id).unwrap();
        assert_eq!(displaced.map(|(flow, _)| flow), Some(7));
    }
    assert!(enqueue(&mut queue, returning, 9).is_none() && enqueue(&mut queue, 8, 1).is_none());
    assert_eq!(served(&mut queue), Vec::from_iter((3..=8).map(|id| (returning, id))));
    assert!(enqueue(&mut queue, 7, 9).is_some());
}

#[test]
fn waiters_that_return_are_served_next_in_every_order() {
    let mut queue = WaitQueue::new(4, Order::NewestFirstUnderOverload);
    (1..=3).for_each(|id| assert!(queue.enqueue(Priority::Interactive, 7, 1, (7, id)).is_some()));
    let returning = Arrival::Returning.flow(&http::Extensions::new());
    assert!(queue.enqueue(Priority::Interactive, returning, 1, (returning, 1)).is_some());
    assert_eq!(served(&mut queue), [(returning, 1), (7, 3), (7, 1), (7, 2)]);
}

/// Regression: while no flow had a second call, every flow was remembered for ever.
#[test]
fn the_flows_that_are_remembered_are_bounded() {
    let mut queue = WaitQueue::new(8, Order::Fifo);
    for flow in 1..50_000 {
        assert!(queue.enqueue(Priority::Interactive, flow, 1, flow).is_some());
        assert_eq!(queue.pop().copied(), Some(flow));
    }
    assert!(queue.flows[0].remembered() <= 20_010, "{}", queue.flows[0].remembered());
}

/// Regression: a flow that was granted a large call waited behind all calls of the others, hours later.
#[test]
fn nothing_is_owed_once_the_queue_has_been_empty() {
    let mut queue = WaitQueue::new(100, Order::Fifo);
    for priority in [Priority::Interactive, Priority::Batch] {
        assert!(queue.enqueue(priority, 1, 50, (1, 0)).is_some());
        assert_eq!(served(&mut queue), [(1, 0)]);
        for (flow, id) in [(1, 1), (2, 1), (2, 2), (2, 3)] {
            assert!(queue.enqueue(priority, flow, 1, (flow, id)).is_some());
        }
        assert_eq!(served(&mut queue), [(1, 1), (2, 1), (2, 2), (2, 3)]);
    }
}

/// Regression: what was granted ahead of large calls that gave up was due to small ones that came later.
#[test]
fn a_share_that_nobody_waited_for_is_not_made_up() {
    let mut queue = WaitQueue::new(100, Order::Fifo);
    let add = |queue: &mut WaitQueue<Priority>, priority, cost| {
        queue.enqueue(priority, 1, cost, priority).unwrap().0
    };
    for (large, other) in [(Priority::Batch, Priority::Interactive), (Priority::Interactive, Priority::Batch)]
    {
        for _ in 0..12 {
            let ticket = add(&mut queue, large, 30);
            (0..10).for_each(|_| _ = add(&mut queue, other, 1));
            (0..10).for_each(|_| _ = queue.pop());
            queue.remove(ticket);
            while queue.pop().is_some() {}
        }
        for priority in [Priority::Interactive, Priority::Batch] {
            (0..20).for_each(|_| _ = add(&mut queue, priority, 1));
        }
        let first = Vec::from_iter((0..10).map(|_| *queue.pop().unwrap()));
        let batch = first.iter().filter(|priority| **priority == Priority::Batch).count();
        assert!((1..=3).contains(&batch), "{large:?} {first:?}");
        while queue.pop().is_some() {}
    }
}

/// Regression: the share of a large call that waits was lost to each small one that came before it.
#[test]
fn a_large_call_gets_its_share_while_small_ones_come_before_it() {
    let mut queue = WaitQueue::new(10_000, Order::Fifo);
    let add = |queue: &mut WaitQueue<u64>, priority, flow, cost| {
        assert!(queue.enqueue(priority, flow, cost, cost).is_some());
    };
    add(&mut queue, Priority::Batch, 1, 1_000);
    assert_eq!(queue.pop().copied(), Some(1_000));
    add(&mut queue, Priority::Batch, 1, 1_000);
    add(&mut queue, Priority::Batch, 2, 1_000);
    let mut granted = 0;
    for tenant in 3.. {
        (0..200).for_each(|_| add(&mut queue, Priority::Interactive, 1, 1));
        add(&mut queue, Priority::Batch, tenant, 1);
        let next = Vec::from_iter((0..200).map(|_| *queue.pop().unwrap()));
        if next.contains(&1_000) {
            break;
        }
        granted += next.iter().sum::<u64>();
        assert!(granted < 6_000, "{granted}");
    }
}

#[test]
fn a_flow_that_fills_the_queue_makes_room_for_others() {
    let mut queue = WaitQueue::new(4, Order::Fifo);
    for id in 1..=4 {
        assert!(queue.enqueue(Priority::Interactive, 1, 1, (1, id)).is_some());
    }
    assert!(queue.is_full(Priority::Interactive, 1) && !queue.is_full(Priority::Interactive, 2));
    assert!(queue.enqueue(Priority::Interactive, 1, 1, (1, 5)).is_none());
    for (flow, id, displaced) in [(2, 1, (1, 4)), (2, 2, (1, 3))] {
        let (_, found) = queue.enqueue(Priority::Interactive, flow, 1, (flow, id)).unwrap();
        assert_eq!(found.copied(), Some(displaced));
    }
    // Each has its half now.
    assert!(queue.is_full(Priority::Interactive, 1) && queue.is_full(Priority::Interactive, 2));
    assert_eq!(served(&mut queue), [(1, 1), (2, 1), (1, 2), (2, 2)]);
}

proptest! {
    /// Whatever arrives and leaves: while a flow waits for its next grant, no other flow gets more than two;
    /// and waiters of one flow keep their order.
    #[test]
    fn grants_are_shared_between_flows(
        operations in prop::collection::vec((0u8..4, 1u64..5), 0..200), max in 1usize..9,
    ) {
        let mut queue = WaitQueue::new(max, Order::Fifo);
        let mut tickets: Vec<(Ticket, u32)> = Vec::new();
        let mut waiting: Vec<(Flow, u32)> = Vec::new();
        let mut granted: Vec<Flow> = Vec::new();
        let mut since: std::collections::HashMap<Flow, usize> = std::collections::HashMap::new();
        for (id, (operation, flow)) in (0u32..).zip(operations) {
            match operation {
                0 | 1 => {
                    if let Some((ticket, displaced)) = queue.enqueue(Priority::Interactive, flow, 1, (flow, id)) {
                        if let Some((other, id)) = displaced.copied() {
                            prop_assert!(other != flow, "it displaced its own");
                            waiting.retain(|waiter| *waiter != (other, id));
                        }
                        if !waiting.iter().any(|(other, _)| *other == flow) {
                            since.insert(flow, granted.len());
                        }
                        waiting.push((flow, id));
                        tickets.push((ticket, id));
                    } else {
                        prop_assert_eq!(waiting.len(), max);
                    }
                }
                2 => if let Some((flow, id)) = queue.pop().copied() {
                    let first = waiting.iter().find(|(other, _)| *other == flow);
                    prop_assert_eq!(first, Some(&(flow, id)));
                    waiting.retain(|waiter| *waiter != (flow, id));
                    granted.push(flow);
                    since.insert(flow, granted.len());
                    for (starved, _) in &waiting {
                        let grants = &granted[since[starved]..];
                        let most = (1..5).map(|other| grants.iter().filter(|flow| **flow == other).count()).max();
                        prop_assert!(most <= Some(2), "{} waited for {:?}", starved, grants);
                    }
                }
                // The latest waiter of a flow leaves. An earlier one that leaves has used its turn.
                _ => if let Some(at) = waiting.iter().rposition(|(other, _)| *other == flow) {
                    let (_, id) = waiting.remove(at);
                    let ticket = tickets.iter().position(|(_, other)| *other == id).unwrap();
                    queue.remove(tickets.swap_remove(ticket).0);
                }
            }
            prop_assert_eq!(queue.len(Priority::Interactive), waiting.len());
        }
        tickets.into_iter().for_each(|(ticket, _)| _ = queue.remove(ticket));
        prop_assert!(queue.is_empty());
    }
}

proptest! {
    /// Regression: of several flows, the one with the most waiters was served, and not the newest waiter.
    #[test]
    fn the_newest_of_all_flows_is_served_while_the_queue_is_more_than_half_full(
        operations in prop::collection::vec((0u8..5, 1u64..5), 0..200), max in 1usize..9,
    ) {
        let mut queue = WaitQueue::new(max, Order::NewestFirstUnderOverload);
        let mut tickets: Vec<(Ticket, u32)> = Vec::new();
        let mut waiting: Vec<(Flow, u32)> = Vec::new();
        for (id, (operation, flow)) in (0u32..).zip(operations) {
            match operation {
                0..=2 => {
                    let is_full = queue.is_full(Priority::Interactive, flow);
                    let queued = queue.enqueue(Priority::Interactive, flow, 1, (flow, id));
                    prop_assert_eq!(is_full, queued.is_none());
                    if let Some((ticket, displaced)) = queued {
                        let displaced = displaced.copied();
                        waiting.retain(|waiter| Some(*waiter) != displaced);
                        waiting.push((flow, id));
                        tickets.push((ticket, id));
                    }
                }
                3 => {
                    let is_overloaded = waiting.len() > max / 2;
                    prop_assert_eq!(queue.peek_mut().copied().is_some(), !waiting.is_empty());
                    if let Some(served) = queue.pop().copied() {
                        let of_flow = waiting.iter().filter(|(flow, _)| *flow == served.0);
                        let expected = if is_overloaded { waiting.last() } else { of_flow.min_by_key(|(_, id)| *id) };
                        prop_assert_eq!(Some(&served), expected);
                        waiting.retain(|waiter| *waiter != served);
                    }
                }
                _ if tickets.is_empty() => {}
                _ => {
                    let (ticket, id) = tickets.swap_remove(id as usize % tickets.len());
                    queue.remove(ticket);
                    waiting.retain(|(_, other)| *other != id);
                }
            }
            prop_assert_eq!(queue.len(Priority::Interactive), waiting.len());
        }
        queue.retain(|_| false);
        prop_assert!(queue.pop().is_none());
        tickets.into_iter().for_each(|(ticket, _)| _ = queue.remove(ticket));
        prop_assert!(queue.is_empty());
    }
}
