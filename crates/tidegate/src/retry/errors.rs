//! Errors that say themselves whether asking again makes sense.

use std::error::Error;
use std::fmt;

use crate::{BoxError, Failure, Outcome};

/// Asking again makes sense, whatever the error inside is.
///
/// Found anywhere in the chain of an error. Reads as the error that it was made of.
#[derive(Debug)]
pub struct RetryableError(BoxError);

/// Asking again makes no sense, whatever the error inside is. Wins over a [`RetryableError`] in the same chain.
///
/// Found anywhere in the chain of an error. Reads as the error that it was made of.
#[derive(Debug)]
pub struct NonRetryableError(BoxError);

impl RetryableError {
    /// `error` passes.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl NonRetryableError {
    /// `error` stays.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

/// What an attempt that ended in `error` came to, with the error's own word on whether to ask again.
pub(super) fn outcome_of(error: &(dyn Error + 'static)) -> Outcome {
    match (Outcome::of_error(error), retry_marker(error)) {
        (Outcome::Failure(failure), Some(should_retry)) => with_should_retry(failure, should_retry).into(),
        (outcome, _) => outcome,
    }
}

/// Whether the error says that asking again makes sense, or that it makes none.
pub(super) fn retry_marker(error: &(dyn Error + 'static)) -> Option<bool> {
    let contains = |contains: fn(&(dyn Error + 'static)) -> bool| tidegate_core::chain(error).any(contains);
    if contains(|error| error.is::<NonRetryableError>()) {
        return Some(false);
    }
    contains(|error| error.is::<RetryableError>()).then_some(true)
}

/// The same failure, with a word on whether to ask again that is as good as the provider's.
pub(super) fn with_should_retry(mut failure: Failure, should_retry: bool) -> Failure {
    failure.hint.get_or_insert_default().should_retry = Some(should_retry);
    failure
}

impl fmt::Display for RetryableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NonRetryableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for RetryableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Error for NonRetryableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
