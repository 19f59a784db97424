//! Removal of our own keys from what a provider returns. Providers repeat the key of a request in their errors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, Entry};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use memchr::memmem;
use tidegate::{ErrorCode, Payload};

use super::GatewayError;
use super::redacted_body::RedactedBody;
use crate::endpoint::ApiDialect;

/// Finds the keys of all providers in responses: their beginnings of [`BEGINNING`] bytes or more, other parts of [`PART`]
/// bytes or more, and the masked form `sk-ab***yz`.
#[derive(Default)]
pub(crate) struct Redactor {
    keys: Vec<Box<[u8]>>,
    parts: HashSet<Box<[u8]>>,
    /// Where in which keys each part of [`BESIDE_MASK`] bytes ends.
    beside_masks: HashMap<[u8; BESIDE_MASK], Vec<(usize, usize)>>,
    /// The keys that are looked for in answers as well.
    long_keys: Vec<memmem::Finder<'static>>,
}

/// The shortest beginning of a key that is removed. Less is common to many keys: `sk-proj`.
const BEGINNING: usize = 8;

/// The shortest other part that is removed. A shorter one may be a word.
const PART: usize = 16;

/// The shortest key that is looked for. A shorter one is part of ordinary words.
const SHORTEST_KEY: usize = 4;

/// The fewest characters in place of the middle of a key.
const MASK: usize = 3;

/// The fewest bytes of a key before or after a mask.
const BESIDE_MASK: usize = 3;

/// In place of a key.
const REDACTED: &[u8] = b"[redacted]";

/// In place of each byte of a key in an answer, the length of which may have been announced.
const MASKED: u8 = b'*';

/// The largest error body that is searched. Those of providers are smaller.
const MAX_ERROR: usize = 1024 * 1024;

