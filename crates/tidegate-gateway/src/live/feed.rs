use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tidegate::ErrorCode;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::event_body::EventBody;
use super::reporter::{LiveSource, Reporter};
use crate::calls::RecentCalls;
use crate::connections::{CallerConnection, ConnectionInUse};
use crate::proxy::GatewayError;
use crate::sync::lock;
use crate::targets::Targets;
use crate::transitions::TransitionEntry;

/// The events of `/live`, and their subscribers. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LiveFeed(Arc<SharedFeed>);

#[derive(Default)]
struct SharedFeed {
    source: Arc<LiveSource>,
    subscribers: Mutex<Subscribers>,
    /// Notified of a new subscriber.
    joined: Notify,
}

#[derive(Default)]
struct Subscribers {
    open: Vec<Subscriber>,
    /// The task that sends events, while there are subscribers.
    task: Option<JoinHandle<()>>,
    is_closed: bool,
}

struct Subscriber {
    events: mpsc::Sender<Bytes>,
    /// Keeps its connection from counting as idle while it reads.
    _connection: Option<ConnectionInUse>,
    /// Whether it has not received a snapshot yet.
    is_new: bool,
}

/// The most subscribers at a time.
const MAX_SUBSCRIBERS: usize = 16;

/// The events that a subscriber may leave unread.
const QUEUE: usize = 16;

/// The time between two updates.
const TICK: Duration = Duration::from_millis(500);

/// The time without an event after which a comment is sent.
const HEARTBEAT: Duration = Duration::from_secs(5);

const HEARTBEAT_COMMENT: Bytes = Bytes::from_static(b": heartbeat\n\n");

impl LiveFeed {
    /// Reports these targets and calls from now on, to present subscribers as well. Earlier transitions are
    /// kept.
    pub(crate) fn follow(&self, targets: Arc<Targets>, recent_calls: RecentCalls) {
        self.0.source.follow(targets, recent_calls);
    }

    /// The latest transitions of all circuits, newest first.
    pub(super) fn transitions(&self) -> Vec<TransitionEntry> {
        let mut entries = self.0.source.transitions.since(0);
        entries.reverse();
        entries
    }

    /// The events from now on, beginning with a snapshot, for a subscriber on this connection.
    ///
    /// # Errors
    ///
    /// There are too many subscribers, or the gateway stops.
    pub(super) fn subscribe(
        &self,
        connection: Option<&CallerConnection>,
    ) -> Result<EventBody, Box<GatewayError>> {
        let rejected = |message: String| Box::new(GatewayError::new(ErrorCode::Overloaded, message));
        let mut subscribers = self.lock();
        if subscribers.is_closed {
            return Err(rejected("the gateway stops".to_owned()));
        }
        subscribers.open.retain(|subscriber| !subscriber.events.is_closed());
        if subscribers.open.len() >= MAX_SUBSCRIBERS {
            return Err(rejected(format!("expected at most {MAX_SUBSCRIBERS} subscribers at a time")));
        }
        let (events, receiver) = mpsc::channel(QUEUE);
        let connection = connection.map(CallerConnection::busy);
        subscribers.open.push(Subscriber { events, _connection: connection, is_new: true });
        if subscribers.task.as_ref().is_none_or(JoinHandle::is_finished) {
            subscribers.task = Some(tokio::spawn(self.clone().run()));
        }
        drop(subscribers);
        self.0.joined.notify_one();
        Ok(EventBody(receiver))
    }

    /// Ends the events of all subscribers, which may subscribe again with the keys that are valid now.
    pub(crate) fn end(&self) {
        self.lock().open.clear();
    }

    /// Ends the events of all subscribers, and accepts no further one.
    pub(crate) fn close(&self) {
        let mut subscribers = self.lock();
        subscribers.is_closed = true;
        subscribers.open.clear();
    }

    /// Sends events until there is no subscriber.
    async fn run(self) {
        let mut reporter = Reporter::new(Arc::clone(&self.0.source));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_event = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.joined.notified() => {}
            }
            let has_new = self.lock().open.iter().any(|subscriber| subscriber.is_new);
            let is_quiet = last_event.elapsed() >= HEARTBEAT;
            let update = reporter.update().or_else(|| is_quiet.then_some(HEARTBEAT_COMMENT));
            if update.is_some() {
                last_event = Instant::now();
            }
            // Later than the update, so that a new subscriber misses nothing.
            let snapshot = has_new.then(|| reporter.snapshot());
            if !self.send(update, snapshot) {
                return;
            }
        }
    }

    /// Sends `snapshot` to new subscribers and `update` to the others. Returns whether any is left; if not,
    /// the task ends.
    fn send(&self, update: Option<Bytes>, snapshot: Option<Bytes>) -> bool {
        let mut subscribers = self.lock();
        subscribers.open.retain_mut(|subscriber| {
            let event = if subscriber.is_new { &snapshot } else { &update };
            let Some(event) = event else { return !subscriber.events.is_closed() };
            match subscriber.events.try_send(event.clone()) {
                Ok(()) => subscriber.is_new = false,
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => return false,
            }
            true
        });
        if subscribers.open.is_empty() {
            subscribers.task = None;
        }
        !subscribers.open.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.0.subscribers)
    }
}

