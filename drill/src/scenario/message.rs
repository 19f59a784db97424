//! Messages about the text of a file: what was expected and what was found, by the key.

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use tidegate::config::{ConfigError, Mistake, TomlText};

/// Parses a file.
///
/// # Errors
///
/// It is not TOML, or has a key twice.
pub(super) fn parse(text: &str) -> Result<TomlText<'_>, ConfigError> {
    TomlText::parse(text).map_err(|error| {
        let named = error.mistakes().map(|mistake| Err(named(text, mistake)));
        ConfigError::all(named).expect_err("an error has mistakes")
    })
}

/// The mistake with the name of the key near it.
fn named(text: &str, mistake: &Mistake) -> ConfigError {
    let (Some(line), Some(column)) = (mistake.line(), mistake.column()) else {
        return ConfigError::new(mistake.key(), mistake.problem());
    };
    let line_start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let of_line = &text[line_start..];
    let offset = of_line.char_indices().nth(column - 1).map_or(of_line.len(), |(offset, _)| offset);
    let (before, rest) = text.split_at(line_start + offset);
    let problem = match mistake.problem() {
        "duplicate key" => format!("duplicate key `{}`", key_at(rest)),
        problem => match [key_of_line(of_line), key_before(before)].into_iter().find(|key| !key.is_empty()) {
            None => problem.to_owned(),
            Some(key) => format!("{problem}, near `{key}`"),
        },
    };
    ConfigError::new("", format!("line {line}, column {column}: {problem}"))
}

/// The key, or the part of a dotted key, at the beginning of a text.
fn key_at(text: &str) -> &str {
    let end = match text.as_bytes().first() {
        Some(b'"' | b'\'') => quoted_length(text),
        _ => text.find(|next: char| "=.]".contains(next) || next.is_whitespace()).unwrap_or(text.len()),
    };
    &text[..end]
}

/// The key with which a line begins, be it of a value or of a table.
fn key_of_line(line: &str) -> &str {
    let line = line.trim_start_matches(|first: char| "[{".contains(first) || first.is_whitespace());
    let is_key = |byte: u8| byte.is_ascii_lowercase() || b"_-.".contains(&byte);
    &line[..line.bytes().position(|byte| !is_key(byte)).unwrap_or(line.len())]
}

/// The key whose value begins or continues after this text: that of the last equals sign outside of quotes
/// and comments.
fn key_before(text: &str) -> &str {
    let (mut key, mut start, mut at) = ("", 0, 0);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' | b'\'' => at += quoted_length(&text[at..]) - 1,
            b'#' => at += text[at..].find('\n').map_or(text.len() - at, |end| end - 1),
            b'=' => key = text[start..at].trim(),
            b'\n' | b'{' | b'[' | b',' => start = at + 1,
            _ => {}
        }
        at += 1;
    }
    key
}

/// The length of the text in quotes, of one line or of several, at the beginning of `text`.
fn quoted_length(text: &str) -> usize {
    let is_long = text.starts_with("\"\"\"") || text.starts_with("'''");
    let quotes = if is_long { &text[..3] } else { &text[..1] };
    let mut is_escaped = false;
    let mut parts = text.char_indices().skip(quotes.len()).map(|(at, part)| {
        let is_end = !is_escaped && text[at..].starts_with(quotes);
        is_escaped = !is_escaped && part == '\\' && quotes.starts_with('"');
        if is_end { Some(at + quotes.len()) } else { (part == '\n' && !is_long).then_some(at) }
    });
    parts.find_map(|end| end).unwrap_or(text.len())
}

/// The error of serde with this `message` about the value at `path`.
pub(super) fn of_value(path: &str, message: &str) -> ConfigError {
    let line = message.lines().next().unwrap_or_default();
    let misfit = line.strip_prefix("invalid type: ").or_else(|| line.strip_prefix("invalid value: "));
    let Some((found, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return ConfigError::from_serde(path, message);
    };
    let problem = format!("expected {}, found {}", expected_text(expected), found_text(found));
    ConfigError::new(path.trim_end_matches('.'), problem)
}

/// Reads one of several words. The `Deserialize` of an enum would expect a table as well.
///
/// # Errors
///
/// It is no text, or none of the words.
pub(super) fn word<'de, D: Deserializer<'de>, T: Deserialize<'static>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let word = text.escape_default().to_string().replace('`', "'");
    T::deserialize(shortened(&word).into_deserializer())
}

/// What serde expected, as a file has it.
fn expected_text(expected: &str) -> String {
    match expected {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => format!("a whole number from 0 to {}", i64::MAX),
        "f64" => "a number".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => "an array of tables".to_owned(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What serde found, as a file has it.
fn found_text(found: &str) -> String {
    let value = |kind: &str| found.strip_prefix(kind)?.strip_suffix('`');
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "an array".to_owned(),
        _ => match value("floating point `").and_then(|value| value.parse().ok()) {
            Some(value) => number(value),
            None => {
                let value = value("integer `").or_else(|| value("boolean `"));
                shortened(value.or_else(|| found.strip_prefix("string ")).unwrap_or(found))
            }
        },
    }
}

/// A number, without hundreds of digits.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 1e15 { value.to_string() } else { format!("{value:?}") }
}

/// The beginning of a text.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// The most characters of a value in a message.
const MAX_SHOWN: usize = 64;
