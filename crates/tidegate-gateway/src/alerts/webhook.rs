use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use serde::Serialize;
use tidegate::alerts::Alert;
use tidegate::provider::HttpService;
use tidegate::{BoxError, Payload};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::config::WebhookAddress;

/// Posts alerts as JSON.
#[derive(Debug)]
pub(super) struct Webhook<S> {
    address: WebhookAddress,
    client: S,
}

/// Why an alert was not posted. Without the URL, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PostError {
    #[error("webhook has responded with {}", .0.as_u16())]
    Status(StatusCode),
    #[error("webhook cannot be reached")]
    Transport,
    #[error("webhook has not responded in time")]
    Timeout,
}

/// The alert, with its text in the field that chat programs show.
#[derive(Serialize)]
struct WebhookBody<'a> {
    text: String,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// The time of one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The waits before the second and each further attempt.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

impl<S> Webhook<S>
where
    S: HttpService<Payload> + Clone,
    S::Error: Into<BoxError>,
{
    pub(super) const fn new(address: WebhookAddress, client: S) -> Self {
        Self { address, client }
    }

    /// Posts an alert, and again after a failure that may pass.
    pub(super) async fn post(&self, alert: &Alert) -> Result<(), PostError> {
        let mut result = self.post_once(alert).await;
        for wait in WAITS {
            match result {
                Err(error) if error.may_pass() => {}
                _ => return result,
            }
            sleep(wait).await;
            result = self.post_once(alert).await;
        }
        result
    }

    /// Posts an alert once.
    pub(super) async fn post_once(&self, alert: &Alert) -> Result<(), PostError> {
        let response = timeout(TIMEOUT, self.client.clone().oneshot(self.request(alert)));
        let response = response.await.map_err(|_| PostError::Timeout)?.map_err(|_| PostError::Transport)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(PostError::Status(status)),
        }
    }

    fn request(&self, alert: &Alert) -> Request<Payload> {
        let body = serde_json::to_vec(&WebhookBody { text: alert.to_string(), alert }).unwrap_or_default();
        let mut request = Request::new(Payload::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.address.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.address.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        request
    }
}

impl PostError {
    /// Whether another attempt may succeed.
    fn may_pass(self) -> bool {
        match self {
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Transport | Self::Timeout => true,
        }
    }
}

#[cfg(test)]
mod tests;
