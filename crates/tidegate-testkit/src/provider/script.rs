use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Reply;

/// What the provider replies, one request after the other. A handle: the script can be changed while the
/// provider plays it, so that a provider breaks down or recovers in the middle of a test.
#[derive(Clone)]
pub struct Script(Arc<Mutex<Lines>>);

struct Lines {
    next: VecDeque<Reply>,
    otherwise: Reply,
    mishap: Option<Mishap>,
}

/// A failure that comes by chance.
struct Mishap {
    ratio: f64,
    random: fastrand::Rng,
    reply: Reply,
}

impl Script {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Lines { next: VecDeque::new(), otherwise: Reply::ok(), mishap: None })))
    }

    /// Adds a reply for one request.
    pub fn then(&self, reply: Reply) {
        self.lines().next.push_back(reply);
    }

    /// The reply to every request for which the script has none left.
    pub fn otherwise(&self, reply: Reply) {
        self.lines().otherwise = reply;
    }

    /// Where the script has nothing left, `ratio` of the requests (0 to 1) get `reply`; the same seed gives
    /// the same ones. A ratio of 0 ends it.
    pub fn failing(&self, ratio: f64, seed: u64, reply: Reply) {
        let random = fastrand::Rng::with_seed(seed);
        self.lines().mishap = Some(Mishap { ratio, random, reply });
    }

    /// How many replies of the script are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.lines().next.len()
    }

    pub(super) fn next(&self) -> Reply {
        let mut lines = self.lines();
        if let Some(reply) = lines.next.pop_front() {
            return reply;
        }
        if let Some(Mishap { ratio, random, reply }) = &mut lines.mishap
            && random.f64() < *ratio
        {
            return reply.clone();
        }
        lines.otherwise.clone()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
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
    fn plays_its_replies_once_and_then_the_last_resort() {
        let script = Script::new();
        script.then(Reply::status(503));
        script.then(Reply::status(500));
        assert_eq!(statuses(&script, 4), [503, 500, 200, 200]);
        script.otherwise(Reply::status(404));
        assert_eq!(statuses(&script, 2), [404, 404]);
    }

    #[test]
    fn fails_by_chance_but_the_same_way_for_the_same_seed() {
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
