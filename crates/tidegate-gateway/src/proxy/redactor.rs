//! Removal of our own keys from what a provider returns. Providers repeat the key of a request in their
//! errors.
//!
//! A provider may repeat the words of a caller as well. If a beginning of a key were removed from them, the
//! response to each guess would show whether it is right, and some thousand guesses would find the key. So a
//! response depends on a key only if the whole key is in it. What looks like a masked key (`sk-ab***yz`) or
//! like a part of one is removed by its form, whatever the keys are, and only from responses in which
//! providers print it: those with status 401 or 403, or with another one and the code E1002 or E1003, as xAI
//! sends 400. This holds for the words of a caller in such a response, too, and for keys of earlier
//! configurations. The errors of the gateway itself are not searched.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, Entry};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use memchr::memmem::Finder;
use memchr::memrchr2;
use tidegate::{ErrorCode, Payload};

use super::redacted_body::RedactedBody;
use super::{CODE, GatewayError};
use crate::endpoint::ApiDialect;

/// Finds the keys of all providers in responses.
#[derive(Default)]
pub(crate) struct Redactor {
    keys: Vec<Finder<'static>>,
    /// The keys that are looked for in answers as well.
    long_keys: Vec<Finder<'static>>,
}

/// The shortest key that is looked for. A shorter one is part of ordinary words.
const SHORTEST_KEY: usize = 4;

/// The shortest key that is looked for in answers.
const LONG_KEY: usize = 16;

/// The fewest characters in place of the middle of a key.
const MASK: usize = 3;

/// The fewest letters and digits in a row that may be a part of a key.
const PART: usize = 12;

/// The fields of an error that keep their values: those by which it is reported, and which programs compare.
const IDENTIFIERS: [&[u8]; 4] = [b"\"request_id\"", b"\"param\"", b"\"type\"", b"\"code\""];

/// The characters that encoders of JSON write as `\u00XX`, beside those that have to be escaped: none, those
/// of Go, of Gson, and of .NET.
const ESCAPED: [&str; 4] = ["", "&<>", "&<>'=", "&<>'+`\""];

/// In place of a key.
const REDACTED: &[u8] = b"[redacted]";

/// In place of each byte of a key in an answer, the length of which may have been announced.
const MASKED: u8 = b'*';

/// The largest error body that is searched. Those of providers are smaller.
const MAX_ERROR: usize = 1024 * 1024;

impl Redactor {
    pub(crate) fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let keys: Vec<_> = keys.into_iter().filter(|key| key.len() >= SHORTEST_KEY).collect();
        let long_keys = keys.iter().copied().filter(|key| key.len() >= LONG_KEY);
        Self { long_keys: finders(long_keys), keys: finders(keys) }
    }

    /// Removes the keys from the head of a provider's response, and from the body of an error. In any other
    /// body they are masked.
    pub(super) async fn redact_response(
        self: &Arc<Self>,
        response: Response<Body>,
        dialect: ApiDialect,
    ) -> Response<Body> {
        if self.keys.is_empty() {
            return response;
        }
        let (mut head, body) = response.into_parts();
        let is_denied = is_denied(&head);
        self.redact_headers(&mut head.headers, is_denied);
        if !head.status.is_client_error() && !head.status.is_server_error() {
            let is_empty = self.long_keys.is_empty();
            let body = if is_empty { body } else { Body::new(RedactedBody::new(body, Arc::clone(self))) };
            return Response::from_parts(head, body);
        }
        let payload = Payload::collect(body, MAX_ERROR).await;
        let body = match payload.as_ref().map(Payload::bytes) {
            Ok(Some(bytes)) => {
                let is_part = |word: &str| is_denied && (is_masked(word) || has_part(word));
                Body::from(replace(bytes.clone(), [self.find(bytes), words(bytes, is_part)].concat()))
            }
            // Neither is forwarded: what is left of the key may be in the rest.
            _ => {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let error = GatewayError::new(
                    ErrorCode::ServerError,
                    "error of the provider broke off or is too long",
                );
                error.into_response(dialect).into_body()
            }
        };
        Response::from_parts(head, body)
    }

    /// The bytes with keys masked.
    pub(super) fn mask(&self, bytes: Bytes) -> Bytes {
        let found = places(&self.long_keys, &bytes);
        if found.is_empty() {
            return bytes;
        }
        let mut masked = Vec::from(bytes);
        found.into_iter().for_each(|place| masked[place].fill(MASKED));
        masked.into()
    }

    /// The length of the end of `bytes` in which a key may begin. No key has an end of a line in it, so that
    /// events are not held back. The length does not depend on what the keys are, which a caller could read
    /// from the sizes of frames.
    pub(super) fn held_back(&self, bytes: &[u8]) -> usize {
        let longest = self.long_keys.iter().map(|key| key.needle().len()).max().unwrap_or(1);
        let line = memrchr2(b'\n', b'\r', bytes).map_or(0, |end| end + 1);
        (bytes.len() - line).min(longest - 1)
    }

    /// The text without the keys.
    pub(super) fn redact(&self, text: Bytes) -> Bytes {
        let found = self.find(&text);
        replace(text, found)
    }

    /// Removes the headers with a key, and with `is_denied` those with a masked one.
    fn redact_headers(&self, headers: &mut HeaderMap, is_denied: bool) {
        let has_key = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = value.as_bytes();
            let is_masked = is_denied && !words(value, is_masked).is_empty();
            (is_masked || !self.find(value).is_empty()).then(|| name.clone())
        };
        for name in headers.iter().filter_map(has_key).collect::<Vec<_>>() {
            if let Entry::Occupied(entry) = headers.entry(name) {
                entry.remove_entry_mult();
            }
        }
    }

    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        places(&self.keys, text)
    }
}

