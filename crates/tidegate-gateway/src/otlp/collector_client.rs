use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use tidegate::{BoxError, Payload};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::client::ProviderClient;
use crate::log_limit::LogLimit;
use crate::sync::lock;

/// Sends batches of spans to the collector, and logs failures.
///
/// Requests are driven by the thread that sends the batches, so that the exporter needs no time of the
/// runtime of the calls, and can still send its last batch while that is shut down.
#[derive(Debug)]
pub(super) struct CollectorClient {
    client: ProviderClient,
    /// Built by the thread that sends, where it is dropped as well.
    runtime: OnceLock<io::Result<Runtime>>,
    failures: Mutex<LogLimit>,
}

/// Why a batch was not exported. Without the URL, which may contain a secret.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("collector has responded with {0}")]
    Status(u16),
    #[error("collector cannot be reached")]
    Transport,
    #[error("collector has not responded in time")]
    Timeout,
}

/// The time of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response, in bytes. It is empty unless the collector rejects spans.
const MAX_RESPONSE: usize = 64 * 1024;

impl CollectorClient {
    pub(super) fn new(client: ProviderClient) -> Self {
        Self { client, runtime: OnceLock::new(), failures: Mutex::default() }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExportError> {
        let runtime = self.runtime.get_or_init(|| Builder::new_current_thread().enable_all().build());
        let runtime = runtime.as_ref().map_err(|_| ExportError::Transport)?;
        runtime.block_on(async {
            let exchange = timeout(TIMEOUT, exchange(self.client.clone(), request));
            let response = exchange.await.map_err(|_| ExportError::Timeout)?;
            response.map_err(|_| ExportError::Transport)
        })
    }

    fn log(&self, error: &ExportError) {
        let failures = lock(&self.failures).count();
        if let Some(failures) = failures {
            tracing::warn!(layer = "gateway", %error, failures, "spans could not be exported");
        }
    }
}

async fn exchange(client: ProviderClient, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
    let (head, body) = client.oneshot(request.map(Payload::from)).await?.into_parts();
    let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.send(request);
        match &result {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.log(&ExportError::Status(response.status().as_u16())),
            Err(error) => self.log(error),
        }
        Ok(result?)
    }
}
