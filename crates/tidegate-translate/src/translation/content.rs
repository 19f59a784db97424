//! The contents of messages.

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::repair;
use crate::request_fields::RawJson;

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
        let content = if raw.get().starts_with('"') {
            serde_json::from_str(raw.get()).map(Self::Text)
        } else {
            serde_json::from_str(raw.get()).map(Self::Parts)
        };
        content.map_err(D::Error::custom)
    }
}

/// Parses text as JSON that passes unchanged; `None` if it is not JSON.
pub(super) fn raw(text: &str) -> Option<RawJson> {
    RawValue::from_string(repair::replace_lone_surrogates(text).into_owned()).ok()
}
