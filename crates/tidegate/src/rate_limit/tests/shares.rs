//! The priorities and the tenants share the quotas by what their calls cost. Plain data in virtual time.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::priority_semaphore::{Flow, Ticket};
use crate::rate_limit::cost::CallCost;
use crate::rate_limit::queue::{RateCall, RateQueue, RateWaiterState};
use crate::rate_limit::quota::{MINUTE, Quota};
use crate::rate_limit::quota_set::{QuotaSet, ReopenRamp};
use crate::{LimitUnit, Priority};

/// One token in a millisecond.
const TOKENS: Quota = Quota { unit: LimitUnit::Tokens, amount: nonzero(60_000), period: MINUTE };
const MILLISECOND: Duration = Duration::from_millis(1);

const fn nonzero(amount: u64) -> std::num::NonZeroU64 {
    std::num::NonZeroU64::new(amount).unwrap()
}

/// Callers: a priority, a tenant, and the tokens of their next calls, over and over.
type Caller = (Priority, Flow, Vec<u64>);

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    caller: usize,
    tokens: u64,
    since: Instant,
}

struct Queue {
    queue: RateQueue,
    now: Instant,
    waiting: Vec<Waiting>,
}

impl Queue {
    /// A queue of which all tokens are spent.
    fn new(quotas: &[Quota]) -> Self {
        let now = Instant::now();
        let mut limits = QuotaSet::new(quotas, None, now);
        let all = |unit| quotas.iter().find(|quota| quota.unit == unit).map_or(0, |quota| quota.amount.get());
        let cost = CallCost { calls: all(LimitUnit::Requests), input: all(LimitUnit::Tokens), output: 0 };
        limits.try_reserve(&cost, 0, now).unwrap();
        Self { queue: RateQueue::new(limits, usize::MAX), now, waiting: Vec::new() }
    }

    fn arrive(&mut self, caller: usize, priority: Priority, flow: Flow, tokens: u64) {
        let call = RateCall { cost: CallCost { calls: 1, input: tokens, output: 0 }, priority, flow };
        let wait = self.queue.shortfall(&call, self.now).wait;
        let ticket = self.queue.enqueue(call, wait, self.now).unwrap();
        self.waiting.push(Waiting { ticket, caller, tokens, since: self.now });
    }

    /// The next calls that are granted, after their wait.
    fn next(&mut self) -> Vec<Waiting> {
        self.now = self.now.max(self.queue.first_slot(self.now).unwrap());
        self.queue.grant_ready(self.now);
        let is_granted = |waiting: &mut Waiting| {
            matches!(self.queue.waiters.get_mut(&waiting.ticket).state, RateWaiterState::Granted(_))
        };
        self.waiting.extract_if(.., is_granted).collect()
    }

    /// What each caller gets, and its longest wait, while each has so many waiting calls all the time.
    fn serve(&mut self, callers: &[Caller], depth: usize, time: Duration) -> Vec<(u64, u64, Duration)> {
        let (until, mut sent) = (self.now + time, vec![0; callers.len()]);
        let mut got = vec![(0, 0, Duration::ZERO); callers.len()];
        let mut missing: Vec<usize> = (0..callers.len()).flat_map(|caller| vec![caller; depth]).collect();
        while self.now < until {
            for caller in std::mem::take(&mut missing) {
                let (priority, flow, tokens) = &callers[caller];
                self.arrive(caller, *priority, *flow, tokens[sent[caller] % tokens.len()]);
                sent[caller] += 1;
            }
            for granted in self.next() {
                let (calls, tokens, wait) = &mut got[granted.caller];
                (*calls, *tokens) = (*calls + 1, *tokens + granted.tokens);
                *wait = (*wait).max(self.now - granted.since);
                self.queue.waiters.remove(granted.ticket);
                missing.push(granted.caller);
            }
        }
        got
    }
}

/// The tokens of calls: of one size, or of any up to it.
fn calls() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![Just(200u64), Just(3_000), Just(60_000), Just(100_000)]
        .prop_flat_map(|most| prop_oneof![Just(vec![most]), prop::collection::vec(most / 4..=most, 1..20)])
}

/// Long enough for 40 of the largest calls.
fn time<'a>(calls: impl IntoIterator<Item = &'a Vec<u64>>) -> Duration {
    Duration::from_millis(40 * calls.into_iter().map(|calls| most(calls)).max().unwrap())
}

fn most(calls: &[u64]) -> u64 {
    calls.iter().copied().max().unwrap()
}

