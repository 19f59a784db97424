//! A round robin of the members of a group, as one would write it by hand.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use tower::{ServiceExt, service_fn};

use super::{StackService, TargetPlan};

/// The smooth weighted round robin of nginx: in each turn every member gains its weight, the one with the
/// most is chosen, and loses the weight of all.
#[derive(Debug)]
struct RoundRobin {
    weights: Vec<i64>,
    gained: Mutex<Vec<i64>>,
}

impl RoundRobin {
    fn new(weights: &[u32]) -> Self {
        Self {
            weights: weights.iter().map(|weight| i64::from(*weight)).collect(),
            gained: Mutex::new(vec![0; weights.len()]),
        }
    }

    /// The member whose turn it is.
    fn next(&self) -> usize {
        let mut gained = self.gained.lock().unwrap_or_else(PoisonError::into_inner);
        gained.iter_mut().zip(&self.weights).for_each(|(gained, weight)| *gained += weight);
        // Of equal members the first: `max_by_key` returns the last one.
        let next = (0..gained.len()).rev().max_by_key(|index| gained[*index]).unwrap_or_default();
        gained[next] -= self.weights.iter().sum::<i64>();
        next
    }
}

/// The weights of members: their limits of requests if all have one, else the same for all.
pub(super) fn weights(members: &[TargetPlan]) -> Vec<u32> {
    let limits: Option<Vec<u32>> = members.iter().map(|member| member.requests).collect();
    limits.unwrap_or_else(|| vec![1; members.len()])
}

/// Calls each of the services in its turn.
pub(super) fn round_robin_of(services: Vec<StackService>, weights: &[u32]) -> StackService {
    let (services, turns): (Arc<[_]>, _) = (services.into(), Arc::new(RoundRobin::new(weights)));
    StackService::new(service_fn(move |request: Request<Bytes>| {
        services[turns.next()].clone().oneshot(request)
    }))
}

/// The stacks of the members of a group, or of a single target: the fallback starts at each of them in its
/// turn.
pub(super) fn group_of(
    stacks: Vec<StackService>,
    members: &[TargetPlan],
    with_fallback: fn(Vec<StackService>) -> StackService,
) -> StackService {
    let from = |first: usize| {
        let mut stacks = stacks.clone();
        stacks.rotate_left(first);
        with_fallback(stacks)
    };
    round_robin_of((0..stacks.len()).map(from).collect(), &weights(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_get_the_turns_of_their_weights_evenly_spread() {
        for (weights, expected) in
            [(&[1, 1, 1][..], vec![0, 1, 2, 0, 1, 2, 0]), (&[5, 1, 1], vec![0, 0, 1, 0, 2, 0, 0])]
        {
            let turns = RoundRobin::new(weights);
            assert_eq!((0..7).map(|_| turns.next()).collect::<Vec<_>>(), expected);
        }
    }
}
