//! A shorter prompt, for a model that could not process the long one in time.

use tidegate_core::CompletionLimits;

/// The limits of the answer to a simplified prompt.
pub(super) const LIMITS: CompletionLimits = CompletionLimits { max_tokens: 50, temperature: 0.3 };

const MAX_LINE_LENGTH: usize = 100;
const MAX_LINES: usize = 3;
const MAX_LENGTH: usize = 200;

/// The first three of the lines of at most 100 characters, cut to 200 characters. `None` if that is the
/// prompt itself, or empty.
pub(super) fn simplify(prompt: &str) -> Option<String> {
    let lines: Vec<_> =
        prompt.lines().filter(|line| line.chars().nth(MAX_LINE_LENGTH).is_none()).take(MAX_LINES).collect();
    let lines = lines.join("\n");
    let simple = lines.trim();
    let simple = match simple.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => format!("{}...", &simple[..end]),
        None => simple.to_owned(),
    };
    (!simple.is_empty() && simple != prompt).then_some(simple)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed item 46.
    #[test]
    fn drops_long_lines_keeps_three_and_truncates() {
        let long = "x".repeat(101);
        let (ninety, hundred) = ("y".repeat(90), "z".repeat(100));
        for (before, after) in [
            ("short", None),
            ("", None),
            (&*long, None),
            (" padded ", Some("padded".to_owned())),
            (&*format!("a\n{long}\nb"), Some("a\nb".to_owned())),
            ("a\nb\nc\nd", Some("a\nb\nc".to_owned())),
            (&*format!("{hundred}\n{hundred}"), Some(format!("{hundred}\n{}...", &hundred[..99]))),
            (
                &*format!("{ninety}\n{ninety}\nü{ninety}"),
                Some(format!("{ninety}\n{ninety}\nü{}...", &ninety[..17])),
            ),
        ] {
            assert_eq!(simplify(before), after, "{before}");
        }
    }
}