/// Regression: calls that were queued while the gate was closed and the quota had room cost next to nothing,
/// and those of batch came before all others.
#[test]
fn calls_that_wait_for_a_closed_gate_cost_what_they_cost_otherwise() {
    let now = Instant::now();
    let mut limits = QuotaSet::new(&[TOKENS], None, now);
    let spent = CallCost { calls: 1, input: 10_000, output: 0 };
    limits.try_reserve(&spent, 0, now).unwrap();
    limits.close(
        now + 1_000 * MILLISECOND,
        ReopenRamp::new(Duration::ZERO, now + 1_000 * MILLISECOND, 0.0),
        now,
    );
    let queue = RateQueue::new(limits, usize::MAX);
    let mut queue = Queue { queue, now, waiting: Vec::new() };
    (0..50).for_each(|_| queue.arrive(1, Priority::Batch, 1, 1_000));
    (0..50).for_each(|_| queue.arrive(0, Priority::Interactive, 1, 1_000));
    let mut granted = Vec::new();
    while granted.len() < 50 {
        granted.extend(queue.next().into_iter().map(|call| call.caller));
    }
    let batch = granted[..50].iter().filter(|caller| **caller == 1).count();
    assert!((9..=11).contains(&batch), "{granted:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Regression: shares were counted in calls, so that a batch of large calls got nearly all tokens.
    #[test]
    fn tokens_are_shared_between_the_priorities_whatever_the_size_of_their_calls(
        interactive in calls(), batch in calls(), depth in 1usize..4,
    ) {
        let (sizes, time) = ([most(&interactive), most(&batch)], time([&interactive, &batch]));
        let callers = [(Priority::Interactive, 1, interactive), (Priority::Batch, 1, batch)];
        let got = Queue::new(&[TOKENS]).serve(&callers, depth, time);
        let [interactive, batch] = [got[0].1, got[1].1];
        prop_assert!(interactive <= 4 * (batch + 2 * sizes[1]), "{got:?}");
        prop_assert!(4 * batch <= interactive + 2 * sizes[0] + 4 * sizes[1], "{got:?}");
    }

    /// Regression: shares were counted in calls, so that a tenant with large calls got nearly all tokens.
    #[test]
    fn tokens_are_shared_between_tenants_whatever_the_size_of_their_calls(
        tenants in prop::collection::vec(calls(), 2..4), depth in 1usize..4, is_batch: bool,
    ) {
        let priority = if is_batch { Priority::Batch } else { Priority::Interactive };
        let callers = Vec::from_iter((1..).zip(&tenants).map(|(flow, calls)| (priority, flow, calls.clone())));
        let got = Queue::new(&[TOKENS]).serve(&callers, depth, time(&tenants));
        for (one, calls) in got.iter().zip(&tenants) {
            for (other, other_calls) in got.iter().zip(&tenants) {
                prop_assert!(one.1 <= other.1 + 2 * (most(calls) + most(other_calls)), "{got:?}");
            }
        }
    }

    /// A large batch call has its turn after four times its cost. Until then it takes a fifth of the pace
    /// from interactive calls, and blocks none of them.
    #[test]
    fn a_large_batch_call_neither_blocks_nor_is_starved(
        large in 10_000u64..50_000, small in 100u64..1_000, depth in 1usize..6,
    ) {
        let callers = [(Priority::Interactive, 1, vec![small]), (Priority::Batch, 1, vec![large])];
        let got = Queue::new(&[TOKENS]).serve(&callers, depth, 10 * MINUTE);
        let (ahead, (_, tokens, wait)) = (depth as u64, got[0]);
        // Its own cost and that of the calls before it, at four fifths of the pace.
        prop_assert!(wait <= 5 * MILLISECOND * (ahead * small / 4 + 1) as u32, "{wait:?}");
        prop_assert!(tokens >= 450_000, "{tokens}");
        prop_assert!(got[1].2 <= 5 * MILLISECOND * (large * ahead + small) as u32, "{:?}", got[1].2);
    }

    /// No call waits longer than is predicted, if none comes after it.
    #[test]
    fn the_predicted_wait_is_an_upper_bound(
        arrivals in prop::collection::vec((0u64..4, any::<bool>(), 1u64..30_000, 0u64..500), 1..40),
    ) {
        let mut queue = Queue::new(&[TOKENS]);
        for (flow, is_batch, tokens, pause) in arrivals {
            let priority = if is_batch { Priority::Batch } else { Priority::Interactive };
            queue.arrive(0, priority, flow, tokens);
            queue.now += Duration::from_millis(pause);
            queue.queue.grant_ready(queue.now);
        }
        queue.next();
        let (now, mut tickets) = (queue.now, std::mem::take(&mut queue.waiting));
        for waiting in &mut tickets {
            waiting.since = queue.queue.find_slot(&waiting.ticket, Duration::ZERO, now);
        }
        queue.waiting = tickets;
        while !queue.waiting.is_empty() {
            for granted in queue.next() {
                // Parts of a token are rounded.
                let late = queue.now.saturating_duration_since(granted.since);
                prop_assert!(late <= 2 * MILLISECOND, "{granted:?} {late:?} late");
            }
        }
    }
}

/// Regression: a batch call of most of the quota at the head of the queue blocked every interactive call
/// until it had room.
#[test]
fn an_interactive_call_passes_a_batch_call_that_lacks_room() {
    let mut queue = Queue::new(&[TOKENS]);
    queue.arrive(0, Priority::Batch, 1, 50_000);
    let mut grants = Vec::new();
    for _ in 0..8 {
        queue.arrive(1, Priority::Interactive, 1, 100);
        let (since, granted) = (queue.now, queue.next());
        grants.extend(granted.into_iter().map(|granted| (granted.caller, queue.now - since)));
    }
    assert!(grants.iter().all(|(caller, wait)| (*caller, *wait) <= (1, 126 * MILLISECOND)), "{grants:?}");
    assert_eq!(grants.len(), 8);
}

/// Of two units the calls are counted in the one of which they take the most.
#[test]
fn neither_of_two_units_starves_the_calls_that_need_the_other() {
    let requests = Quota::new(LimitUnit::Requests, 60, MINUTE);
    for [small, large] in [[Priority::Interactive, Priority::Batch], [Priority::Batch, Priority::Interactive]]
    {
        let callers = [(small, 1, vec![1]), (large, 1, vec![6_000])];
        let got = Queue::new(&[requests, TOKENS]).serve(&callers, 3, 5 * MINUTE);
        // Requests alone would be enough for 300 small calls, tokens alone for 50 large ones.
        let least = if small == Priority::Interactive { [200, 10] } else { [50, 30] };
        assert!(got[0].0 >= least[0] && got[1].0 >= least[1], "{got:?}");
    }
}
