//! Errors that are marked as retryable or not.

use std::error::Error;
use std::fmt;

use crate::{BoxError, Outcome};

/// Marks an error as retryable, whatever the error inside is, and whatever the codes of
/// [`retry_on`](super::RetryLayer::retry_on).
///
/// It is found anywhere in the chain of an error. It displays as the error inside.
#[derive(Debug, thiserror::Error)]
pub struct RetryableError(#[source] BoxError);

/// Marks an error as not retryable, whatever the error inside is. It takes precedence over a
/// [`RetryableError`] in the same chain.
///
/// It is found anywhere in the chain of an error. It displays as the error inside.
#[derive(Debug, thiserror::Error)]
pub struct NonRetryableError(#[source] BoxError);

impl RetryableError {
    /// Marks `error` as retryable.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl NonRetryableError {
    /// Marks `error` as not retryable.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

/// The outcome of an attempt that ended in `error`, with the mark of the error, if it has one.
pub(super) fn outcome_of(error: &(dyn Error + 'static)) -> Outcome {
    marked(Outcome::of_error(error), error)
}

/// The outcome with the mark of the error, in place of the provider's own.
pub(super) fn marked(mut outcome: Outcome, error: &(dyn Error + 'static)) -> Outcome {
    if let (Outcome::Failure(failure), Some(should_retry)) = (&mut outcome, retry_marker(error)) {
        let hint = failure.retry_hint.get_or_insert_default();
        (hint.should_retry, hint.is_marked) = (Some(should_retry), true);
    }
    outcome
}

/// The mark of the error: `Some(true)` for retryable, `Some(false)` for not.
fn retry_marker(error: &(dyn Error + 'static)) -> Option<bool> {
    let contains = |contains: fn(&(dyn Error + 'static)) -> bool| tidegate_core::chain(error).any(contains);
    if contains(|error| error.is::<NonRetryableError>()) {
        return Some(false);
    }
    contains(|error| error.is::<RetryableError>()).then_some(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_displays_as_the_error_inside_and_has_it_as_its_source() {
        let marks: [BoxError; 2] =
            [RetryableError::new("reset").into(), NonRetryableError::new("reset").into()];
        for mark in marks {
            assert_eq!((mark.to_string(), format!("{mark:>7}")), ("reset".to_owned(), "  reset".to_owned()));
            assert_eq!(mark.source().map(ToString::to_string).as_deref(), Some("reset"));
        }
    }
}
