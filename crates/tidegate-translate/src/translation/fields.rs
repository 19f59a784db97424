//! The top-level fields of a request.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_core::Untranslatable;

use super::repair;

/// JSON that passes unchanged: schemas, arguments, numbers.
pub(super) type RawJson = Box<RawValue>;

/// A field without a counterpart, and the check whether a value of it has no effect.
pub(super) type RejectedField = (&'static str, fn(&Value) -> bool);

/// The top-level fields of a request, without nulls, which count as absent.
pub(super) struct RequestFields(BTreeMap<String, RawJson>);

impl RequestFields {
    pub(super) fn read(body: &[u8]) -> Result<Self, Untranslatable> {
        let not_an_object = |_| Untranslatable::new("body", "is not a JSON object");
        let body = std::str::from_utf8(body).map_err(|_| not_an_object(()))?;
        let fields: Result<BTreeMap<String, RawJson>, _> =
            serde_json::from_str(&repair::replace_lone_surrogates(body));
        let mut fields = fields.map_err(|_| not_an_object(()))?;
        fields.retain(|_, raw| raw.get() != "null");
        Ok(Self(fields))
    }

    /// Removes a field that passes unchanged.
    pub(super) fn raw(&mut self, name: &str) -> Option<RawJson> {
        self.0.remove(name)
    }

    /// Removes and parses a field.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Untranslatable> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| malformed(name))
    }

    /// Rejects a field without a counterpart, unless its value has no effect.
    pub(super) fn reject(
        &mut self,
        name: &'static str,
        is_noop: fn(&Value) -> bool,
    ) -> Result<(), Untranslatable> {
        match self.take::<Value>(name)? {
            Some(value) if !is_noop(&value) => Err(unsupported(name)),
            _ => Ok(()),
        }
    }
}

/// The error for a field that the other dialect cannot express and that must not be dropped.
pub(super) const fn unsupported(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "has no counterpart in the dialect of the target")
}

/// The error for a field that violates the schema of its own dialect.
pub(super) const fn malformed(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "is not in the form of its dialect")
}

/// A content that is either a string or a list of parts.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<P> {
    Text(String),
    Parts(Vec<P>),
}

/// Implemented by hand, because an untagged enum cannot contain raw JSON.
impl<'de, P: DeserializeOwned> Deserialize<'de> for Content<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let content = match raw.get().starts_with('"') {
            true => serde_json::from_str(raw.get()).map(Self::Text),
            false => serde_json::from_str(raw.get()).map(Self::Parts),
        };
        content.map_err(D::Error::custom)
    }
}

/// Parses text as JSON that passes unchanged; `None` if it is not JSON.
pub(super) fn raw(text: &str) -> Option<RawJson> {
    RawValue::from_string(repair::replace_lone_surrogates(text).into_owned()).ok()
}