fn finders<'k>(keys: impl IntoIterator<Item = &'k str>) -> Vec<Finder<'static>> {
    let spellings: BTreeSet<_> = keys.into_iter().flat_map(spellings).collect();
    spellings.iter().map(|key| Finder::new(key).into_owned()).collect()
}

/// A key as it is, and as encoders of JSON write it.
fn spellings(key: &str) -> impl Iterator<Item = String> {
    let escaped = ESCAPED.into_iter().flat_map(move |escaped| {
        ["/", "\\/", "\\u002f"].into_iter().flat_map(move |slash| {
            let spell = move |c: char| match c {
                '/' => slash.to_owned(),
                _ if escaped.contains(c) => format!("\\u{:04x}", u32::from(c)),
                '"' | '\\' => format!("\\{c}"),
                _ => c.to_string(),
            };
            let upper = move |c: char| match &*spell(c) {
                spelt if spelt.len() == 6 => format!("\\u{}", spelt[2..].to_ascii_uppercase()),
                spelt => spelt.to_owned(),
            };
            [key.chars().map(spell).collect(), key.chars().map(upper).collect()]
        })
    });
    std::iter::once(key.to_owned()).chain(escaped)
}

/// The places of `keys`. They may overlap.
fn places(keys: &[Finder<'_>], text: &[u8]) -> Vec<Range<usize>> {
    let of_key = |key| Finder::find_iter(key, text).map(|start| start..start + key.needle().len());
    keys.iter().flat_map(of_key).collect()
}

/// Whether a response is one in which providers print masked keys, by its status or its standard code.
fn is_denied(head: &Parts) -> bool {
    let is_code = |code: ErrorCode| head.headers.get(CODE).is_some_and(|value| value == code.code());
    matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || is_code(ErrorCode::Authentication)
        || is_code(ErrorCode::PermissionDenied)
}

/// The text with [`REDACTED`] in these places.
fn replace(text: Bytes, mut found: Vec<Range<usize>>) -> Bytes {
    if found.is_empty() {
        return text;
    }
    found.sort_unstable_by_key(|place| place.start);
    let (mut redacted, mut end) = (Vec::with_capacity(text.len()), 0);
    for place in found {
        if place.start >= end {
            redacted.extend_from_slice(&text[end..place.start]);
            redacted.extend_from_slice(REDACTED);
        }
        end = end.max(place.end);
    }
    redacted.extend_from_slice(&text[end..]);
    redacted.into()
}

/// The places of the words that match. Characters that may be in a key or in its mask make up a word, escaped
/// ones of JSON as well. A value that is an [identifier](is_identifier) is none.
fn words(text: &[u8], is_match: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || mask_width(c) > 0;
    let start = |chunk: &str| chunk.as_ptr().addr() - text.as_ptr().addr();
    let chars = text.utf8_chunks().flat_map(|chunk| {
        let chars = Chars(chunk.valid()).map(move |(c, rest)| (c, start(rest)));
        // Between two chunks there are bytes that are no text.
        std::iter::once((None, start(chunk.valid()))).chain(chars)
    });
    let (mut found, mut word, mut place) = (Vec::new(), String::new(), 0..0);
    for (c, end) in chars.chain([(None, text.len())]) {
        if let Some(c) = c.filter(|c| is_of_word(*c)) {
            word.push(c);
            place.end = end;
            continue;
        }
        if is_match(&word) && !is_identifier(&text[..place.start]) {
            found.push(place);
        }
        word.clear();
        place = end..end;
    }
    found
}

/// The characters of a JSON text, each with the text behind it. Escapes are one character; one that is not
/// part of a key is `None`.
struct Chars<'t>(&'t str);

