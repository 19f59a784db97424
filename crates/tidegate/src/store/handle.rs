use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::SharedStore;
use crate::key::shared_hasher;
use crate::sync::unpoisoned;

/// A store as layers hold it, and the scope of its names. Clones share the store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<dyn SharedStore>,
    pub(crate) seen_processes: Arc<SeenProcesses>,
    scope: Arc<str>,
    account: Option<u64>,
    /// The name of the states in place of that of their layer.
    name: Option<Arc<str>>,
    /// The number of a service that has a state of its own among those of one name.
    service: Option<NonZeroU32>,
}

/// The part of a stack whose state is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedPart {
    Rate,
    Circuit,
    Member,
}

impl Store {
    /// Limits shared through `store`, without a scope.
    #[must_use]
    pub fn new(store: impl SharedStore) -> Self {
        Self {
            shared: Arc::new(store),
            seen_processes: Arc::default(),
            scope: "".into(),
            account: None,
            name: None,
            service: None,
        }
    }

    /// The same store for other states: those of layers with the same name and another scope are apart.
    #[must_use]
    pub fn scope(&self, scope: &str) -> Self {
        Self { scope: scope.into(), ..self.clone() }
    }

    /// The same store for another server or account of the provider: the quotas of one, the time for which
    /// its gate is closed, its circuits and the cooldowns of members are apart from those of another, under the
    /// same name.
    ///
    /// The names in the store have a hash of `account` with the [salt](SharedStore::salt) of the store.
    #[must_use]
    pub fn account(&self, account: impl Hash) -> Self {
        let mut hasher = shared_hasher(self.shared.salt());
        account.hash(&mut hasher);
        Self { account: Some(hasher.finish()), ..self.clone() }
    }

    /// The same store for layers whose states have this name in the store, whatever that of the layer: for one
    /// of several [accounts](Self::account) that are numbered in an order that may change.
    #[must_use]
    pub fn name(&self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self.clone() }
    }

    /// The same store for the service of this number, the state of which is apart from those of the others of
    /// its name.
    pub(crate) fn service(&self, number: NonZeroU32) -> Self {
        Self { service: Some(number), ..self.clone() }
    }

    /// The name of the shared state of a layer.
    pub(crate) fn name_of(&self, part: SharedPart, layer: &str, key: Option<u64>) -> String {
        let name = shared_name(part, &self.scope, self.name.as_deref().unwrap_or(layer), self.account, key);
        match self.service {
            Some(service) => format!("{name}:service={service}"),
            None => name,
        }
    }
}

/// The parts of a name with `:` between, which differs for different parts.
fn shared_name(part: SharedPart, scope: &str, layer: &str, account: Option<u64>, key: Option<u64>) -> String {
    let part = part.name();
    let account = account.map_or_else(String::new, |account| format!(":account={account:016x}"));
    let key = key.map_or_else(String::new, |key| format!(":{key:016x}"));
    format!("{part}:{}:{}{account}{key}", encoded(scope), encoded(layer))
}

/// The text with percent-encoded colons.
fn encoded(text: &str) -> Cow<'_, str> {
    const RESERVED: [char; 2] = [':', '%'];
    if !text.contains(RESERVED) {
        return text.into();
    }
    let encode = |char: char| {
        if RESERVED.contains(&char) { format!("%{:02X}", u32::from(char)) } else { char.to_string() }
    };
    text.chars().map(encode).collect()
}

impl SharedPart {
    const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Circuit => "circuit",
            Self::Member => "member",
        }
    }
}

/// Two stores are equal if they are the same one with the same scope, account and name.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
            && (&self.scope, self.account, &self.name, self.service)
                == (&other.scope, other.account, &other.name, other.service)
    }
}

/// Numbers the services of a layer that gives each of them its own state. The states of the same number are
/// shared with other processes, which make their services in the same order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceNumbers(Arc<Mutex<HashMap<Box<str>, NonZeroU32>>>);

