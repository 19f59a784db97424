//! The top-level fields of a JSON request. Fields that are not changed keep their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tidegate_core::Untranslatable;

use crate::untranslatable::{malformed, unsupported};

/// JSON that passes unchanged: schemas, arguments, numbers.
pub(crate) type RawJson = Box<RawValue>;

/// Fields by name, in the order of the names.
pub(crate) struct RequestFields(BTreeMap<String, RawJson>);

impl RequestFields {
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

    /// The JSON of a field as it is written. `None` if there is no such field.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// A field of this type, of which nothing else is kept. `None` if there is no such field, or one of another type.
    pub(crate) fn read_as<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// The names and the raw JSON of their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// The elements of `messages`, as raw JSON.
    pub(crate) fn messages(&self) -> Option<Vec<RawJson>> {
        serde_json::from_str(self.0.get("messages")?.get()).ok()
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Serialize) -> Option<()> {
        self.0.insert(name.to_owned(), to_raw_value(&value).ok()?);
        Some(())
    }

    /// Removes a field that passes unchanged. A null counts as absent.
    pub(crate) fn take_raw(&mut self, name: &str) -> Option<RawJson> {
        self.0.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Removes and parses a field. A null counts as absent.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Untranslatable> {
        let Some(raw) = self.take_raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| malformed(name))
    }

    /// Rejects a field without a counterpart, unless its value has no effect.
    pub(crate) fn reject(
        &mut self,
        name: &'static str,
        is_noop: fn(&Value) -> bool,
    ) -> Result<(), Untranslatable> {
        match self.take::<Value>(name)? {
            Some(value) if !is_noop(&value) => Err(unsupported(name)),
            _ => Ok(()),
        }
    }

    pub(crate) fn write(&self) -> Option<Bytes> {
        serde_json::to_vec(&self.0).ok().map(Bytes::from)
    }
}
