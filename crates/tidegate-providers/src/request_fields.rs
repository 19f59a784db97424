//! Detects the fields of a request that determine its answer.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tidegate_core::JsonDepth;

use crate::json::members::members;

/// Found in one pass.
static FIELDS: LazyLock<FieldSearch<3>> = LazyLock::new(|| {
    FieldSearch::new(
        "\"s",
        [("\"stream\"", is_true), ("\"service_tier\"", is_other_tier), ("\"speed\"", is_other_tier)],
    )
});
static DEFERRED: LazyLock<FieldSearch<1>> =
    LazyLock::new(|| FieldSearch::new("\"deferred\"", [("\"deferred\"", is_true)]));

/// The service tier and the speed with limits and a capacity of their own. OpenAI counts `priority` together with
/// the standard tier.
const OTHER_TIERS: [&[u8]; 2] = [br#""flex""#, br#""fast""#];

/// What a request has at its top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestFlags {
    /// `"stream": true`.
    pub(crate) is_stream: bool,
    /// A `service_tier` or a `speed` with limits of its own.
    pub(crate) is_of_other_tier: bool,
}

impl RequestFlags {
    pub(crate) fn of(body: &[u8]) -> Self {
        let [is_stream, has_tier, has_speed] = FIELDS.read(body);
        Self { is_stream, is_of_other_tier: has_tier || has_speed }
    }
}

/// Whether a request has `"deferred": true` at its top level. xAI answers it with an id.
pub(crate) fn requests_deferral(body: &[u8]) -> bool {
    DEFERRED.read(body) == [true]
}

/// Whether a value begins with `true`.
fn is_true(value: &[u8]) -> bool {
    value.starts_with(b"true")
}

/// Whether a value begins with the name of another tier than the standard one.
fn is_other_tier(value: &[u8]) -> bool {
    OTHER_TIERS.iter().any(|name| value.starts_with(name))
}

/// Whether a request has messages or a prompt at its top level.
pub(crate) fn has_prompt(body: &[u8]) -> bool {
    let mut is_found = false;
    let is_read = members(body, |key, _| is_found |= matches!(key, b"messages" | b"prompt"));
    is_found && is_read.is_some()
}

/// A key, quotes included, and the test of its value.
type FieldTest = (&'static str, fn(&[u8]) -> bool);

/// A search for fields whose keys have a common beginning.
struct FieldSearch<const N: usize> {
    beginning: Finder<'static>,
    fields: [FieldTest; N],
}

impl<const N: usize> FieldSearch<N> {
    fn new(beginning: &'static str, fields: [FieldTest; N]) -> Self {
        Self { beginning: Finder::new(beginning), fields }
    }

    /// Searches the JSON of a request without parsing it. A body with letters of the Latin alphabet in
    /// escapes, which no client writes, is read as a whole: a key may be among them.
    fn read(&self, body: &[u8]) -> [bool; N] {
        let mut found = [false; N];
        if has_fields(body) {
            self.find(body, &mut found);
            if found.contains(&false) && has_escaped_letters(body) {
                self.find_escaped(body, &mut found);
            }
        }
        found
    }

    /// A match inside of a prompt has escaped quotes and is skipped, as is one in a nested object.
    fn find(&self, body: &[u8], found: &mut [bool; N]) {
        // Carried from match to match, so that each byte is read once, however many matches there are.
        let (mut depth, mut read) = (JsonDepth::new(), 0);
        for at in self.beginning.find_iter(body) {
            if at.checked_sub(1).is_some_and(|before| body[before] == b'\\') {
                continue;
            }
            let is_set = |&(key, is_value): &FieldTest| {
                let value = body[at..].strip_prefix(key.as_bytes())?.trim_ascii_start().strip_prefix(b":")?;
                Some(is_value(value.trim_ascii_start()))
            };
            let Some(index) = self.fields.iter().position(|field| is_set(field) == Some(true)) else {
                continue;
            };
            depth.push(&body[read..at]);
            read = at;
            found[index] |= depth.depth() == 1;
            if *found == [true; N] {
                return;
            }
        }
    }

    fn find_escaped(&self, body: &[u8], found: &mut [bool; N]) {
        let mut escaped = [false; N];
        let is_read = members(body, |key, value| {
            if !key.contains(&b'\\') {
                return;
            }
            let unescaped = serde_json::from_slice::<String>(&[b"\"", key, b"\""].concat());
            let unescaped = unescaped.map(|key| format!("\"{key}\"")).unwrap_or_default();
            for (is_found, (key, is_value)) in escaped.iter_mut().zip(&self.fields) {
                *is_found |= *key == unescaped && is_value(&body[value.clone()]);
            }
        });
        if is_read.is_some() {
            found.iter_mut().zip(escaped).for_each(|(found, escaped)| *found |= escaped);
        }
    }
}

/// Whether a letter of the Latin alphabet is written as an escape.
fn has_escaped_letters(body: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br"\u00"));
    let has_escapes = memchr::memchr(b'\\', body).is_some();
    has_escapes && ESCAPE.find_iter(body).any(|at| matches!(body.get(at + 4), Some(b'4'..=b'7')))
}

