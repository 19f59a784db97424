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
            // A body that is too long or breaks off is not forwarded: a part of the key may be in the rest.
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

/// Whether a word has a row of letters and digits that is long enough for a part of a key.
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
mod tests;
