//! What somebody may have meant.

/// Below this likeness a guess would puzzle more than help.
const ALIKE: f64 = 0.4;

/// The end of a sentence about an unknown `word`: the known word it is most like, else all that are known.
pub(super) fn instead<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(nearest) = nearest(word, &known) {
        return format!(", did you mean `{nearest}`?");
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

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&word, &known.to_lowercase()), *known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_what_is_like_and_lists_what_is_not() {
        let known = ["requests_per_second", "burst_size", "max_wait"];
        assert_eq!(instead("request_per_second", known), ", did you mean `requests_per_second`?");
        assert_eq!(instead("BurstSize", known), ", did you mean `burst_size`?");
        assert_eq!(
            instead("rps", known),
            ", expected one of `requests_per_second`, `burst_size`, `max_wait`"
        );
        assert_eq!(instead("x", ["y"]), ", expected `y`");
        assert_eq!(instead("x", []), "");
    }
}
