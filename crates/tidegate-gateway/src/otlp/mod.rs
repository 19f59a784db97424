//! The export of traces by OTLP over HTTP: a span for each call, and below it one for each of its attempts.
//!
//! ```text
//! call ends ─▶ queue, bounded ─▶ batches, on a thread of their own ─▶ collector
//! ```
//!
//! No call waits for any of it. Spans that do not fit in the queue are lost.

mod attempt_end;
mod attempt_span;
mod call_spans;
mod collector_client;

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::HeaderMap;
use http::uri::Scheme;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use self::call_spans::CallSpans;
use self::collector_client::CollectorClient;
use crate::call_trace::{CallTrace, CallTracer};
use crate::client::client;
use crate::config::{ConnectionSettings, GatewayConfigError, OtlpSettings};

/// Exports a span for each call.
pub(crate) struct OtlpTracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The name of the service, unless the environment has another.
const SERVICE: &str = "tidegate-gateway";

/// The longest wait for the last spans to be sent.
const FLUSH_TIME: Duration = Duration::from_secs(5);

impl OtlpTracer {
    /// Starts an exporter to the collector of `settings`. The queue, the sampler, the resource and the
    /// headers are those of the standard variables of the environment.
    pub(crate) fn start(settings: &OtlpSettings) -> Result<Self, GatewayConfigError> {
        let https = (settings.endpoint.scheme() == Some(&Scheme::HTTPS)).then_some("otlp.endpoint");
        let client = CollectorClient::new(client(&ConnectionSettings::default(), https)?);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.to_string())
            .build()
            .map_err(|error| GatewayConfigError::new("otlp", error.to_string()))?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        let tracer = provider.tracer("tidegate");
        Ok(Self { provider, tracer })
    }
}

impl CallTracer for OtlpTracer {
    fn begin(&self, path: &'static str, headers: &HeaderMap) -> Arc<dyn CallTrace> {
        Arc::new(CallSpans::begin(&self.tracer, path, headers))
    }

    fn shutdown(&self) {
        if self.provider.shutdown_with_timeout(FLUSH_TIME).is_err() {
            tracing::warn!(layer = "gateway", "the last spans may be lost");
        }
    }
}

/// A gateway that is dropped waits for nothing: another thread sends its last spans.
impl Drop for OtlpTracer {
    fn drop(&mut self) {
        let provider = self.provider.clone();
        let shutdown = move || drop(provider.shutdown_with_timeout(FLUSH_TIME));
        // Without a thread they are lost.
        drop(thread::Builder::new().spawn(shutdown));
    }
}

impl fmt::Debug for OtlpTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpTracer").finish_non_exhaustive()
    }
}

/// What the spans are about, by the environment.
fn resource() -> Resource {
    let name = Key::from_static_str("service.name");
    let resource = Resource::builder().build();
    let is_default = |name: Value| name.as_str().starts_with("unknown_service");
    if resource.get(&name).is_none_or(is_default) {
        Resource::builder().with_service_name(SERVICE).build()
    } else {
        resource
    }
}
