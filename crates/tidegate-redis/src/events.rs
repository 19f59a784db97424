//! What other processes publish.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use redis::aio::{PubSub, PubSubSink};
use redis::{Client, RedisResult, Value};
use tidegate::store::{CircuitView, StoreListener};
use tokio::time::{sleep, timeout};

use crate::store::{CONNECT_TIMEOUT, problem_of};

/// The listeners of each limit.
#[derive(Default)]
pub(crate) struct StoreListeners(Mutex<ListenersByName>);

#[derive(Default)]
struct ListenersByName {
    by_name: HashMap<String, Vec<Weak<dyn StoreListener>>>,
    /// The number of names at which those without a listener are removed.
    clean_at: usize,
}

/// The fewest names at which those without a listener are removed.
const CLEAN_AT: usize = 64;

/// A message of the channel.
#[derive(Debug, PartialEq, Eq)]
struct ChangeMessage<'a> {
    change: Change,
    process: &'a str,
    name: &'a str,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    GateClosed(Duration),
    GateOpened,
    Circuit(CircuitView),
}

/// The shortest and the longest time between two attempts to subscribe.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The longest time between a reconnection and the first reads that follow it.
const READ_DELAY: Duration = Duration::from_secs(1);

/// So many states are read in each interval: all of ten thousand take some seconds.
const READS: usize = 32;
const READ_INTERVAL: Duration = Duration::from_millis(10);

/// How often the connection is tried, and how long the reply may take.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

impl StoreListeners {
    /// Adds a listener. The names are walked only once they have doubled, so that many names cost little
    /// each.
    pub(crate) fn add(&self, name: &str, listener: Weak<dyn StoreListener>) {
        let mut listeners = self.lock();
        let ListenersByName { by_name, clean_at } = &mut *listeners;
        if by_name.len() >= *clean_at {
            by_name.retain(|_, of_name| of_name.iter().any(is_there));
            *clean_at = (2 * by_name.len()).max(CLEAN_AT);
        }
        let of_name = by_name.entry(name.to_owned()).or_default();
        of_name.retain(is_there);
        of_name.push(listener);
    }

    fn lock(&self) -> MutexGuard<'_, ListenersByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listeners of `name`, read without the lock.
    fn of(&self, name: &str) -> Vec<std::sync::Arc<dyn StoreListener>> {
        self.lock().by_name.get(name).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn publish(&self, text: &str, own_process: &str) {
        let Some(message) = ChangeMessage::parse(text).filter(|message| message.process != own_process)
        else {
            return;
        };
        for listener in self.of(message.name) {
            match message.change {
                Change::GateClosed(wait) => listener.on_closed(wait),
                Change::GateOpened => listener.on_opened(),
                Change::Circuit(view) => listener.on_circuit(view),
            }
        }
    }

    /// Lets the listeners read what they have missed, after `wait` and a few at a time: all processes may have
    /// lost their connections at one moment, and what is late counts as unavailable.
    async fn on_reconnected(&self, wait: Duration) {
        sleep(wait).await;
        let all: Vec<_> = self.lock().by_name.values().flatten().cloned().collect();
        for some in all.chunks(READS) {
            some.iter().filter_map(Weak::upgrade).for_each(|listener| listener.on_reconnected());
            sleep(READ_INTERVAL).await;
        }
    }
}

fn is_there(listener: &Weak<dyn StoreListener>) -> bool {
    listener.strong_count() > 0
}

impl<'a> ChangeMessage<'a> {
    /// `<change> <process> <microseconds> <name>`.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let (kind, process, wait, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let wait = Duration::from_micros(wait.parse().ok()?);
        let open = |is_quota| Change::Circuit(CircuitView::Open { wait, is_quota, has_turn: false });
        let change = match kind {
            "closed" => Change::GateClosed(wait),
            "opened" => Change::GateOpened,
            "circuit_open" => open(false),
            "circuit_quota" => open(true),
            "circuit_closed" => Change::Circuit(CircuitView::Closed),
            _ => return None,
        };
        Some(Self { change, process, name })
    }
}

