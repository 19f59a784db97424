//! The top-level fields of a request to translate.

use serde_json::Value;
use tidegate_core::Untranslatable;

use super::repair;
use crate::request_fields::RequestFields;

/// A field without a counterpart, and the check whether a value of it has no effect.
pub(super) type RejectedField = (&'static str, fn(&Value) -> bool);

/// Reads the fields of a request.
pub(super) fn read_fields(body: &[u8]) -> Result<RequestFields, Untranslatable> {
    let fields = std::str::from_utf8(body)
        .ok()
        .and_then(|body| RequestFields::read(repair::replace_lone_surrogates(body).as_bytes()));
    fields.ok_or(Untranslatable::new("body", "is not a JSON object"))
}