impl fmt::Debug for LiveFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveFeed").field(&self.lock().open.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tidegate::{BoxError, Payload, ResilienceBuilder};
    use tokio::time::timeout;

    use super::*;
    use crate::calls::OngoingCall;
    use crate::target_health::RecentHealth;
    use crate::targets::TargetGates;

    /// No event may take longer, in paused time.
    const BOUND: Duration = Duration::from_secs(60);

    fn feed() -> (LiveFeed, RecentCalls) {
        let (feed, calls) = (LiveFeed::default(), RecentCalls::new(3));
        feed.follow(targets(&[]), calls.clone());
        (feed, calls)
    }

    /// The next event, or `None` at the end.
    async fn next(body: &mut EventBody) -> Option<String> {
        let frame = timeout(BOUND, body.frame()).await.expect("an event or the end")?;
        let data = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(data.to_vec()).unwrap())
    }

    async fn begins(body: &mut EventBody, start: &str) {
        let event = next(body).await.unwrap();
        assert!(event.starts_with(start), "{event}");
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_a_snapshot_then_updates_of_what_changes_and_comments_in_between() {
        let (feed, calls) = feed();
        let mut body = feed.subscribe(None).unwrap();
        begins(&mut body, "retry: 1000\nevent: snapshot\ndata: {").await;
        let started = Instant::now();
        assert_eq!(next(&mut body).await.unwrap(), ": heartbeat\n\n");
        assert!(started.elapsed() >= HEARTBEAT - TICK);
        let call = OngoingCall::begin(&calls, "/", None, None);
        begins(&mut body, "event: update\ndata: {").await;
        drop(call);
        let update = next(&mut body).await.unwrap();
        assert!(update.contains(r#""end":"dropped""#) && update.ends_with("}\n\n"), "{update}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_does_not_read_is_dropped_and_the_others_are_not() {
        let (feed, calls) = feed();
        let (mut slow, mut fast) = (feed.subscribe(None).unwrap(), feed.subscribe(None).unwrap());
        begins(&mut fast, "retry:").await;
        for _ in 0..2 * QUEUE {
            drop(OngoingCall::begin(&calls, "/", None, None));
            begins(&mut fast, "event: update").await;
        }
        begins(&mut slow, "retry:").await;
        for _ in 1..QUEUE {
            begins(&mut slow, "event: update").await;
        }
        assert_eq!(next(&mut slow).await, None);
        begins(&mut feed.subscribe(None).unwrap(), "retry:").await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_subscribers_is_bounded() {
        let (feed, _) = feed();
        let mut bodies: Vec<_> = (0..MAX_SUBSCRIBERS).map(|_| feed.subscribe(None).unwrap()).collect();
        let error = feed.subscribe(None).unwrap_err();
        assert_eq!(error.message(), "expected at most 16 subscribers at a time");
        bodies.pop();
        feed.subscribe(None).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_the_last_subscriber_and_starts_again() {
        let (feed, _) = feed();
        for _ in 0..2 {
            let mut body = feed.subscribe(None).unwrap();
            begins(&mut body, "retry:").await;
            assert!(feed.lock().task.is_some());
            drop(body);
            tokio::time::sleep(2 * TICK).await;
            assert!(feed.lock().task.is_none());
        }
    }

    fn targets(names: &[&str]) -> Arc<Targets> {
        let gates = |name: &&str| TargetGates {
            policy: "default".into(),
            has_circuit: true,
            signals: ResilienceBuilder::new(name)
                .service(tower::service_fn(async |_: http::Request<Payload>| {
                    Ok::<_, BoxError>(http::Response::new(axum::body::Body::empty()))
                }))
                .signals(),
            health: RecentHealth::default(),
            chains: Vec::new(),
            groups: Vec::new(),
        };
        Arc::new(Targets::new(names.iter().map(gates), []))
    }

    #[tokio::test(start_paused = true)]
    async fn other_targets_are_reported_to_present_subscribers_and_transitions_are_kept() {
        let ((feed, calls), one) = (feed(), targets(&["p/a"]));
        feed.follow(Arc::clone(&one), calls.clone());
        let mut body = feed.subscribe(None).unwrap();
        begins(&mut body, "retry:").await;
        one.iter().for_each(|target| target.signals.circuit_breaker().force_open());
        let update = next(&mut body).await.unwrap();
        assert!(update.contains(r#""target":"p/a","circuit_state":"open""#), "{update}");
        feed.follow(targets(&["p/a", "p/b"]), calls);
        let updates = [next(&mut body).await.unwrap(), next(&mut body).await.unwrap()].concat();
        assert!(updates.contains(r#""target":"p/b""#), "{updates}");
        assert_eq!(feed.transitions().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_feed_ends_all_events() {
        let (feed, _) = feed();
        let mut body = feed.subscribe(None).unwrap();
        begins(&mut body, "retry:").await;
        feed.close();
        assert_eq!(next(&mut body).await, None);
        assert_eq!(feed.subscribe(None).unwrap_err().message(), "the gateway stops");
    }
}
