//! The top level of a request, field by field.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_core::Untranslatable;

use super::mend;

/// JSON that passes as it was written: schemas, arguments, numbers.
pub(super) type Raw = Box<RawValue>;

/// A field that has no counterpart, and whether a value of it asks for nothing.
pub(super) type Refused = (&'static str, fn(&Value) -> bool);

/// What a request holds, without its nulls: they stand for what is not there.
pub(super) struct Fields(BTreeMap<String, Raw>);

impl Fields {
    pub(super) fn read(body: &[u8]) -> Result<Self, Untranslatable> {
        let none = |_| Untranslatable::new("body", "is not a JSON object");
        let body = std::str::from_utf8(body).map_err(|_| none(()))?;
        let fields: Result<BTreeMap<String, Raw>, _> = serde_json::from_str(&mend::escapes(body));
        let mut fields = fields.map_err(|_| none(()))?;
        fields.retain(|_, raw| raw.get() != "null");
        Ok(Self(fields))
    }

    /// A field that passes as it was written.
    pub(super) fn raw(&mut self, name: &str) -> Option<Raw> {
        self.0.remove(name)
    }

    /// A field that is read.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Untranslatable> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| malformed(name))
    }

    /// A field that has no counterpart, unless its value asks for nothing.
    pub(super) fn refuse(
        &mut self,
        name: &'static str,
        asks_for_nothing: fn(&Value) -> bool,
    ) -> Result<(), Untranslatable> {
        match self.take::<Value>(name)? {
            Some(value) if !asks_for_nothing(&value) => Err(foreign(name)),
            _ => Ok(()),
        }
    }
}

/// The other dialect has no words for it, and it must not get lost.
pub(super) const fn foreign(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "has no counterpart in the dialect of the target")
}

/// It is not what its own dialect says it is.
pub(super) const fn malformed(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "is not in the form of its dialect")
}

/// Text, or parts of which some may be text.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<P> {
    Text(String),
    Parts(Vec<P>),
}

/// By hand, since an untagged enum cannot hold raw JSON.
impl<'de, P: DeserializeOwned> Deserialize<'de> for Content<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let content = match raw.get().starts_with('"') {
            true => serde_json::from_str(raw.get()).map(Self::Text),
            false => serde_json::from_str(raw.get()).map(Self::Parts),
        };
        content.map_err(D::Error::custom)
    }
}

/// Text as JSON that passes as it is; `None` if it is not JSON.
pub(super) fn raw(text: &str) -> Option<Raw> {
    RawValue::from_string(mend::escapes(text).into_owned()).ok()
}
