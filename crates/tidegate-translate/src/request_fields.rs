//! The top-level fields of a JSON request. Fields that are not changed keep their bytes.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer as _, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tidegate_core::Untranslatable;

use crate::untranslatable::{malformed, unsupported};

/// JSON that passes unchanged: schemas, arguments, numbers.
pub(crate) type RawJson = Box<RawValue>;

/// Fields by name, in the order of the names.
#[derive(Serialize)]
pub(crate) struct RequestFields(BTreeMap<String, RawJson>);

impl RequestFields {
    /// `None` if the request is not an object.
    pub(crate) fn read(request: &[u8]) -> Option<Self> {
        serde_json::from_slice(request).ok().map(Self)
    }

    /// The JSON of a field as it is written. `None` if there is no such field.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// A field of this type, of which nothing else is kept. `None` if there is no such field, or one of
    /// another type.
    pub(crate) fn read_as<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// Whether the field `thinking` is set, and does not disable it.
    pub(crate) fn has_thinking(&self) -> bool {
        self.raw("thinking").is_some_and(|thinking| type_of(thinking).as_deref() != Some("disabled"))
    }

    /// Whether the request sets a response format other than text.
    pub(crate) fn has_format(&self) -> bool {
        #[derive(Deserialize)]
        struct OutputConfig {
            format: Option<RawJson>,
        }
        let is_format = |format: &str| format != "null" && type_of(format).as_deref() != Some("text");
        let output_config: Option<OutputConfig> = self.read_as("output_config");
        self.raw("response_format").is_some_and(is_format)
            || output_config.and_then(|config| config.format).is_some_and(|format| is_format(format.get()))
            || self.raw("output_format").is_some_and(|format| format != "null")
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

    /// The request, or a message of it, as JSON.
    pub(crate) fn write(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }
}

/// The field `type` of an object. Nothing is built of the other fields: they may be as long as a request.
pub(crate) fn type_of(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: Option<String>,
    }
    serde_json::from_str::<Typed>(json).ok()?.r#type
}

/// Calls `each` with the elements of a list one by one. `None` if `json` is not a list, or once `each`
/// returns `None`.
pub(crate) fn for_each_element<'a>(
    json: &'a str,
    each: impl FnMut(&'a RawValue) -> Option<()>,
) -> Option<()> {
    struct Elements<F>(F);

    impl<'de, F: FnMut(&'de RawValue) -> Option<()>> Visitor<'de> for Elements<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element).ok_or_else(|| S::Error::custom("unusable element"))?;
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(json).deserialize_seq(Elements(each)).ok()
}
