//! Fields of a request body with which a call would leave its limits.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use tidegate::ErrorCode;

use super::gateway_error::GatewayError;

/// Checks that the provider does not answer in the background: the call would end at once, and what it goes on to use would
/// be in no limit.
pub(super) fn check_background(body: &[u8]) -> Result<(), Box<GatewayError>> {
    let reason = "not allowed: the response would be outside of all limits, see `allow_background`";
    check_absent(body, "background", ErrorCode::InvalidRequest, reason)
}

/// Checks that no other models are named beside `model`, as OpenRouter's fallbacks: the routes of the caller would not count.
pub(super) fn check_models(body: &[u8]) -> Result<(), Box<GatewayError>> {
    let reason = "not allowed for this caller, which may not use all routes";
    check_absent(body, "models", ErrorCode::PermissionDenied, reason)
}

fn check_absent(
    body: &[u8],
    name: &'static str,
    code: ErrorCode,
    reason: &str,
) -> Result<(), Box<GatewayError>> {
    match has_field(body, name) {
        true => Err(Box::new(GatewayError::new(code, format!("`{name}` is {reason}")))),
        false => Ok(()),
    }
}

/// Whether a JSON object has the field `name`, in any case, with a value that is not `false`, `null` or an empty array. Of several
/// such fields, any may be the one that a provider reads. A body that cannot be read may have it.
fn has_field(body: &[u8], name: &'static str) -> bool {
    serde_json::Deserializer::from_slice(body).deserialize_map(FieldVisitor(name)).unwrap_or(true)
}

struct FieldVisitor(&'static str);

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut has_field = false;
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case(self.0) {
                // Nothing is built from the value, which may be as long as the body.
                let value = map.next_value::<&RawValue>()?.get();
                let items = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let is_empty = items.is_some_and(|items| items.trim().is_empty());
                has_field |= !is_empty && !matches!(value, "null" | "false");
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(has_field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_counts_however_it_is_written_and_only_at_the_top() {
        for (body, has) in [
            (r#"{"background":true}"#, true),
            (r#"{"b\u0061ckground": true}"#, true),
            (r#"{"Background":1}"#, true),
            (r#"{"background":false,"background":true}"#, true),
            (r#"{"background":true,"background":false}"#, true),
            (r#"{"background":"true"}"#, true),
            (r#"{"background":false}"#, false),
            (r#"{"background":null}"#, false),
            (r#"{"background": [] }"#, false),
            ("{\"background\":[\n ]}", false),
            (r#"{"background":[0]}"#, true),
            (r#"{"background":1e999,"background":true}"#, true),
            (r#"{"background":"\ud800"}"#, true),
            (r#"{"background":null,"\ud800":1}"#, true),
            (r#"{"metadata":{"background":true},"input":"background"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(has_field(body.as_bytes(), "background"), has, "{body}");
        }
        let nested = format!(r#"{{"background":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(has_field(nested.as_bytes(), "background"));
    }
}
