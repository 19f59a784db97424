//! A shorter prompt, for a model that could not take the long one in time.

use tidegate_core::CompletionLimits;

/// What an answer to a simplified prompt may cost.
pub(super) const BOUNDS: CompletionLimits = CompletionLimits { max_tokens: 50, temperature: 0.3 };

const LONGEST_LINE: usize = 100;
const LINES: usize = 3;
const LENGTH: usize = 200;

/// The first three of the lines that are not long, and of these the first 200 characters. `None` if that is the prompt
/// itself, or nothing.
pub(super) fn prompt(prompt: &str) -> Option<String> {
    let lines: Vec<_> =
        prompt.lines().filter(|line| line.chars().nth(LONGEST_LINE).is_none()).take(LINES).collect();
    let lines = lines.join("\n");
    let simple = lines.trim();
    let simple = match simple.char_indices().nth(LENGTH) {
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
    fn long_lines_go_three_stay_and_the_rest_is_cut() {
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
            assert_eq!(prompt(before), after, "{before}");
        }
    }
}