impl<'t> Iterator for Chars<'t> {
    type Item = (Option<char>, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        let mut chars = self.0.chars();
        let mut c = Some(chars.next()?);
        if c == Some('\\') {
            let code = chars.as_str().strip_prefix('u').and_then(|rest| rest.get(..4));
            let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            let length = if code.is_some() { 5 } else { 1 };
            chars.by_ref().take(length).for_each(drop);
            c = code.and_then(char::from_u32);
        }
        self.0 = chars.as_str();
        Some((c, self.0))
    }
}

/// Whether the value of a field that has no key begins behind `text`.
fn is_identifier(text: &[u8]) -> bool {
    let name = text.strip_suffix(b"\"").and_then(|text| text.trim_ascii_end().strip_suffix(b":"));
    name.is_some_and(|text| IDENTIFIERS.iter().any(|name| text.trim_ascii_end().ends_with(name)))
}

/// The characters of a key that `c` stands for in a mask.
const fn mask_width(c: char) -> usize {
    match c {
        '*' | '.' | '#' | 'x' | 'X' | '\u{2022}' => 1,
        '\u{2026}' => MASK,
        _ => 0,
    }
}

/// Whether a word has a mask and two letters or digits beside it. At the end of a word of prose dots are an
/// ellipsis.
fn is_masked(word: &str) -> bool {
    // A mask is a run of one character: `.x.` is a part of a host name.
    let is_mask = |word: &str| {
        let (mut width, mut before) = (0, None);
        word.chars().any(|c| {
            width = if before.replace(c) == Some(c) { width + mask_width(c) } else { mask_width(c) };
            width >= MASK
        })
    };
    let is_prose = !word.contains(|c| char::is_ascii_digit(&c) || matches!(c, '-' | '_'));
    let masked = if is_prose { word.trim_end_matches(['.', '\u{2026}']) } else { word };
    is_mask(masked) && word.chars().filter(|c| c.is_ascii_alphanumeric() && mask_width(*c) == 0).count() >= 2
}

/// Whether a word has letters and digits in a row as no other word has.
fn has_part(word: &str) -> bool {
    word.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        let has = |is: fn(&u8) -> bool| part.as_bytes().iter().any(is);
        part.len() >= PART && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    })
}

