use std::borrow::Borrow;
use std::future::Future;

use http::{Extensions, Method, Request};
use http_body_util::BodyExt;
use tower_layer::Layer;

use super::operation::{LastResult, Operation, OperationClassifier};
use crate::retry::outcome_of_run;
use crate::settings::ConfigError;
use crate::stack::ResilienceLayer;
use crate::{BoxError, Error, Outcome, Payload, ResilienceBuilder, ResilienceConfig, Signals};

/// Runs functions through the gates of one configuration; see the [module page](crate::executor).
///
/// Clones share their state.
#[doc(alias = "ResilientExecutor")]
#[derive(Clone, Debug)]
pub struct Executor {
    stack: ResilienceLayer,
}

/// A function failed, and so did its fallback.
#[doc(alias = "FallbackFailedException")]
#[derive(Debug, thiserror::Error)]
#[error("the fallback failed: {fallback}; the call had failed: {call}")]
pub struct FallbackFailed {
    /// The error of the call.
    pub call: BoxError,
    /// The error of the fallback.
    #[source]
    pub fallback: BoxError,
}

impl Executor {
    /// An executor with this configuration. Its settings of fallbacks and hedges, and its quotas of tokens,
    /// have no effect.
    ///
    /// # Errors
    ///
    /// A number is out of its range; the message names the setting.
    pub fn new(config: impl Borrow<ResilienceConfig>) -> Result<Self, ConfigError> {
        Self::named("", config)
    }

    /// An executor with this configuration, and a name for events and signals.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn named(name: &str, config: impl Borrow<ResilienceConfig>) -> Result<Self, ConfigError> {
        Ok(Self::of(ResilienceBuilder::from_config(config.borrow())?.name(name)))
    }

    /// An executor with the parts of this builder. Its fallbacks and hedges have no effect: a function has
    /// one target, and may not be safe to run twice at once.
    #[must_use]
    pub fn of(builder: ResilienceBuilder) -> Self {
        Self { stack: builder.classify(OperationClassifier).without_other_targets().build() }
    }

    /// The state of the gates.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.stack.signals()
    }

    /// Runs `operation`, as often as the retries allow.
    ///
    /// # Errors
    ///
    /// The last error of `operation`, unchanged; [`Elapsed`](crate::provider::Elapsed) if a timeout ended it;
    /// a [`Rejection`](crate::Rejection) if a gate rejected it.
    pub async fn run<O, F, T, E>(&self, operation: O) -> Result<T, BoxError>
    where
        O: Fn() -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.run_classified(Extensions::new(), outcome_of, operation).await
    }

    /// Runs `operation`, and `fallback` if it fails or is rejected.
    ///
    /// # Errors
    ///
    /// [`FallbackFailed`], with both errors.
    #[doc(alias = "execute_fallback")]
    pub async fn run_with<O, F, T, E, G, H>(
        &self,
        operation: O,
        fallback: impl FnOnce() -> G,
    ) -> Result<T, FallbackFailed>
    where
        O: Fn() -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
        G: Future<Output = Result<T, H>>,
        H: Into<BoxError>,
    {
        match self.run(operation).await {
            Ok(result) => Ok(result),
            Err(call) => match fallback().await {
                Ok(result) => Ok(result),
                Err(error) => Err(FallbackFailed { call, fallback: error.into() }),
            },
        }
    }

    /// Runs `operation` for a call with these extensions: its [`Deadline`](crate::Deadline),
    /// [`RetryOverride`](crate::retry::RetryOverride), [`Tenant`](crate::Tenant) or [`Trail`](crate::Trail),
    /// as a request has them. `classify` decides what a result means; a result that is not a success may be
    /// retried, and counts as its code does.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_classified<O, C, F, T, E>(
        &self,
        extensions: Extensions,
        classify: C,
        operation: O,
    ) -> Result<T, BoxError>
    where
        O: Fn() -> F,
        C: Fn(&Result<T, BoxError>) -> Outcome,
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        let last = LastResult::new();
        let mut request = Request::new(Payload::empty());
        // Nothing is expected of the response to a GET.
        *request.method_mut() = Method::GET;
        *request.extensions_mut() = extensions;
        let stack = self.stack.layer(Operation::new(&operation, &classify, &last));
        let response = stack.send(request).await.map_err(Error::into_boxed)?;
        // The gates count a call at the end of its body.
        let _ = response.into_body().collect().await;
        last.take().expect("every response is made from a result")
    }
}

fn outcome_of<T>(result: &Result<T, BoxError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(error) => outcome_of_run(&**error, Outcome::of_error(&**error)),
    }
}