impl Redactor {
    pub(crate) fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let keys = keys.into_iter().map(str::as_bytes).filter(|key| key.len() >= SHORTEST_KEY);
        let keys: Vec<Box<[u8]>> = keys.map(Into::into).collect();
        let parts = keys.iter().flat_map(|key| key.windows(PART)).map(Box::from).collect();
        let long_keys = keys.iter().filter(|key| key.len() >= PART);
        let long_keys = long_keys.map(|key| memmem::Finder::new(key).into_owned()).collect();
        let mut beside_masks: HashMap<_, Vec<_>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            let parts = (0..key.len()).filter_map(|start| Some((start, *key[start..].first_chunk()?)));
            for (start, part) in parts {
                beside_masks.entry(part).or_default().push((index, start + BESIDE_MASK));
            }
        }
        Self { keys, parts, beside_masks, long_keys }
    }

    /// Removes the keys from the head, and from the body of an error. In any other body whole keys are masked.
    pub(super) async fn redact_response(
        self: &Arc<Self>,
        response: Response<Body>,
        dialect: ApiDialect,
    ) -> Response<Body> {
        if self.keys.is_empty() {
            return response;
        }
        let (mut head, body) = response.into_parts();
        self.redact_headers(&mut head.headers);
        if !head.status.is_client_error() && !head.status.is_server_error() {
            let is_empty = self.long_keys.is_empty();
            let body = if is_empty { body } else { Body::new(RedactedBody::new(body, Arc::clone(self))) };
            return Response::from_parts(head, body);
        }
        head.headers.remove(CONTENT_LENGTH);
        let payload = Payload::collect(body, MAX_ERROR).await;
        let body = match payload.as_ref().map(Payload::bytes) {
            Ok(Some(bytes)) => Body::from(self.redact(bytes.clone())),
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

    /// The bytes with whole keys masked.
    pub(super) fn mask(&self, bytes: Bytes) -> Bytes {
        let found: Vec<_> = self
            .long_keys
            .iter()
            .flat_map(|key| key.find_iter(&bytes).map(|start| start..start + key.needle().len()))
            .collect();
        if found.is_empty() {
            return bytes;
        }
        let mut masked = Vec::from(bytes);
        found.into_iter().for_each(|place| masked[place].fill(MASKED));
        masked.into()
    }

    /// The length of the end of `bytes` that may be the beginning of a key.
    pub(super) fn beginning_of_key(&self, bytes: &[u8]) -> usize {
        let of_key = |key: &memmem::Finder<'_>| {
            let key = key.needle();
            let mut lengths = (1..key.len().min(bytes.len() + 1)).rev();
            lengths.find(|&length| bytes.ends_with(&key[..length])).unwrap_or(0)
        };
        self.long_keys.iter().map(of_key).max().unwrap_or(0)
    }

    /// Removes the headers with a key.
    fn redact_headers(&self, headers: &mut HeaderMap) {
        let has_key = |(name, value): (&HeaderName, &HeaderValue)| {
            (!self.find(value.as_bytes()).is_empty()).then(|| name.clone())
        };
        for name in headers.iter().filter_map(has_key).collect::<Vec<_>>() {
            if let Entry::Occupied(entry) = headers.entry(name) {
                entry.remove_entry_mult();
            }
        }
    }

    /// The text without the keys.
    pub(super) fn redact(&self, text: Bytes) -> Bytes {
        let found = self.find(&text);
        if found.is_empty() {
            return text;
        }
        let (mut redacted, mut end) = (Vec::with_capacity(text.len()), 0);
        for Range { start, end: next } in found {
            redacted.extend_from_slice(&text[end..start]);
            redacted.extend_from_slice(REDACTED);
            end = next;
        }
        redacted.extend_from_slice(&text[end..]);
        redacted.into()
    }

    /// The places of keys, in order and without overlaps.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let parts = text.windows(PART).enumerate().filter(|(_, part)| self.parts.contains(*part));
        let mut found: Vec<_> = parts.map(|(start, _)| start..start + PART).collect();
        for key in &self.keys {
            let beginning = &key[..key.len().min(BEGINNING)];
            let starts = text.windows(beginning.len()).enumerate().filter(|(_, part)| *part == beginning);
            found.extend(starts.map(|(start, _)| {
                let same = text[start..].iter().zip(key).take_while(|(one, other)| one == other);
                start..start + same.count()
            }));
        }
        for mask in masks(text) {
            found.extend(self.masked(text, &mask));
        }
        found.sort_unstable_by_key(|place| place.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for place in found {
            match merged.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => merged.push(place),
            }
        }
        merged
    }
}

impl Redactor {
    /// The places of keys with their middle replaced by `mask`. A key is compared only if a part of it is beside the mask.
    fn masked(&self, text: &[u8], mask: &Range<usize>) -> Vec<Range<usize>> {
        let (before, after) = (&text[..mask.start], &text[mask.end..]);
        let of_part = |part: Option<&[u8; BESIDE_MASK]>| part.and_then(|part| self.beside_masks.get(part));
        // The most bytes of each key before and after the mask.
        let mut sides: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
        for &(index, end) in of_part(before.last_chunk()).into_iter().flatten() {
            if end < self.keys[index].len() && before.ends_with(&self.keys[index][..end]) {
                let [left, _] = sides.entry(index).or_default();
                *left = end.max(*left);
            }
        }
        for &(index, end) in of_part(after.first_chunk()).into_iter().flatten() {
            let rest = &self.keys[index][end - BESIDE_MASK..];
            if end > BESIDE_MASK && after.starts_with(rest) {
                let [_, right] = sides.entry(index).or_default();
                *right = rest.len().max(*right);
            }
        }
        let places = sides.into_iter().map(|(index, [left, right])| {
            let key = &self.keys[index];
            let fewer = || (1..BESIDE_MASK).rev();
            let left = left.max(fewer().find(|&length| before.ends_with(&key[..length])).unwrap_or(0));
            let is_end = |length: &usize| after.starts_with(&key[key.len() - length..]);
            let right = right.max(fewer().find(is_end).unwrap_or(0));
            mask.start - left..mask.end + right
        });
        places.collect()
    }
}