/// The keys are not shown.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-proj-4fT9qLmZ07vWn2RkYhbE";

    fn redactor(keys: &[&str]) -> Arc<Redactor> {
        Arc::new(Redactor::new(keys.iter().copied()))
    }

    /// What a caller receives of a response with these frames and this header: the header, and the frames.
    fn returned(
        redactor: &Arc<Redactor>,
        status: u16,
        header: &str,
        frames: &[&str],
    ) -> (Option<HeaderValue>, Vec<Bytes>) {
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| Ok::<_, std::io::Error>(Bytes::copy_from_slice(frame.as_bytes())))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(frames));
        let response =
            Response::builder().status(status).header("x-echo", HeaderValue::from_str(header).unwrap());
        let response = response.body(body).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (head, mut body) = redactor.redact_response(response, ApiDialect::OpenAi).await.into_parts();
            let mut frames = Vec::new();
            while let Some(frame) = body.frame().await {
                frames.push(frame.unwrap().into_data().unwrap());
            }
            (head.headers.get("x-echo").cloned(), frames)
        })
    }

    fn redacted(status: u16, text: &str) -> String {
        let (_, frames) = returned(&redactor(&[KEY]), status, "", &[text]);
        String::from_utf8(frames.concat()).unwrap()
    }

    #[test]
    fn a_key_is_removed_from_every_error_and_its_parts_and_masked_forms_where_it_is_denied() {
        let around = |found: &str| {
            format!("{{\"message\":\"Incorrect API key provided: {found}, see https://p.example/keys.\"}}")
        };
        for found in [
            KEY,
            &KEY[..20],
            &KEY[4..20],
            &KEY[12..],
            "sk-proj*******************YhbE",
            "sk-...hbE",
            "sk-4fT9...",
            "***YhbE",
            "sk-pr\u{2022}\u{2022}\u{2022}bE",
            "sk-\u{2026}hbE",
            "sk-xxxxhbE",
        ] {
            for status in [401, 403] {
                assert_eq!(redacted(status, &around(found)), around("[redacted]"), "{found}");
            }
            for status in [400, 404, 429, 500] {
                let expected = if found == KEY { "[redacted]" } else { found };
                assert_eq!(redacted(status, &around(found)), around(expected), "{found}");
            }
        }
        for other in [
            "sk-",
            "sk-prod",
            "a *** b",
            "wait ... or x",
            "gpt-4o-mini-2024-07-18",
            "invalid_api_key",
            "20240718123456",
        ] {
            assert_eq!(redacted(401, &around(other)), around(other));
        }
        // The letter of an escape is no part of a word.
        assert_eq!(
            redacted(401, "\"key\\n***YhbE \u{201c}sk-***E\u{201d}\""),
            "\"key\\n[redacted] \u{201c}[redacted]\u{201d}\""
        );
    }

    /// Regression: the mask was missed, or its escape broken.
    #[test]
    fn escaped_masks_are_masks() {
        for masked in [
            "sk-\\u2022\\u2022\\u2022bE",
            "sk-\\u2026hbE",
            "\\u002a\\u002A**YhbE",
            "\\u0073k-***E",
            "sk-4***\\u0041",
        ] {
            assert_eq!(redacted(401, &format!("\"\\t{masked}\\\\u2026\"")), "\"\\t[redacted]\\\\u2026\"");
        }
    }

    #[test]
    fn prose_and_identifiers_of_an_error_are_left() {
        for text in [
            r#"{"error":{"message":"Please wait... or retry\u2026","type":"sk-***ab"}}"#,
            r#"{"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy","param" : "input...0","code": "E12345678901234"}"#,
        ] {
            assert_eq!(redacted(401, text), text);
        }
        let key = format!(r#"{{"code":"{KEY}","message":"\"code\":\"sk-***bE\""}}"#);
        assert_eq!(redacted(401, &key), r#"{"code":"[redacted]","message":"\"code\":\"[redacted]\""}"#);
    }

    /// Regression: the masked key in xAI's 400 was returned.
    #[test]
    fn masked_keys_are_removed_where_the_code_is_about_the_key() {
        let sentence = |key| format!("provided: {key}. You can obtain an API key from https://console.x.ai.");
        for (status, code, is_removed) in [
            (400, "E1002", true),
            (400, "E1003", true),
            (400, "E1001", false),
            (429, "E2001", false),
            (401, "E1001", true),
        ] {
            let response = Response::builder().status(status).header(CODE, code);
            let response = response.body(Body::from(sentence("sk***YA"))).unwrap();
            let returned = redactor(&[KEY]).redact_response(response, ApiDialect::OpenAi).now_or_never();
            let body = returned.unwrap().into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
            let masked = sentence("sk***YA");
            let expected = if is_removed { masked.replace("sk***YA.", "[redacted]") } else { masked };
            assert_eq!(body, expected, "{status} {code}");
        }
    }

    #[test]
    fn headers_with_a_key_are_removed() {
        let redactor = redactor(&[KEY]);
        let is_left = |status, value: &str| returned(&redactor, status, value, &[]).0.is_some();
        for status in [200, 400, 401, 500] {
            assert!(
                !is_left(status, &format!("key={KEY}")) && is_left(status, "req_011CSHoEeqs5C35K2UUqR7Fy")
            );
        }
        assert!(!is_left(401, "bad sk-***bE") && is_left(400, "bad sk-***bE"));
    }

    #[test]
    fn short_keys_are_found_whole_and_the_shortest_are_not_looked_for() {
        let redactor = redactor(&["abcde", "xy"]);
        assert_eq!(redactor.redact(Bytes::from("an abcd, an abcdef, xy")), "an abcd, an [redacted]f, xy");
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        assert!(!format!("{:?}", redactor(&[KEY])).contains("sk-"));
    }

    proptest! {
        /// Regression: beginnings, parts and masked forms of a key were removed from the words of a caller.
        #[test]
        fn a_response_to_a_guess_is_the_same_whatever_the_keys_are(
            (key, other) in ("[a-zA-Z0-9-]{20,40}", "[a-zA-Z0-9-]{20,40}"),
            (from, right, wrong) in (0usize..20, 4usize..40, "[a-zA-Z0-9*.]{0,12}"),
            status in prop::sample::select(vec![200u16, 400, 401, 403, 404, 429, 500]),
            cuts in (0.0..1.0f64, 0.0..1.0f64),
        ) {
            let end = (from + right).min(key.len() - usize::from(from == 0));
            let (part, tail) = (&key[from..end], &key[key.len() - 4..]);
            let guess = format!("{part}{wrong} {part}***{tail} {wrong}{part}");
            let text = format!("{{\"error\":\"no model {guess}\"}}");
            let cut = |share: f64| (text.len() as f64 * share) as usize;
            let (first, second) = (cut(cuts.0.min(cuts.1)), cut(cuts.0.max(cuts.1)));
            let frames = [&text[..first], &text[first..second], &text[second..]];
            // The keys are of one length: the longest is no secret.
            let length = key.len().min(other.len());
            prop_assume!(!text.contains(&key[..length]) && !text.contains(&other[..length]));
            let [of_key, of_other] = [&key, &other]
                .map(|key| returned(&redactor(&[&key[..length]]), status, &guess, &frames));
            prop_assert_eq!(of_key, of_other);
        }

        #[test]
        fn no_key_is_left_and_nothing_else_is_removed(
            key in "[a-zA-Z0-9-]{4,40}", before in ".*", after in ".*",
            status in prop::sample::select(vec![400u16, 401, 500]),
        ) {
            let text = format!("{before}|{key}|{after}");
            let (_, frames) = returned(&redactor(&[&key]), status, "", &[&text]);
            let text = String::from_utf8(frames.concat()).unwrap();
            prop_assert!(!text.contains(&key) || "[redacted]".contains(&key), "{}", text);
            prop_assert!(text.contains("[redacted]"), "{}", text);
        }

        /// Regression: a key in an escaped spelling was returned.
        #[test]
        fn no_key_is_left_in_the_spelling_of_any_encoder(
            key in "[a-zA-Z0-9/+=&<>'\"\\\\-]{16,40}", status in prop::sample::select(vec![200u16, 400]),
        ) {
            let hex = |text: &str, escaped: &str, is_upper: bool| -> String {
                let spell = |c: char| match (escaped.contains(c), is_upper) {
                    (true, true) => format!("\\u{:04X}", u32::from(c)),
                    (true, false) => format!("\\u{:04x}", u32::from(c)),
                    _ => c.to_string(),
                };
                text.chars().map(spell).collect()
            };
            let json = serde_json::to_string(&key).unwrap();
            let inner = &json[1..json.len() - 1];
            for spelt in [
                inner.to_owned(),
                inner.replace('/', "\\/"),
                hex(inner, "&<>", false),
                hex(inner, "&<>'=", false),
                hex(&key, "&<>'+\"", true).replace('\\', "\\\\").replace("\\\\u00", "\\u00"),
            ] {
                prop_assume!(!key.contains("\\u"));
                let text = format!("{{\"message\":\"{spelt}\"}}");
                let (_, frames) = returned(&redactor(&[&key]), status, "", &[&text]);
                let text = String::from_utf8(frames.concat()).unwrap();
                prop_assert!(!text.contains(&spelt), "{}", text);
                let value = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert!(value.is_ok_and(|it| it["message"] != *key), "{}", text);
            }
        }

        /// Regression: an escape was broken.
        #[test]
        fn no_bytes_panic_and_no_text_is_broken(
            text in "([*.xskproj4E\u{2022}\u{2026}\u{201c}\\\\\"\n-]|key1234567890){0,40}",
            bytes: Vec<u8>,
        ) {
            let _ = redacted(401, &text);
            let _ = words(&bytes, is_masked);
            let json = serde_json::json!({ "message": text }).to_string();
            let ascii = json.replace('\u{2022}', "\\u2022").replace('\u{2026}', "\\u2026");
            for json in [json, ascii] {
                let redacted = redacted(401, &json);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&redacted).is_ok(), "{}", redacted);
            }
        }
    }
}
