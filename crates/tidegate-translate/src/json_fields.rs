//! The top-level fields of a JSON request. Fields that are not changed keep their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// Fields by name, in the order of the names.
pub(crate) struct JsonFields(BTreeMap<String, Box<RawValue>>);

impl JsonFields {
    /// `None` if the request is not an object.
    pub(crate) fn read(request: &[u8]) -> Option<Self> {
        serde_json::from_slice(request).ok().map(Self)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// `None` if there is no such field.
    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// The names and the raw JSON of their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Serialize) -> Option<()> {
        self.0.insert(name.to_owned(), to_raw_value(&value).ok()?);
        Some(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The elements of `messages`, as raw JSON.
    pub(crate) fn messages(&self) -> Option<Vec<Box<RawValue>>> {
        serde_json::from_str(self.0.get("messages")?.get()).ok()
    }

    pub(crate) fn write(&self) -> Option<Bytes> {
        serde_json::to_vec(&self.0).ok().map(Bytes::from)
    }
}
