//! Suggestions for unknown names.

use crate::settings::{is_name, is_short};

/// The least similarity of a suggestion. Less similar names are not helpful.
const MIN_SIMILARITY: f64 = 0.4;

/// The most names that are listed: all keys of a layer.
const MAX_LISTED: usize = 32;

/// The least similarity at which a name is a known one that was misspelt, and no secret.
const MISSPELT: f64 = 0.6;

/// What is unknown, if it is the key of a setting.
pub(super) const KEY: &str = "key";

/// Whether a text may be shown as the key of a setting. Secrets have capitals, digits or hyphens, or are
/// long.
pub(super) fn is_key(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || b"_.".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part) && is_name(text)
}

/// The message about a `name` that is none of the `known` ones: the name, if it is a misspelt one or too
/// short for a secret, and the [suggestion](suggest).
///
/// ```
/// use tidegate::config::unknown;
///
/// assert_eq!(unknown("provider", "opnai", ["openai", "other"]), "unknown provider `opnai`, did you mean `openai`?");
/// assert_eq!(unknown("provider", "sk-secret", ["openai"]), "unknown provider, expected `openai`");
/// ```
#[must_use]
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let is_misspelt = closest(name, &known).is_some_and(|(similarity, _)| similarity >= MISSPELT);
    // What reads as a key is no secret in the place of one.
    let is_key = what == KEY && is_key(name);
    let quoted = if is_misspelt || is_short(name) || is_key { format!(" `{name}`") } else { String::new() };
    format!("unknown {what}{quoted}{}", suggest(name, known))
}

/// The end of a message about an unknown `name`: the most similar known name, else the known names, of which
/// at most 32 are listed. Known names that may be secrets are left out.
///
/// ```
/// use tidegate::config::suggest;
/// assert_eq!(suggest("opnai", ["openai", "anthropic"]), ", did you mean `openai`?");
/// ```
#[must_use]
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().filter(|known| is_name(known)).collect();
    if let Some((_, suggestion)) = closest(name, &known) {
        return format!(", did you mean `{suggestion}`?");
    }
    match &*known {
        [] => String::new(),
        [only] => format!(", expected `{only}`"),
        _ => {
            let quoted: Vec<_> = known.iter().take(MAX_LISTED).map(|known| format!("`{known}`")).collect();
            let more = if known.len() > MAX_LISTED { ", .." } else { "" };
            format!(", expected one of {}{more}", quoted.join(", "))
        }
    }
}

/// The most similar of the known names, and how similar it is.
fn closest<'a>(name: &str, known: &[&'a str]) -> Option<(f64, &'a str)> {
    let name = name.to_lowercase();
    let names = known.iter().filter(|known| is_name(known));
    names
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase()), *known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_is_suggested_and_else_all_names_are_listed() {
        let known = ["requests_per_second", "burst_size", "max_wait"];
        assert_eq!(suggest("request_per_second", known), ", did you mean `requests_per_second`?");
        assert_eq!(suggest("BurstSize", known), ", did you mean `burst_size`?");
        assert_eq!(
            suggest("rps", known),
            ", expected one of `requests_per_second`, `burst_size`, `max_wait`"
        );
        assert_eq!(suggest("x", ["y"]), ", expected `y`");
        assert_eq!(suggest("x", []), "");
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let known: Vec<_> = (0..40_000).map(|number| format!("name-{number}")).collect();
        for count in 2..40 {
            let suggestion = suggest("x", known[..count].iter().map(String::as_str));
            assert_eq!(suggestion.matches('`').count(), 2 * count.min(MAX_LISTED), "{count}");
            assert_eq!(suggestion.ends_with(", .."), count > MAX_LISTED, "{count}");
        }
        assert!(suggest("x", known.iter().map(String::as_str)).len() < 1_000);
    }
}