/// The runs of characters that stand for others.
fn masks(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // The bytes of a bullet and of an ellipsis in UTF-8 are among them.
    let is_mask = |byte: &u8| matches!(byte, b'*' | b'.' | b'#' | b'x' | b'X' | 0xe2 | 0x80 | 0xa2 | 0xa6);
    let mut runs = text.chunk_by(move |one, other| is_mask(one) == is_mask(other)).scan(0, |start, run| {
        let place = *start..*start + run.len();
        *start = place.end;
        Some((place, run))
    });
    std::iter::from_fn(move || {
        runs.find(|(place, run)| place.len() >= MASK && is_mask(&run[0])).map(|(place, _)| place)
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
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-proj-4fT9qLmZ07vWn2RkYhbE";

    fn redactor(keys: &[&str]) -> Redactor {
        Redactor::new(keys.iter().copied())
    }

    fn redacted(text: &str) -> String {
        let text = redactor(&[KEY]).redact(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn a_key_its_parts_and_its_masked_form_are_removed() {
        for found in [
            KEY,
            &KEY[..8],
            &KEY[..20],
            &KEY[4..20],
            &KEY[12..],
            "sk-proj*******************YhbE",
            "sk-...hbE",
            "***YhbE",
            "sk-pr\u{2022}\u{2022}\u{2022}bE",
            "sk-4\u{2026}bE",
        ] {
            let found = if found.starts_with("sk-4") { "sk-\u{2026}hbE" } else { found };
            let text = redacted(&format!("Incorrect API key provided: {found}. See the docs"));
            assert_eq!(
                text.replace("[redacted].", "[redacted]"),
                "Incorrect API key provided: [redacted] See the docs"
            );
        }
        for other in ["sk-", "sk-prod", &KEY[8..20], "a *** b", "wait ... or x", "Yhb", "sk-proX"] {
            assert_eq!(redacted(other), other);
        }
    }

    /// Regression: each mask was compared with every part of every key, so that an error of 1 MiB took seconds.
    #[test]
    fn many_masks_are_searched_in_little_time() {
        let keys: Vec<String> = (0..10).map(|number| format!("sk-{number}{}", "aB3".repeat(54))).collect();
        let redactor = Redactor::new(keys.iter().map(String::as_str));
        let start = std::time::Instant::now();
        for text in ["...a".repeat(1 << 16), "...sk-".repeat(1 << 16)] {
            assert!(masks(text.as_bytes()).all(|mask| redactor.masked(text.as_bytes(), &mask).len() <= 20));
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
        let masked = redactor.find(format!("say sk-7aB...{} now", &keys[7][160..]).as_bytes());
        assert_eq!(masked.first(), Some(&(4..19)));
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
        #[test]
        fn no_part_of_a_key_is_left_and_nothing_else_is_removed(
            key in "[a-zA-Z0-9-]{4,40}", before in ".*", after in ".*", from in 0usize..40, length in 8usize..40,
        ) {
            let part = key.get(from..).and_then(|rest| rest.get(..length.max(PART))).or(key.get(..length));
            let part = part.unwrap_or(&key);
            let text = Bytes::from(format!("{before}|{part}|{after}"));
            let redacted = redactor(&[&key]).redact(text);
            let beginning = &key.as_bytes()[..key.len().min(BEGINNING)];
            prop_assert!(redacted.windows(beginning.len()).all(|window| window != beginning));
            for part in key.as_bytes().windows(PART) {
                prop_assert!(redacted.windows(PART).all(|window| window != part));
            }
            let text = String::from_utf8_lossy(&redacted);
            prop_assert!(text.contains("[redacted]"), "{}", text);
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(prop::sample::select(b"*.xsk-proj4E\xe2\x80\xa2".to_vec()), 0..80)) {
            let _ = redactor(&[KEY, "sk-p"]).redact(text.into());
        }
    }
}