/// Whether the body is a JSON object with a field, so that the absence of `stream` means something. Every
/// endpoint that has it answers with a document without it.
pub(crate) fn has_fields(body: &[u8]) -> bool {
    let fields = body.trim_ascii_start().strip_prefix(b"{");
    fields.is_some_and(|fields| fields.trim_ascii_start().starts_with(b"\""))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn only_the_key_itself_counts() {
        for body in [
            r#"{"stream":true}"#,
            "{\"model\":\"m\", \"stream\" :\n true}",
            r#"{"messages":[{"content":"{"}],"stream":true}"#,
            // Regression: the answer was held back as a whole.
            r#"{"strea\u006d":true}"#,
            r#"{"a":"\u00e9","\u0073tream" : true}"#,
            r#"{"\u0073\u0074\u0072\u0065\u0061\u006D":true,"b":1}"#,
        ] {
            assert!(RequestFlags::of(body.as_bytes()).is_stream, "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"stream":false}"#,
            r#"{"stream_options":{}}"#,
            r#"{"p":"say \"stream\":true"}"#,
            r#"{"stream":false,"x":{"stream":true}}"#,
            r#"{"tools":[{"stream":true}]}"#,
            r#"{"tools":[{"strea\u006d":true}],"content":"strea\u006d"}"#,
            r#"{"strea\u006d":false}"#,
            r#"{"strea\u006d":"true"}"#,
            r#"{"strea\u006ds":true}"#,
            r#"{"strea\u006d":true"#,
        ] {
            assert!(!RequestFlags::of(body.as_bytes()).is_stream, "{body}");
        }
    }

    #[test]
    fn only_a_text_at_the_top_level_names_another_tier() {
        for (body, expected) in [
            (r#"{"service_tier":"flex"}"#, true),
            (r#"{"model":"m","stream":true,"service_tier" : "flex"}"#, true),
            (r#"{"speed":"fast","stream":true}"#, true),
            (r#"{"service_tier":"auto","speed":"fast"}"#, true),
            (r#"{"service_\u0074ier":"flex"}"#, true),
            (r#"{"service_tier":"flexible"}"#, false),
            (r#"{"service_tier":"priority"}"#, false),
            (r#"{"service_tier":"auto"}"#, false),
            (r#"{"service_tier":"default"}"#, false),
            (r#"{"service_tier":"standard_only","speed":"standard"}"#, false),
            (r#"{"service_tier":"on_demand"}"#, false),
            (r#"{"service_tier":null,"speed":1.5}"#, false),
            (r#"{"messages":[{"service_tier":"flex"}],"p":"\"speed\":\"fast\""}"#, false),
            (r#"{"stream":true}"#, false),
            ("", false),
        ] {
            assert_eq!(RequestFlags::of(body.as_bytes()).is_of_other_tier, expected, "{body}");
        }
    }

    #[test]
    fn a_deferred_answer_has_a_flag_of_its_own() {
        assert!(requests_deferral(br#"{"model":"m","deferred":true}"#));
        assert!(!requests_deferral(br#"{"model":"m","stream":true,"deferred":false}"#));
    }

    /// Regression: the nesting was counted from the start of the body for each match, so that a body of 1 MiB
    /// took half a minute.
    #[test]
    fn many_nested_flags_are_passed_over_in_linear_time() {
        let body = format!(r#"{{"x":[{}],"stream":true}}"#, vec![r#"{"stream":true}"#; 16_000].join(","));
        let start = Instant::now();
        assert!(RequestFlags::of(body.as_bytes()).is_stream);
        assert!(!RequestFlags::of(&body.as_bytes()[..body.len() - 20]).is_stream);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn an_object_with_a_field_may_lack_the_flag() {
        for (body, expected) in [
            (r#" { "messages":[]}"#, true),
            (r#"{"model":"m"}"#, true),
            ("{}", false),
            ("", false),
            ("[\"a\"]", false),
            ("xxxx", false),
        ] {
            assert_eq!(has_fields(body.as_bytes()), expected, "{body}");
        }
    }
}
