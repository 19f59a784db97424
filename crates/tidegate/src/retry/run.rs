//! Retries for functions.
//!
//! The bound is a function that returns futures instead of `AsyncFnMut`: a call of an `AsyncFnMut` cannot be
//! spawned as a task yet, since the compiler cannot prove that its futures are `Send`. An `async` closure
//! that changes nothing it captured satisfies both.

use std::error::Error;
use std::io;
use std::sync::Arc;

use http::Extensions;

use super::RetryLayer;
use super::call::RetryCall;
use super::errors::marked;
use super::policy::RetryDecision;
use super::shared::RetryShared;
use crate::rejected::{deadline_passed, record_rejection, trace_rejection};
use crate::{BoxError, Deadline, Elapsed, ErrorCode, Failure, FailureKind, Outcome, Rejection, Trail, clock};

impl RetryLayer {
    /// Runs `operation` until it succeeds or may not be retried, by the policy, the retry budget and the
    /// statistics of this layer. A function that does not wait is run in an `async` closure.
    ///
    /// An error is classified by the types anywhere in its chain. A
    /// [`NonRetryableError`](super::NonRetryableError) is not retried. Retried are a
    /// [`RetryableError`](super::RetryableError), a timeout or a broken connection of the standard library or
    /// of tokio, and a [`Failure`] with a retryable code. Any other error is not retried, since a function
    /// fails for more reasons than a connection does.
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
    /// let content = retry
    ///     .run(async || match tried.fetch_add(1, Ordering::Relaxed) {
    ///         ..2 => Err(RetryableError::new("the file is locked")),
    ///         _ => Ok("its content"),
    ///     })
    ///     .await?;
    /// assert_eq!(content, "its content");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last error of `operation`, unchanged.
    #[doc(alias("retry_on_failure", "execute_with_retry"))]
    pub async fn run<F, T, E>(&self, operation: impl FnMut() -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.run_with(&Extensions::new(), operation).await
    }

    /// Runs `operation` as [`run`](Self::run) does, for a call with a [`Deadline`], an
    /// [`AttemptBudget`](crate::AttemptBudget) or a [`RetryOverride`](super::RetryOverride) in `extensions`,
    /// as a request has them. Attempts are recorded in its [`Trail`].
    ///
    /// # Errors
    ///
    /// The last error of `operation`, unchanged; [`Elapsed`] if the deadline cut it off; a [`Rejection`] if
    /// the deadline had passed before the first run, or passed before the next one.
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
        // The function itself is retried, so no service is kept.
        let shared = RetryShared::<()>::new(self.handle.clone(), self.gates_below.clone());
        if Deadline::of(&extensions).is_some_and(|deadline| deadline.is_past(began)) {
            let target = shared.handle.0.target();
            return Err(record_rejection(deadline_passed(), target, None, &extensions).into());
        }
        let mut call = RetryCall::new(&mut extensions, Arc::new(shared));
        let deadline = call.deadline_timer.deadline();
        loop {
            let may_follow = call.begin_attempt();
            let result = match deadline {
                None => operation().await.map_err(Into::into),
                Some(deadline) => match tokio::time::timeout_at(deadline.instant().into(), operation()).await
                {
                    Ok(result) => result.map_err(Into::into),
                    Err(_) => Err(Elapsed::of_deadline(deadline, began).into()),
                },
            };
            let (outcome, rejection) = match &result {
                Ok(_) => (Outcome::Success, None),
                Err(error) => {
                    let other = Failure::new(ErrorCode::Unknown).into();
                    (outcome_of_run(&**error, other), Rejection::find(&**error))
                }
            };
            if let Some(trail) = Trail::of(&extensions) {
                trail.attempt(&outcome);
            }
            match call.decide(&outcome, rejection, may_follow, false) {
                RetryDecision::Return => return result,
                RetryDecision::RetryAfter(wait) => {
                    // Dropped before the wait, since it may hold a resource.
                    drop(result);
                    tokio::time::sleep(wait).await;
                    // This future may not have been polled for longer than the wait.
                    if let Some(rejection) = call.deadline_timer.passed(clock::now()) {
                        let rejection = trace_rejection(rejection, self.handle.0.target(), None, &extensions);
                        return Err(call.fail_readiness(rejection.into()).into_boxed());
                    }
                }
            }
        }
    }
}

/// The outcome of a run that ended in `error`, with the mark of the error, if it has one; `other` if no type
/// in its chain is known.
pub(crate) fn outcome_of_run(error: &(dyn Error + 'static), other: Outcome) -> Outcome {
    let outcome = Outcome::of_error(error);
    let may_be_unknown = outcome.failure().is_some_and(|failure| failure.kind == FailureKind::Transport);
    let is_unknown = may_be_unknown && !tidegate_core::chain(error).any(is_classifiable);
    marked(if is_unknown { other } else { outcome }, error)
}

/// Whether [`Outcome::of_error`] can classify this error, which it takes for one of the transport.
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