impl ServiceNumbers {
    /// Makes the store, if there is one, that of the next service of this name.
    pub(crate) fn assign(&self, name: &str, store: &mut Option<Store>) {
        let Some(store) = store else { return };
        let mut numbers = unpoisoned(self.0.lock());
        let next = numbers.get(name).map_or(NonZeroU32::MIN, |number| number.saturating_add(1));
        numbers.insert(name.into(), next);
        *store = store.service(next);
    }
}

/// The largest number of processes that were seen to share a limit of a store. A new limit has as many, until
/// its own number is known.
#[derive(Debug, Default)]
pub(crate) struct SeenProcesses {
    largest: Mutex<Option<(u32, Instant)>>,
    /// The store has replied to the latest request of a limit.
    has_replied: AtomicBool,
}

/// The time after which a smaller number replaces the largest one, unless that was seen again.
const VALIDITY: Duration = Duration::from_secs(60);

impl SeenProcesses {
    /// Records the number of processes that share one limit.
    pub(crate) fn record(&self, processes: u32, now: Instant) {
        self.has_replied.store(true, Ordering::Relaxed);
        let mut largest = unpoisoned(self.largest.lock());
        let is_smaller = |(largest, at)| processes < largest && now.saturating_duration_since(at) < VALIDITY;
        if !largest.is_some_and(is_smaller) {
            *largest = Some((processes, now));
        }
    }

    /// The largest number; 0 if none was seen.
    pub(crate) fn largest(&self) -> u32 {
        unpoisoned(self.largest.lock()).map_or(0, |(largest, _)| largest)
    }

    /// Records that the store has not replied to a limit.
    pub(crate) fn record_unavailable(&self) {
        self.has_replied.store(false, Ordering::Relaxed);
    }

    /// Whether the store has replied to the latest request of a limit.
    pub(crate) fn has_replied(&self) -> bool {
        self.has_replied.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = (SharedPart, String, String, Option<u64>, Option<u64>);

    fn parts() -> impl Strategy<Value = Parts> {
        let part = prop::sample::select(vec![SharedPart::Rate, SharedPart::Circuit, SharedPart::Member]);
        (part, "[a:%3A]{0,3}", "[a:%3A]{0,3}", prop::option::of(0..2_u64), prop::option::of(0..2_u64))
    }

    /// The text that was encoded.
    fn decoded(text: &str) -> String {
        text.replace("%3A", ":").replace("%25", "%")
    }

    proptest! {
        /// Regression: the scope `a` with the layer `b:c` had the state of the scope `a:b` with the layer
        /// `c`.
        #[test]
        fn the_parts_of_a_name_can_be_read_from_it((part, scope, layer, account, key) in parts()) {
            let name = shared_name(part, &scope, &layer, account, key);
            let fields: Vec<_> = name.split(':').collect();
            prop_assert_eq!(fields.len(), 3 + account.iter().len() + key.iter().len(), "{}", name);
            prop_assert_eq!((fields[0], decoded(fields[1]), decoded(fields[2])), (part.name(), scope, layer));
        }
    }

    #[test]
    fn a_usual_name_is_plain() {
        let plain = shared_name(SharedPart::Rate, "default", "openai/gpt-4o#1", None, Some(10));
        assert_eq!(plain, "rate:default:openai/gpt-4o#1:000000000000000a");
        let encoded = shared_name(SharedPart::Circuit, "", "ollama/llama3:8b", Some(11), None);
        assert_eq!(encoded, "circuit::ollama/llama3%3A8b:account=000000000000000b");
    }

    /// Regression: a limit that one process alone used made every new limit take whole quotas.
    #[test]
    fn a_smaller_number_replaces_the_largest_one_after_a_minute() {
        let (seen, start) = (SeenProcesses::default(), Instant::now());
        for (seconds, processes, largest) in
            [(0, 3, 3), (1, 1, 3), (59, 1, 3), (60, 1, 1), (61, 2, 2), (90, 2, 2), (130, 1, 2)]
        {
            seen.record(processes, start + Duration::from_secs(seconds));
            assert_eq!(seen.largest(), largest, "after {seconds} s");
        }
    }
}
