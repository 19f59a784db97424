//! Messages about the text of a file: what was expected and what was found, by the key.

use tidegate::config::{ConfigError, Mistake, TomlText};

/// Parses a file.
///
/// # Errors
///
/// It is not TOML, or it has a number that TOML has not, or a key twice.
pub(super) fn parse(text: &str) -> Result<TomlText<'_>, ConfigError> {
    TomlText::parse(text).map_err(|error| {
        let named = error.mistakes().map(|mistake| Err(named(text, mistake)));
        ConfigError::all(named).expect_err("an error has mistakes")
    })
}

/// The mistake with the key in whose text it is.
fn named(text: &str, mistake: &Mistake) -> ConfigError {
    let (Some(line), Some(column)) = (mistake.line(), mistake.column()) else {
        return ConfigError::new(mistake.key(), mistake.problem());
    };
    let line_start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let of_line = &text[line_start..];
    let offset = of_line.char_indices().nth(column - 1).map_or(of_line.len(), |(offset, _)| offset);
    let rest = &of_line[offset..];
    let problem = match mistake.problem() {
        "duplicate key" => {
            format!("duplicate key `{}`", rest.split(['=', '.', ']', '\n']).next().unwrap_or_default().trim())
        }
        problem if problem.starts_with("invalid type: integer") => {
            let found = rest.split([',', ']', '}', '#', '\n']).next().unwrap_or_default().trim();
            let key = key_before(&text[..line_start + offset]);
            format!("{key}: expected a whole number of at most {}, found {found}", i64::MAX)
        }
        problem => match key_before(&text[..line_start + offset]) {
            "" => problem.to_owned(),
            key => format!("{problem}, near `{key}`"),
        },
    };
    ConfigError::new("", format!("line {line}, column {column}: {problem}"))
}

/// The key whose value begins or continues after this text.
fn key_before(text: &str) -> &str {
    let Some((before, _)) = text.rsplit_once('=') else { return "" };
    before.trim_end().rsplit(['\n', '{', ',', '[', ' ', '\t']).next().unwrap_or_default()
}

/// The error of serde with this `message` about the value at `path`.
pub(super) fn of_value(path: &str, message: &str) -> ConfigError {
    let line = message.lines().next().unwrap_or_default();
    let misfit = line.strip_prefix("invalid type: ").or_else(|| line.strip_prefix("invalid value: "));
    let Some((found, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return ConfigError::from_serde(path, message);
    };
    let found = found_text(found).map_or_else(String::new, |found| format!(", found {found}"));
    ConfigError::new(path.trim_end_matches('.'), format!("expected {}{found}", expected_text(expected)))
}

/// What serde expected, as a file has it.
fn expected_text(expected: &str) -> String {
    match expected {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => format!("a whole number from 0 to {}", i64::MAX),
        "f64" => "a number".to_owned(),
        "a string" | "string only" => "a text in quotes".to_owned(),
        "a duration" => "a duration such as \"30s\"".to_owned(),
        "a sequence" => "an array of tables".to_owned(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What serde found; `None` if it does not report that.
fn found_text(found: &str) -> Option<&str> {
    match found {
        "map" => Some("a table"),
        "sequence" => Some("an array"),
        "unit variant" | "newtype variant" => None,
        _ => Some(
            ["integer `", "floating point `", "boolean `"]
                .into_iter()
                .find_map(|kind| found.strip_prefix(kind))
                .map_or_else(
                    || found.strip_prefix("string ").unwrap_or(found),
                    |value| value.trim_end_matches('`'),
                ),
        ),
    }
}
