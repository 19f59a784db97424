use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use super::Store;
use crate::sync::unpoisoned;

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
