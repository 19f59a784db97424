//! Suggestions for unknown names.

/// The least similarity of a suggestion. Less similar names are not helpful.
const MIN_SIMILARITY: f64 = 0.4;

/// The end of a message about an unknown `name`: the most similar known name, else all known names.
///
/// ```
/// use tidegate::config::suggest;
/// assert_eq!(suggest("opnai", ["openai", "anthropic"]), ", did you mean `openai`?");
/// ```
#[must_use]
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(suggestion) = closest(name, &known) {
        return format!(", did you mean `{suggestion}`?");
    }
    match &*known {
        [] => String::new(),
        [only] => format!(", expected `{only}`"),
        _ => {
            let quoted: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            format!(", expected one of {}", quoted.join(", "))
        }
    }
}

fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase()), *known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
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
}
