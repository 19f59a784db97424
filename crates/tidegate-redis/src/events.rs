//! What other processes publish.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use tidegate::store::{CircuitView, StoreListener};

/// The listeners of each limit.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<HashMap<String, Vec<Weak<dyn StoreListener>>>>);

/// A message of the channel.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    change: Change,
    process: &'a str,
    name: &'a str,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    GateClosed(Duration),
    Circuit(CircuitView),
}

/// The shortest and the longest time between two attempts to subscribe.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Listeners {
    pub(crate) fn add(&self, name: &str, listener: Weak<dyn StoreListener>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|_, of_name| {
            of_name.retain(|listener| listener.strong_count() > 0);
            !of_name.is_empty()
        });
        listeners.entry(name.to_owned()).or_default().push(listener);
    }

    /// The listeners of `name`, read without the lock.
    fn of(&self, name: &str) -> Vec<std::sync::Arc<dyn StoreListener>> {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.get(name).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn publish(&self, text: &str, own_process: &str) {
        let Some(message) = Message::parse(text).filter(|message| message.process != own_process) else {
            return;
        };
        for listener in self.of(message.name) {
            match message.change {
                Change::GateClosed(wait) => listener.on_closed(wait),
                Change::Circuit(view) => listener.on_circuit(view),
            }
        }
    }

    fn on_reconnected(&self) {
        let all: Vec<_> = {
            let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.values().flatten().filter_map(Weak::upgrade).collect()
        };
        all.iter().for_each(|listener| listener.on_reconnected());
    }
}

impl<'a> Message<'a> {
    /// `<change> <process> <microseconds> <name>`.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let (kind, process, wait, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let wait = Duration::from_micros(wait.parse().ok()?);
        let open = |is_quota| Change::Circuit(CircuitView::Open { wait, is_quota, has_turn: false });
        let change = match kind {
            "closed" => Change::GateClosed(wait),
            "circuit_open" => open(false),
            "circuit_quota" => open(true),
            "circuit_closed" => Change::Circuit(CircuitView::Closed),
            _ => return None,
        };
        Some(Self { change, process, name })
    }
}

/// Passes on what is published, until it is dropped. What is missed while the connection is lost comes with the next lease.
pub(crate) async fn listen(client: Client, channel: String, process: String, listeners: &Listeners) {
    let mut wait = RETRY.0;
    loop {
        if let Ok(mut connection) = client.get_async_pubsub().await
            && connection.subscribe(&channel).await.is_ok()
        {
            wait = RETRY.0;
            listeners.on_reconnected();
            let mut messages = connection.on_message();
            while let Some(message) = messages.next().await {
                if let Ok(text) = message.get_payload::<String>() {
                    listeners.publish(&text, &process);
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_four_parts_and_others_are_ignored() {
        let message = Message::parse("closed 1f 1500000 rate:a b:openai/gpt-4o").unwrap();
        assert_eq!(message.change, Change::GateClosed(Duration::from_millis(1500)));
        assert_eq!(message.process, "1f");
        assert_eq!(message.name, "rate:a b:openai/gpt-4o");
        for text in ["", "closed", "closed 1f x name", "closed 1f -1 name", "opened 1f 1 name"] {
            assert_eq!(Message::parse(text), None, "{text}");
        }
    }
}
