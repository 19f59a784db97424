//! Finds what is probably meant by a line that is not TOML: a quote is missing, or it is in another format. No
//! message contains the text, which may be a secret.

use toml::de::DeTable;

use super::suggestion::is_key;

/// The characters that end a word outside of quotes.
const PUNCTUATION: [char; 6] = ['[', ']', '{', '}', ',', '='];

/// What is wrong with the quotes in the line at `offset`, and the offset of that text. `None` if it is
/// something else.
pub(super) fn quote_hint(text: &str, offset: usize) -> Option<(String, usize)> {
    let start = text.get(..offset).unwrap_or(text).rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next()?;
    if is_of_other_format(line) {
        return Some((EXPECTED_TOML.to_owned(), start));
    }
    if line.contains("\"\"\"")
        || line.contains("'''")
        || line.trim_start().starts_with('[') && !line.contains(',')
    {
        return None;
    }
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_key(key));
    let value = key.map_or(0, |_| line.find('=').map_or(0, |at| at + 1));
    let written = || key.map_or_else(|| "\"..\"".to_owned(), |key| format!("{key} = \"..\""));
    let (problem, at) = match find_mistake(&line[value..])? {
        (QuoteMistake::NoValue, at) => (format!("expected a value after `{} =`", key?), at),
        (QuoteMistake::Unquoted, at) => {
            (format!("expected quotes around the text, as in `{}`", written()), at)
        }
        (QuoteMistake::Unclosed, at) => (format!("expected a closing quote, as in `{}`", written()), at),
    };
    Some((problem, start + value + at))
}

/// The problem of a line in another format.
pub(super) const EXPECTED_TOML: &str = "expected TOML, as in `key = \"..\"`";

/// Whether a line is YAML or JSON: `key: ..`, `- ..`, `---`, or the beginning of an object.
fn is_of_other_format(line: &str) -> bool {
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_object = line == "{" || line.starts_with("{\"") && line.contains("\":");
    matches!(first, "-" | "---") || first.ends_with(':') || is_object
}

enum QuoteMistake {
    NoValue,
    Unquoted,
    Unclosed,
}

/// The first mistake in the values of a line, and where it is.
fn find_mistake(values: &str) -> Option<(QuoteMistake, usize)> {
    let trimmed = values.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Some((QuoteMistake::NoValue, values.len() - trimmed.len()));
    }
    let mut rest = trimmed;
    loop {
        rest = rest.trim_start_matches(|character: char| {
            character.is_whitespace() || PUNCTUATION.contains(&character)
        });
        let at = values.len() - rest.len();
        let first = rest.chars().next().filter(|first| *first != '#')?;
        if first == '"' || first == '\'' {
            let Some(end) = closing_quote(rest, first) else { return Some((QuoteMistake::Unclosed, at)) };
            rest = &rest[end + 1..];
            continue;
        }
        let end = rest.find(|character: char| character.is_whitespace() || PUNCTUATION.contains(&character));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let is_key = after.trim_start().starts_with('=');
        if !is_key && DeTable::parse(&format!("x = {word}")).is_err() {
            return Some((QuoteMistake::Unquoted, at));
        }
        rest = after;
    }
}

/// The position of the quote that closes the text at the beginning.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().skip(1).find_map(|(at, character)| {
        let is_end = character == quote && !is_escaped;
        is_escaped = quote == '"' && character == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_by_a_line_is_found() {
        let quotes = |key: &str| Some(format!("expected quotes around the text, as in `{key}`"));
        let toml = || Some(EXPECTED_TOML.to_owned());
        let closing = |key: &str| Some(format!("expected a closing quote, as in `{key}`"));
        for (line, expected, column) in [
            ("listen = 127.0.0.1:8787", quotes("listen = \"..\""), 9),
            ("dialect = openai # comment", quotes("dialect = \"..\""), 10),
            ("url = https://x/v1\"", quotes("url = \"..\""), 6),
            ("drain = 30s", quotes("drain = \"..\""), 8),
            ("  api_key_env = sk-secret", quotes("api_key_env = \"..\""), 16),
            ("chain = [\"a/b\", c/d]", quotes("chain = \"..\""), 16),
            (
                "providers.p = { base_url = http://x, dialect = \"openai\" }",
                quotes("providers.p = \"..\""),
                27,
            ),
            ("    openai/gpt-4o,", quotes("\"..\""), 4),
            ("url = \"https://x/v1", closing("url = \"..\""), 6),
            ("url = 'https://x/v1", closing("url = \"..\""), 6),
            ("chain = [\"a/b, \"c/d\"]", quotes("chain = \"..\""), 16),
            ("url = \"a\\\"", closing("url = \"..\""), 6),
            ("listen =  # nothing", Some("expected a value after `listen =`".to_owned()), 10),
            ("listen: \"127.0.0.1:8787\"", toml(), 0),
            ("providers:", toml(), 0),
            ("  - path: /v1 = x", toml(), 0),
            ("---", toml(), 0),
            ("{   ", toml(), 0),
            ("  \"listen\": \"127.0.0.1:8787\",", toml(), 0),
            ("{\"listen\":\"127.0.0.1:8787\"}", toml(), 0),
            ("  { \"target\" = a/b }", quotes("\"..\""), 15),
            ("  c2VjcmV0LWtleQ=", None, 0),
            ("[providers", None, 0),
            ("body_limit = 1", None, 0),
            ("headers = { a = \"1\", b = 2 } }", None, 0),
            ("text = \"\"\"a", None, 0),
            ("times = [1, 2.5, true, 2026-01-01, 'x', 0xff]", None, 0),
        ] {
            let found = quote_hint(&format!("first = 1\n{line}\nlast = 2"), 12);
            let (problem, offset) = found.unzip();
            assert_eq!(problem, expected, "{line}");
            assert!(offset.is_none_or(|offset| offset == 10 + column), "{line}: {offset:?}");
        }
    }

    #[test]
    fn any_offset_of_any_text_has_an_answer() {
        for text in ["", "\n", "=", "= =", "\u{e9} = \u{e9}", "a = \"\u{e9}", "[[[", "'"] {
            (0..=text.len() + 1).for_each(|offset| _ = quote_hint(text, offset));
        }
    }
}
