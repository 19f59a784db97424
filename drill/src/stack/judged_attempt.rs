//! Attempts that return bad responses as errors, for the layers of tower-resilience that classify only errors.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use tidegate::BoxError;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::{AnswerBody, StackService, peer};

type AttemptResult = Result<Response<AnswerBody>, BoxError>;

/// The result of an attempt, as a success or as a failure. Hedge needs both to be `Sync`, and a failure to be
/// `Clone`.
#[derive(Clone)]
pub(super) struct JudgedResult(Arc<Mutex<Option<AttemptResult>>>);

/// An attempt that succeeds and fails with its result.
pub(super) type JudgedAttempt = BoxCloneSyncService<Request<Bytes>, JudgedResult, JudgedResult>;

impl JudgedResult {
    fn new(result: AttemptResult) -> Self {
        Self(Arc::new(Mutex::new(Some(result))))
    }

    fn take(&self) -> AttemptResult {
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| Err("the result was taken".into()))
    }
}

impl From<BoxError> for JudgedResult {
    fn from(error: BoxError) -> Self {
        Self::new(Err(error))
    }
}

/// Fails with errors, and with the responses that are worth another attempt.
pub(super) fn judged(attempt: StackService) -> JudgedAttempt {
    JudgedAttempt::new(attempt.map_result(|result: AttemptResult| {
        let is_success = result.as_ref().is_ok_and(|response| !peer::is_transient(response));
        let result = JudgedResult::new(result);
        if is_success { Ok(result) } else { Err(result) }
    }))
}

/// The layer around a judged attempt, with the result of the attempt. `failure` is that in an error of the
/// layer.
pub(super) fn unjudged<S, E>(layered: S, failure: fn(E) -> Option<JudgedResult>) -> StackService
where
    S: Service<Request<Bytes>, Response = JudgedResult, Error = E> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    E: Send + 'static,
{
    StackService::new(service_fn(move |request| {
        let call = layered.clone().oneshot(request);
        async move {
            match call.await {
                Ok(result) => result.take(),
                Err(error) => {
                    failure(error).map_or_else(|| Err("no permit is free".into()), |result| result.take())
                }
            }
        }
    }))
}
