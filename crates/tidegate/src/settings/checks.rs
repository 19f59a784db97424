use super::ConfigError;

/// Collects the errors of several checks, so that all are reported at once.
#[derive(Clone, Debug, Default)]
pub struct Checks(Option<ConfigError>);

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
