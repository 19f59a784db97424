use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LoggedRequest, Reply};

/// The replies of a provider, one request after the other. It is a handle: the script can be changed while
/// the provider plays it, so that a provider can fail or recover in the middle of a test.
#[derive(Clone)]
pub struct Script(Arc<Mutex<ScriptState>>);

struct ScriptState {
    next: VecDeque<Reply>,
    otherwise: DefaultReply,
    random_failure: Option<RandomFailure>,
}

/// The reply after the script is used up.
#[derive(Clone)]
enum DefaultReply {
    Fixed(Box<Reply>),
    Computed(Arc<dyn Fn(&LoggedRequest) -> Reply + Send + Sync>),
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
            otherwise: DefaultReply::Fixed(Box::new(Reply::ok())),
            random_failure: None,
        })))
    }

    /// Adds a reply for one request.
    pub fn then(&self, reply: Reply) {
        self.state().next.push_back(reply);
    }

    /// The reply to every request after the script is used up.
    pub fn otherwise(&self, reply: Reply) {
        self.state().otherwise = DefaultReply::Fixed(Box::new(reply));
    }

    /// The reply to every request after the script is used up, computed from the request.
    pub fn otherwise_with(&self, reply: impl Fn(&LoggedRequest) -> Reply + Send + Sync + 'static) {
        self.state().otherwise = DefaultReply::Computed(Arc::new(reply));
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

    pub(super) fn next(&self, request: &LoggedRequest) -> Reply {
        let mut state = self.state();
        if let Some(reply) = state.next.pop_front() {
            return reply;
        }
        if let Some(RandomFailure { ratio, random, reply }) = &mut state.random_failure
            && random.f64() < *ratio
        {
            return reply.clone();
        }
        let otherwise = state.otherwise.clone();
        // The function may use the script.
        drop(state);
        match otherwise {
            DefaultReply::Fixed(reply) => *reply,
            DefaultReply::Computed(reply) => reply(request),
        }
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
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use tokio::time::Instant;

    use super::*;

    fn request(path: &str) -> LoggedRequest {
        LoggedRequest {
            method: Method::POST,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            model: None,
            is_stream: false,
            at: Instant::now(),
        }
    }

    fn statuses(script: &Script, count: usize) -> Vec<u16> {
        (0..count).map(|_| script.next(&request("/")).status.as_u16()).collect()
    }

    #[test]
    fn computes_a_reply_from_the_request_after_the_script() {
        let script = Script::new();
        script.then(Reply::status(503));
        script.otherwise_with(|request| Reply::status(if request.path == "/a" { 404 } else { 500 }));
        let statuses = ["/a", "/a", "/b"].map(|path| script.next(&request(path)).status.as_u16());
        assert_eq!(statuses, [503, 404, 500]);
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
