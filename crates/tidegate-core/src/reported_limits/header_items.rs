//! The items of the lists in the headers of limits, and their parameters.

use http::HeaderMap;

use super::unsigned;

/// Parses a number. Only digits are accepted, without sign or unit, and the number must fit into a `u64`.
pub(super) fn number(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| value.parse().ok())?
}

/// Maximum number of items that are read of lists. There are one or two, usually.
const MAX_ITEMS: usize = 32;

/// The items of the lists in the headers of these names.
pub(super) fn items<'a, const N: usize>(
    headers: &'a HeaderMap,
    names: [&'static str; N],
) -> impl Iterator<Item = &'a str> {
    let values = names.into_iter().flat_map(|name| headers.get_all(name));
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| split(value, ',')).take(MAX_ITEMS)
}

/// The parts of `text` between the separators that are not in quotes.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    parts.map(str::trim)
}

/// The part of an item before its parameters: `"default"`, or a bare number, which is a quota.
pub(super) fn name_of(item: &str) -> &str {
    split(item, ';').next().unwrap_or_default()
}

/// Whether an item is a number of draft 07: `limit=100`.
pub(super) fn is_member(item: &str) -> bool {
    !item.starts_with('"') && name_of(item).contains('=')
}

/// The parameters of an item, with the quota before them.
pub(super) fn parameters(item: &str) -> impl Iterator<Item = (&str, &str)> {
    split(item, ';').filter_map(|part| match part.split_once('=') {
        Some((key, value)) => Some((key.trim(), value.trim())),
        None => number(part).map(|_| ("q", part)),
    })
}

/// The number in a parameter of an item.
pub(super) fn parameter(item: &str, name: &str) -> Option<f64> {
    unsigned(parameters(item).find(|(key, _)| *key == name)?.1)
}
