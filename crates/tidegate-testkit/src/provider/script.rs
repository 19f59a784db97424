use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Reply;

/// The replies of a provider, one request after the other. It is a handle: the script can be changed while
/// the provider plays it, so that a provider can fail or recover in the middle of a test.
#[derive(Clone)]
pub struct Script(Arc<Mutex<ScriptState>>);

struct ScriptState {
    next: VecDeque<Reply>,
    otherwise: Reply,
    random_failure: Option<RandomFailure>,
}

/// A reply that is sent at random.
struct RandomFailure {
    ratio: f64,
    random: fastrand::Rng,
    reply: Reply,
}

impl Script {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(ScriptState {
            next: VecDeque::new(),
            otherwise: Reply::ok(),
            random_failure: None,
        })))
    }

    /// Adds a reply for one request.
    pub fn then(&self, reply: Reply) {
        self.state().next.push_back(reply);
    }

    /// The reply to every request after the script is used up.
    pub fn otherwise(&self, reply: Reply) {
        self.state().otherwise = reply;
    }

    /// Once the script is used up, `ratio` of the requests (0 to 1) get `reply`. The same seed selects the
    /// same requests. A ratio of 0 turns it off.
    pub fn failing(&self, ratio: f64, seed: u64, reply: Reply) {
        let random = fastrand::Rng::with_seed(seed);
        self.state().random_failure = Some(RandomFailure { ratio, random, reply });
    }

    /// The number of scripted replies that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.state().next.len()
    }

    pub(super) fn next(&self) -> Reply {
        let mut state = self.state();
        if let Some(reply) = state.next.pop_front() {
            return reply;
        }
        if let Some(RandomFailure { ratio, random, reply }) = &mut state.random_failure
            && random.f64() < *ratio
        {
            return reply.clone();
        }
        state.otherwise.clone()
    }

    fn state(&self) -> MutexGuard<'_, ScriptState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({} left)", self.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(script: &Script, count: usize) -> Vec<u16> {
        (0..count).map(|_| script.next().status.as_u16()).collect()
    }

    #[test]
    fn plays_its_replies_once_and_then_the_default() {
        let script = Script::new();
        script.then(Reply::status(503));
        script.then(Reply::status(500));
        assert_eq!(statuses(&script, 4), [503, 500, 200, 200]);
        script.otherwise(Reply::status(404));
        assert_eq!(statuses(&script, 2), [404, 404]);
    }

    #[test]
    fn fails_at_random_but_the_same_way_for_the_same_seed() {
        let play = |seed| {
            let script = Script::new();
            script.failing(0.3, seed, Reply::status(500));
            statuses(&script, 1000)
        };
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
        let failed = play(7).iter().filter(|status| **status == 500).count();
        assert!((250..350).contains(&failed), "{failed}");
    }
}
