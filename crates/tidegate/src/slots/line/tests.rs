use proptest::prelude::*;

use super::*;

/// The same by the letter: everybody in the order of arrival, and all that was ever handed over.
struct Model {
    waiting: Vec<(u32, Priority)>,
    handed: Vec<(Priority, bool)>,
    max: usize,
    order: Order,
}

impl Model {
    fn count(&self, priority: Priority) -> usize {
        self.waiting.iter().filter(|(_, other)| *other == priority).count()
    }

    fn join(&mut self, name: u32, priority: Priority) -> bool {
        let joins = self.count(priority) < self.max;
        if joins {
            self.waiting.push((name, priority));
        }
        joins
    }

    fn next(&mut self) -> Option<u32> {
        let (interactive, batch) = (self.count(Priority::Interactive), self.count(Priority::Batch));
        let turns_lost = self.handed.iter().rev().take_while(|(to, _)| *to == Priority::Interactive);
        let turns_lost = turns_lost.filter(|(_, batch_waited)| *batch_waited).count();
        let to = match batch > 0 && (interactive == 0 || turns_lost >= 4) {
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
        self.handed.push((to, batch > 0));
        Some(self.waiting.remove(at).0)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join(Priority),
    Next,
    /// One of those who hold a ticket gives it up, in the line or already out of it.
    Leave(prop::sample::Index),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Interactive), Just(Priority::Batch)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => priority().prop_map(Step::Join),
        3 => Just(Step::Next),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
    ]
}

proptest! {
    #[test]
    fn hands_over_to_the_same_as_the_naive_model(
        steps in prop::collection::vec(step(), 0..120),
        max in 0usize..8,
        newest_first: bool,
    ) {
        let order = if newest_first { Order::NewestFirstUnderOverload } else { Order::Fifo };
        let mut line = Line::new(max, order);
        let mut model = Model { waiting: Vec::new(), handed: Vec::new(), max, order };
        let mut tickets = Vec::new();
        for (name, step) in (0u32..).zip(steps) {
            match step {
                Step::Join(priority) => {
                    let ticket = line.join(priority, name);
                    prop_assert_eq!(ticket.is_some(), model.join(name, priority));
                    tickets.extend(ticket);
                }
                Step::Next => prop_assert_eq!(line.next().copied(), model.next()),
                Step::Leave(_) if tickets.is_empty() => {}
                Step::Leave(which) => {
                    let name = line.remove(tickets.swap_remove(which.index(tickets.len())));
                    model.waiting.retain(|(other, _)| *other != name);
                }
            }
            for priority in [Priority::Interactive, Priority::Batch] {
                prop_assert_eq!(line.len(priority), model.count(priority));
                prop_assert_eq!(line.is_full(priority), model.count(priority) >= max);
            }
            prop_assert_eq!(line.is_empty(), model.waiting.is_empty());
        }
        // What was given up is used again: no more places than there ever were tickets at once.
        prop_assert!(line.places.block() <= 2 * max + model.handed.len());
    }

    /// Whatever comes and goes: batch has its turn among any five, and never two turns while a person waits.
    #[test]
    fn batch_has_one_turn_in_five_and_never_two_in_a_row(
        arrivals in prop::collection::vec((0u8..3, 0u8..3), 1..100),
    ) {
        let mut line = Line::new(usize::MAX, Order::Fifo);
        let (mut batch_lost, mut interactive_lost) = (0, 0);
        for (interactive, batch) in arrivals {
            for _ in 0..interactive {
                line.join(Priority::Interactive, Priority::Interactive);
            }
            for _ in 0..batch {
                line.join(Priority::Batch, Priority::Batch);
            }
            let waited = |priority| line.len(priority) > 0;
            let (interactive, batch) = (waited(Priority::Interactive), waited(Priority::Batch));
            match line.next() {
                Some(Priority::Interactive) => (batch_lost, interactive_lost) = (batch_lost + u32::from(batch), 0),
                Some(Priority::Batch) => (batch_lost, interactive_lost) = (0, interactive_lost + u32::from(interactive)),
                None => prop_assert!(!interactive && !batch),
            }
            prop_assert!(batch_lost <= 4, "batch was passed by {} times", batch_lost);
            prop_assert!(interactive_lost <= 1, "a person was passed by {} times", interactive_lost);
        }
    }
}

#[test]
fn newest_first_begins_when_more_than_half_of_the_places_are_taken_and_ends_with_it() {
    let mut line = Line::new(4, Order::NewestFirstUnderOverload);
    for name in 1..=4 {
        line.join(Priority::Interactive, name).unwrap();
    }
    let served: Vec<_> = std::iter::from_fn(|| line.next().copied()).collect();
    assert_eq!(served, [4, 3, 1, 2]);
}

#[test]
fn neither_priority_takes_the_places_of_the_other() {
    let mut line = Line::new(1, Order::Fifo);
    assert!(line.join(Priority::Batch, ()).is_some());
    assert!(line.join(Priority::Batch, ()).is_none());
    assert!(line.join(Priority::Interactive, ()).is_some());
    assert!(line.join(Priority::Interactive, ()).is_none());
}
