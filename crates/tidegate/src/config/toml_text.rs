use toml::de::{DeTable, DeValue, Error};
use toml::{Spanned, Table, Value};

use super::ConfigError;
use super::names::{own_name, part_named};
use super::quote_hint::{EXPECTED_TOML, quote_hint};
use crate::settings::{MAX_MISTAKES, Mistake};

/// The text of a TOML file, with the position of each key.
///
/// A program whose file has more than one policy reads [`table`](Self::table), and gives its errors to
/// [`locate`](Self::locate).
#[derive(Debug)]
pub struct TomlText<'a> {
    text: &'a str,
    root: DeValue<'a>,
    table: Table,
}

impl<'a> TomlText<'a> {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// The text is not TOML. The mistakes of syntax are reported, with their lines.
    pub fn parse(text: &'a str) -> Result<Self, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let omitted = errors.len().saturating_sub(MAX_MISTAKES);
        let errors: Vec<_> = errors.iter().take(MAX_MISTAKES).map(|error| syntax(text, error)).collect();
        // One such line is a slip, and may have several errors.
        let mut of_other_format = errors.iter().filter(|error| error.problem() == EXPECTED_TOML);
        if let Some(first) = of_other_format.next()
            && of_other_format.any(|other| other != first)
        {
            return Err(first.clone());
        }
        let errors = ConfigError::all(errors.into_iter().map(Err));
        errors.map_err(|error| error.and_more(omitted).in_order())?;
        let root = root.into_inner();
        Ok(Self { text, table: table(&root), root: DeValue::Table(root) })
    }

    /// What the file contains.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The same error with the line and column of each mistake, in the order of the lines.
    #[must_use]
    pub fn locate(&self, error: ConfigError) -> ConfigError {
        error.located(|mistake| self.position(mistake))
    }

    fn position(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let (value, start) = find(&self.root, None, "", mistake.key());
        let unknown = mistake.unknown().and_then(|name| value.as_table()?.get_key_value(name));
        let start = unknown.map(|(name, _)| name.span().start).or(start)?;
        Some(line_and_column(self.text, start))
    }
}

fn table(table: &DeTable<'_>) -> Table {
    table.iter().map(|(name, it)| (name.get_ref().to_string(), value(it))).collect()
}

/// A whole number that is too large for TOML becomes a float, so that it is a mistake at its key or none, and
/// hides no other mistake.
fn value(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let whole = i64::from_str_radix(number.as_str(), number.radix());
            let float = || if number.radix() == 10 { float(number.as_str()) } else { f64::INFINITY };
            whole.map_or_else(|_| Value::Float(float()), Value::Integer)
        }
        DeValue::Float(number) => Value::Float(float(number.as_str())),
        DeValue::Boolean(it) => Value::Boolean(*it),
        DeValue::Datetime(it) => Value::Datetime(*it),
        DeValue::Array(array) => Value::Array(array.iter().map(self::value).collect()),
        DeValue::Table(table) => Value::Table(self::table(table)),
    }
}

/// The text has been parsed as a number.
fn float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// The value of `key` below `value`, and where it starts; what is nearest to it if there is none.
fn find<'v>(
    value: &'v DeValue<'v>,
    start: Option<usize>,
    parent: &str,
    key: &str,
) -> (&'v DeValue<'v>, Option<usize>) {
    let key = key.strip_prefix('.').unwrap_or(key);
    let found = match value {
        DeValue::Table(table) => {
            let values = table.iter().filter_map(|(name, value)| {
                let name = part_named(name.get_ref()).unwrap_or(own_name(parent, name.get_ref()));
                let rest = key.strip_prefix(name)?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some((name, value, rest))
            });
            values.max_by_key(|(name, ..)| name.len())
        }
        DeValue::Array(array) => {
            element(key).and_then(|(index, rest)| Some((parent, array.get(index)?, rest)))
        }
        _ => None,
    };
    match found {
        Some((name, value, rest)) => find(value.get_ref(), Some(value.span().start), name, rest),
        None => (value, start),
    }
}

/// The index and the rest of `[1].chain`.
fn element(key: &str) -> Option<(usize, &str)> {
    let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn syntax(text: &str, error: &Error) -> ConfigError {
    let start = error.span().map_or(text.len(), |span| span.start);
    if let Some((problem, start)) = quote_hint(text, start) {
        return ConfigError::new("", problem).located(|_| Some(line_and_column(text, start)));
    }
    // The first line is the message. The `toml` crate may append an excerpt or a list.
    let problem = error.message().lines().next().unwrap_or("not TOML");
    ConfigError::new("", problem).located(|_| Some(line_and_column(text, start)))
}

/// Both are counted from 1.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
