use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::sync::unpoisoned;

/// A state that the values of a layer, their services and their handles share.
///
/// Layer values and services hold the state itself, and guards a copy of their thread. A handle that was
/// given out is a follower: when a setter replaces the state of its layer, it follows.
///
/// ```text
/// layer ──▶ state ◀─────── follower ◀── handles given out before the setter
///   │ setter                  │ successor
///   ▼                         ▼
/// layer ──▶ next state ◀── follower ◀── handles given out after it
/// ```
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Node<T>>);

// With a tag of its own, rather than one in the unused values of a state, it takes one comparison to find a
// state.
#[derive(Debug)]
#[repr(u8)]
enum Node<T> {
    State {
        state: T,
        follower: Mutex<Weak<Self>>,
    },
    Follower {
        state: Shared<T>,
        successor: OnceLock<Shared<T>>,
    },
    /// Counts the references of one thread to a state.
    Copy {
        state: Shared<T>,
    },
}

impl<T> Shared<T> {
    pub(crate) fn new(state: T) -> Self {
        Self(Arc::new(Node::State { state, follower: Mutex::default() }))
    }

    /// The same state, for a handle that is given out: it follows when the state is
    /// [replaced](Self::replace).
    pub(crate) fn follower(&self) -> Self {
        let Node::State { follower, .. } = &*self.0 else { return self.clone() };
        let mut follower = unpoisoned(follower.lock());
        Self(follower.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Node::Follower { state: self.clone(), successor: OnceLock::new() });
            *follower = Arc::downgrade(&new);
            new
        }))
    }

    /// The same state, with a reference count of its own.
    pub(crate) fn copy(&self) -> Self {
        // A node is as large as the state, so that no two counts are on the same pair of cache lines.
        const { assert!(size_of::<Node<T>>() >= 128) };
        Self(Arc::new(Node::Copy { state: self.resolved() }))
    }

    /// The state that a follower leads to now: what a guard holds, so that it is released where it was
    /// acquired.
    #[inline]
    pub(crate) fn resolved(&self) -> Self {
        self.target().clone()
    }

    /// `next` in the place of this state.
    ///
    /// The followers follow, unless something else still uses this state: another layer value, a service, a
    /// call. They would no longer show what is in use.
    pub(crate) fn replace(&self, next: T) -> Self {
        let next = Self::new(next);
        if let Node::State { follower, .. } = &*self.0
            && let Some(follower) = unpoisoned(follower.lock()).upgrade()
            && let Node::Follower { successor, .. } = &*follower
            // One is this reference, the other that of the follower.
            && Arc::strong_count(&self.0) == 2
        {
            let _ = successor.set(next.follower());
        }
        next
    }

    /// Whether there is another reference to the state.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    #[inline]
    fn target(&self) -> &Self {
        let mut node = self;
        loop {
            node = match &*node.0 {
                Node::State { .. } => return node,
                Node::Follower { state, successor } => successor.get().unwrap_or(state),
                Node::Copy { state } => state,
            };
        }
    }

    #[cold]
    fn followed(&self) -> &T {
        self.target()
    }
}

/// A [`Shared`] that does not keep the state alive.
#[derive(Debug)]
pub(crate) struct WeakShared<T>(Weak<Node<T>>);

impl<T> Shared<T> {
    pub(crate) fn downgrade(&self) -> WeakShared<T> {
        WeakShared(Arc::downgrade(&self.target().0))
    }
}

impl<T> WeakShared<T> {
    pub(crate) fn upgrade(&self) -> Option<Shared<T>> {
        self.0.upgrade().map(Shared)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Dereferences to the state.
impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &*self.0 {
            Node::State { state, .. } => state,
            Node::Copy { state } => match &*state.0 {
                Node::State { state, .. } => state,
                Node::Copy { .. } | Node::Follower { .. } => self.followed(),
            },
            Node::Follower { .. } => self.followed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_follows_every_replacement_and_a_guard_stays_where_it_was_acquired() {
        let first = Shared::new(1);
        let follower = first.follower();
        let guard = follower.resolved();
        assert_eq!((*follower, *guard), (1, 1));
        drop(guard);
        let second = first.replace(2);
        drop(first);
        let guard = follower.resolved();
        let late = second.follower();
        drop(guard);
        let third = second.replace(3);
        drop(second);
        assert_eq!((*third, *follower, *late, *follower.clone()), (3, 3, 3, 3));
    }

    #[test]
    fn a_follower_stays_with_a_state_that_something_else_uses() {
        let first = Shared::new(1);
        let (follower, other) = (first.follower(), first.clone());
        let second = first.replace(2);
        drop(first);
        assert_eq!((*second, *follower, *other), (2, 1, 1));
        // The other value is now the only one, and its followers follow it.
        let third = other.replace(3);
        assert_eq!((*third, *follower, *second), (3, 3, 2));
    }

    #[test]
    fn nothing_is_kept_alive_by_a_follower_that_is_gone() {
        let first = Shared::new(Arc::new(()));
        drop(first.follower());
        let state = Arc::downgrade(&first);
        let second = first.replace(Arc::new(()));
        drop(first);
        assert!(state.upgrade().is_none());
        assert!(!second.is_in_use());
    }
}
