use std::fmt;

use super::mistake::Mistake;
use super::printable::found;

/// The settings that are invalid: one [`Mistake`] or more, a line for each when it is displayed. Of very many
/// the first 100 are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    mistakes: Vec<Mistake>,
    omitted: usize,
}

/// The most mistakes that are kept: each is compared with all others, and looked up in the file.
pub(crate) const MAX_MISTAKES: usize = 100;

impl ConfigError {
    /// `problem` at `key`. An empty key stands for the whole configuration.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { mistakes: vec![Mistake::new(key.into(), problem.into())], omitted: 0 }
    }

    /// The value of `key` is another one than `expected`.
    pub(crate) fn expected(key: &str, expected: &str, value: impl fmt::Display) -> Self {
        Self::new(key, format!("expected {expected}{}", found(value)))
    }

    /// The errors of all `results` as one.
    ///
    /// # Errors
    ///
    /// One of the results is an error.
    pub fn all(results: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let errors = results.into_iter().filter_map(Result::err);
        errors.reduce(Self::and).map_or(Ok(()), Err)
    }

    /// The mistakes of both, each of them once.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for mistake in other.mistakes {
            if self.mistakes.contains(&mistake) {
                continue;
            }
            if self.mistakes.len() < MAX_MISTAKES { self.mistakes.push(mistake) } else { self.omitted += 1 }
        }
        self.and_more(other.omitted)
    }

    /// The mistakes, at least one.
    pub fn mistakes(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }

    /// The number of further mistakes, which are not kept. It may include some of them more than once.
    #[must_use]
    pub const fn omitted(&self) -> usize {
        self.omitted
    }

    /// The same error with so many further mistakes.
    pub(crate) fn and_more(mut self, omitted: usize) -> Self {
        self.omitted += omitted;
        self
    }

    /// The [key](Mistake::key) of the first mistake.
    #[must_use]
    pub fn key(&self) -> &str {
        self.mistakes.first().map_or("", Mistake::key)
    }

    /// The [problem](Mistake::problem) of the first mistake.
    #[must_use]
    pub fn problem(&self) -> &str {
        self.mistakes.first().map_or("", Mistake::problem)
    }

    /// The same error with all keys prefixed by `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        self.map_keys(|key| if key.is_empty() { parent.to_owned() } else { format!("{parent}.{key}") })
    }

    /// The same error with other keys.
    #[must_use]
    pub fn map_keys(self, rename: impl Fn(&str) -> String) -> Self {
        let mistakes = self.mistakes.into_iter().map(|mistake| mistake.map_key(&rename)).collect();
        Self { mistakes, ..self }
    }
}

#[cfg(feature = "config")]
impl ConfigError {
    /// `name` is no key of the table `key`.
    pub(crate) fn unknown_key(key: &str, name: &str, problem: String) -> Self {
        Self { mistakes: vec![Mistake::unknown_key(key, name, problem)], omitted: 0 }
    }

    /// The error without the mistakes for which `is_kept` is false.
    pub(crate) fn retain(mut self, is_kept: impl FnMut(&Mistake) -> bool) -> Result<(), Self> {
        self.mistakes.retain(is_kept);
        if self.mistakes.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The same error with the line and column that `position` returns for each mistake, in their order.
    pub(crate) fn located(self, position: impl Fn(&Mistake) -> Option<(usize, usize)>) -> Self {
        let at_position = |mistake: Mistake| {
            let position = position(&mistake);
            mistake.at(position)
        };
        Self { mistakes: self.mistakes.into_iter().map(at_position).collect(), ..self }.in_order()
    }

    /// The mistakes in the order of the file. Those that are nowhere in it come last.
    pub(crate) fn in_order(mut self) -> Self {
        self.mistakes.sort_by_key(|mistake| (mistake.line().is_none(), mistake.line(), mistake.column()));
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Collects the errors of several checks, so that all are reported at once.
#[cfg(feature = "config")]
#[derive(Clone, Debug, Default)]
pub struct Checks(Option<ConfigError>);

#[cfg(feature = "config")]
impl Checks {
    /// The value of `result`, or `None` if it is an error.
    pub fn keep<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }

    /// Adds an error.
    pub fn fail(&mut self, error: ConfigError) {
        self.0 = Some(match self.0.take() {
            Some(errors) => errors.and(error),
            None => error,
        });
    }

    /// Whether no check has failed so far.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.0.is_none()
    }

    /// `value`, if no check has failed.
    ///
    /// # Errors
    ///
    /// All errors that were kept.
    pub fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        self.0.map_or(Ok(value), Err)
    }
}
