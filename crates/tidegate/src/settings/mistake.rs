use std::fmt;

use super::printable::redacted_key;

/// One invalid setting: its key, the expected value, and its position in a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Mistake {
    key: String,
    problem: String,
    /// The name in the table `key` that is at fault, because it is no key.
    unknown: Option<String>,
    position: Option<(usize, usize)>,
}

impl Mistake {
    pub(super) fn new(key: String, problem: String) -> Self {
        Self { key, problem, unknown: None, position: None }
    }

    /// The key or variable with the invalid value, such as `retry.max_delay` or `AI_LIB_RPS`. Empty if the
    /// problem concerns the whole configuration. Its names are those of the file: when the mistake is
    /// displayed, one that may be a secret is left out.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong with the value, without the key.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The line in the file, counted from 1; `None` if the mistake is not in a file, or has no place in it.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column of that line, counted from 1 in characters.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }

    pub(super) fn map_key(self, rename: impl Fn(&str) -> String) -> Self {
        Self { key: rename(&self.key), ..self }
    }
}

#[cfg(feature = "config")]
impl Mistake {
    /// `name` is no key of the table `key`.
    pub(super) fn unknown_key(key: &str, name: &str, problem: String) -> Self {
        Self { unknown: Some(name.to_owned()), ..Self::new(key.to_owned(), problem) }
    }

    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    pub(super) fn at(self, position: Option<(usize, usize)>) -> Self {
        Self { position: position.or(self.position), ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        match &*self.key {
            "" => f.write_str(&self.problem),
            key => write!(f, "{}: {}", redacted_key(key), self.problem),
        }
    }
}

/// As it is displayed.
impl fmt::Debug for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mistake({self})")
    }
}
