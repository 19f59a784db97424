//! Retries for what is not a service.
//!
//! The bound is a function that makes futures and not `AsyncFnMut`, whose futures a task cannot be made of yet: the
//! compiler does not see that they are `Send`. An `async` closure that changes nothing it captured is both.

use std::error::Error;
use std::io;
use std::sync::Arc;

use http::Extensions;

use super::RetryLayer;
use super::call::RetryCall;
use super::shared::RetryShared;
use super::errors::{with_should_retry, retry_marker};
use super::policy::RetryDecision;
use crate::{
    BoxError, Clock, Deadline, Elapsed, ErrorCode, Failure, FailureKind, Gate, Outcome, Rejection, Trail,
    clock,
};

impl RetryLayer {
    /// Runs `operation` until it succeeds, or is not worth running again: any function, by the policy, the budget
    /// and the statistics of this layer. What does not wait is run the same way, in an `async` closure.
    ///
    /// Errors are judged by what they are, anywhere in their chain: a [`NonRetryableError`](super::NonRetryableError)
    /// is not retried, and otherwise a [`RetryableError`](super::RetryableError) is; so is a time-out or a broken
    /// connection of the standard library or of tokio, and a [`Failure`] whose code may be. An error of which nothing
    /// is known is not: a function fails for more reasons than a connection does.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use tidegate::RetryLayer;
    /// use tidegate::retry::RetryableError;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), tidegate::BoxError> {
    /// let retry = RetryLayer::exponential().max_retries(3);
    /// let tried = AtomicU32::new(0);
    /// let answer = retry
    ///     .run(async || match tried.fetch_add(1, Ordering::Relaxed) {
    ///         ..2 => Err(RetryableError::new("the file is locked")),
    ///         _ => Ok("its content"),
    ///     })
    ///     .await?;
    /// assert_eq!(answer, "its content");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last error of `operation`, as it came.
    pub async fn run<F, T, E>(&self, operation: impl FnMut() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.run_with(&Extensions::new(), operation).await
    }

    /// The same for a call that brings a [`Deadline`], an [`AttemptBudget`](crate::AttemptBudget) or a
    /// [`RetryOverride`](super::RetryOverride), as a request would in its extensions. Its [`Trail`] is written to.
    ///
    /// # Errors
    ///
    /// The last error of `operation`, as it came; [`Elapsed`] when the deadline cut it off, and a [`Rejection`] when
    /// the deadline had passed before it could begin.
    pub async fn run_with<F, T, E>(
        &self,
        extensions: &Extensions,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        let mut extensions = extensions.clone();
        let began = clock::now();
        if Deadline::of(&extensions).is_some_and(|deadline| deadline.is_past(began)) {
            return Err(Rejection::new(Gate::Deadline, ErrorCode::Timeout).into());
        }
        // What is asked again is the function: there is no service.
        let shared = RetryShared::<()>::new(self.share(), self.gates_below.clone());
        let mut call = RetryCall::new(&mut extensions, Arc::new(shared));
        let deadline = call.deadline_timer.deadline();
        loop {
            let can_follow = call.begin_attempt();
            let result = match deadline {
                None => operation().await.map_err(Into::into),
                Some(deadline) => match tokio::time::timeout_at(deadline.instant().into(), operation()).await
                {
                    Ok(result) => result.map_err(Into::into),
                    Err(_) => Err(Elapsed::new(Clock::Deadline, deadline.remaining(began)).into()),
                },
            };
            let (outcome, rejection) = match &result {
                Ok(_) => (Outcome::Success, None),
                Err(error) => (outcome_of(&**error), Rejection::find(&**error)),
            };
            if let Some(trail) = Trail::of(&extensions) {
                trail.attempt(&outcome);
            }
            match call.decide(&outcome, rejection, can_follow, None) {
                RetryDecision::Return => return result,
                RetryDecision::RetryAfter(wait) => {
                    // Now, and not after the wait: it may hold something.
                    drop(result);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// What a function came to that ended in `error`.
fn outcome_of(error: &(dyn Error + 'static)) -> Outcome {
    let outcome = if tidegate_core::chain(error).any(is_classifiable) {
        Outcome::of_error(error)
    } else if tidegate_core::chain(error).any(|error| error.is::<tokio::time::error::Elapsed>()) {
        Failure { cause: FailureKind::Timeout, ..Failure::new(ErrorCode::Timeout) }.into()
    } else {
        Failure::new(ErrorCode::Unknown).into()
    };
    match (outcome, retry_marker(error)) {
        (Outcome::Failure(failure), Some(should_retry)) => with_should_retry(failure, should_retry).into(),
        (outcome, _) => outcome,
    }
}

fn is_classifiable(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    let is_transport = |error: &io::Error| {
        matches!(
            error.kind(),
            Kind::TimedOut
                | Kind::ConnectionRefused
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::NotConnected
                | Kind::BrokenPipe
                | Kind::UnexpectedEof
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
        )
    };
    error.is::<Rejection>()
        || error.is::<Failure>()
        || error.is::<Elapsed>()
        || error.downcast_ref().is_some_and(is_transport)
}
