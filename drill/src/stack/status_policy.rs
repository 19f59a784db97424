//! A policy for tower's `Retry`, as one would write it by hand.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use tidegate::BoxError;
use tower::retry::Policy;

use super::peer::{self, CircuitOpen, LimitReached};
use super::{AnswerBody, Settings};

/// Retries errors, 408, 429 and 5xx, with exponential back-off and full jitter, or after the time of
/// `Retry-After`.
#[derive(Clone, Debug)]
pub(super) struct StatusPolicy {
    settings: Settings,
    retries: u32,
}

impl StatusPolicy {
    pub(super) const fn new(settings: Settings) -> Self {
        Self { settings, retries: 0 }
    }

    /// The wait before the next attempt; `None` if there is none.
    fn wait(&self, result: &Result<Response<AnswerBody>, BoxError>) -> Option<Duration> {
        if self.retries + 1 >= self.settings.attempts {
            return None;
        }
        let reported = match result {
            Ok(response) if !peer::is_transient(response) => return None,
            Ok(response) => retry_after(response),
            Err(error) if error.is::<LimitReached>() => return None,
            // With another provider, the call goes there. Without one, retries serve more calls.
            Err(error) if error.is::<CircuitOpen>() && !self.settings.reserve.is_zero() => return None,
            Err(_) => None,
        };
        match reported {
            Some(wait) => (wait <= self.settings.max_delay).then(|| jittered(wait)),
            None => Some(backoff(&self.settings, self.retries)),
        }
    }
}

/// Exponential back-off with full jitter.
pub(super) fn backoff(settings: &Settings, retry: u32) -> Duration {
    let longest = settings.initial_delay.saturating_mul(1 << retry.min(16)).min(settings.max_delay);
    longest.mul_f64(fastrand::f64())
}

/// A reported wait and up to a tenth more, as in tidegate: callers that got the same one do not come back at
/// once.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + fastrand::f64() / 10.0)
}

/// The wait that a response reports.
pub(super) fn retry_after(response: &Response<AnswerBody>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}

impl Policy<Request<Bytes>, Response<AnswerBody>, BoxError> for StatusPolicy {
    type Future = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

    fn retry(
        &mut self,
        _: &mut Request<Bytes>,
        result: &mut Result<Response<AnswerBody>, BoxError>,
    ) -> Option<Self::Future> {
        let wait = self.wait(result)?;
        self.retries += 1;
        Some(Box::pin(tokio::time::sleep(wait)))
    }

    fn clone_request(&mut self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        Some(request.clone())
    }
}