/// Passes on what is published, until it is dropped. What is missed while the connection is lost is read when it
/// is back.
pub(crate) async fn listen(
    client: Client,
    server: &str,
    channel: &str,
    process: &str,
    listeners: &StoreListeners,
) {
    let (mut wait, mut is_rejected, mut read_delay) = (RETRY.0, false, Duration::ZERO);
    loop {
        let subscribed = timeout(CONNECT_TIMEOUT, subscribe(&client, channel)).await;
        // A server that does not reply fails the other operations as well, which is logged there.
        if let Ok(Err(error)) = &subscribed
            && error.code().is_some()
            && !std::mem::replace(&mut is_rejected, true)
        {
            let problem = problem_of(error);
            tracing::warn!(layer = "store", server, problem, "changes of other processes are not received");
        }
        if let Ok(Ok(connection)) = subscribed {
            if std::mem::take(&mut is_rejected) {
                tracing::info!(layer = "store", server, "changes of other processes are received again");
            }
            wait = RETRY.0;
            let read = listeners.on_reconnected(read_delay.mul_f64(fastrand::f64()));
            read_delay = READ_DELAY;
            let (mut sink, mut messages) = connection.split();
            let pass_on = async {
                while let Some(message) = messages.next().await {
                    if let Ok(text) = message.get_payload::<String>() {
                        listeners.publish(&text, process);
                    }
                }
            };
            tokio::select! {
                () = pass_on => {}
                () = ping(&mut sink) => {}
                () = read.then(|()| pending()) => {}
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

pub(crate) async fn subscribe(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

/// Sends pings until one has no reply. A connection that is read alone may be lost without a sign.
async fn ping(sink: &mut PubSubSink) {
    loop {
        sleep(PING_INTERVAL).await;
        match timeout(PING_TIMEOUT, sink.ping::<Value>()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    struct Ignores;

    impl StoreListener for Ignores {
        fn on_closed(&self, _: Duration) {}
    }

    fn add(listeners: &StoreListeners, name: usize) -> Arc<dyn StoreListener> {
        let listener: Arc<dyn StoreListener> = Arc::new(Ignores);
        listeners.add(&name.to_string(), Arc::downgrade(&listener));
        listener
    }

    /// Regression: each name walked over all others, which took minutes for these.
    #[test]
    fn many_names_cost_little_each() {
        let (listeners, start) = (StoreListeners::default(), Instant::now());
        let _kept: Vec<_> = (0..50_000).map(|name| add(&listeners, name)).collect();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(listeners.lock().by_name.len(), 50_000);
    }

    #[test]
    fn what_is_dropped_takes_up_no_more_than_what_is_there() {
        let listeners = StoreListeners::default();
        let kept: Vec<_> = (0..1_000).map(|name| add(&listeners, name)).collect();
        for name in 1_000..20_000 {
            drop(add(&listeners, name));
            drop(add(&listeners, 0));
        }
        let guard = listeners.lock();
        assert!(guard.by_name.len() <= 2 * kept.len() + 2, "{}", guard.by_name.len());
        assert!(guard.by_name["0"].len() <= 2);
        drop(guard);
        assert_eq!(listeners.of("0").len(), 1);
    }

    #[derive(Default)]
    struct Reads(AtomicUsize);

    impl StoreListener for Reads {
        fn on_reconnected(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Regression: all states of all processes were read at one moment, and most of the replies were late.
    #[tokio::test(start_paused = true)]
    async fn after_a_reconnection_the_states_are_read_a_few_at_a_time() {
        let (listeners, counter) = (StoreListeners::default(), Arc::<Reads>::default());
        for name in 0..100 {
            let listener: Weak<dyn StoreListener> = Arc::downgrade(&counter) as _;
            listeners.add(&name.to_string(), listener);
        }
        let mut read = pin!(listeners.on_reconnected(READ_DELAY));
        for (time, expected) in [(995, 0), (10, 32), (10, 64), (10, 96), (20, 100)] {
            let _ = timeout(Duration::from_millis(time), &mut read).await;
            assert_eq!(counter.0.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn a_message_has_four_parts_and_others_are_ignored() {
        let message = ChangeMessage::parse("closed 1f 1500000 rate:a b:openai/gpt-4o").unwrap();
        assert_eq!(message.change, Change::GateClosed(Duration::from_millis(1500)));
        assert_eq!(message.process, "1f");
        assert_eq!(message.name, "rate:a b:openai/gpt-4o");
        for text in ["", "closed", "closed 1f x name", "closed 1f -1 name", "left 1f 1 name"] {
            assert_eq!(ChangeMessage::parse(text), None, "{text}");
        }
    }
}
