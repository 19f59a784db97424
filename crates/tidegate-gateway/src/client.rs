//! The HTTP client for all providers. It sends requests and does nothing else: no redirects, which would send an API key
//! to another host; no proxy from the environment, since the configuration determines the hosts; no retries, since the
//! layers count attempts.

use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidegate::Payload;
use tidegate::reconnect::Reconnect;
use tower_http::decompression::Decompression;
use tower_http::set_header::SetRequestHeader;

use crate::config::{ConnectionSettings, GatewayConfigError};

/// A client that sends a request again if the provider did not process it. It requests responses without
/// compression, and unpacks those that are compressed anyway.
pub(crate) type ProviderClient = SetRequestHeader<Decompression<Reconnect<PooledClient>>, HeaderValue>;

type PooledClient = Client<HttpsConnector<HttpConnector>, Payload>;

/// Builds the client.
pub(crate) fn client(settings: &ConnectionSettings) -> Result<ProviderClient, GatewayConfigError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    let connector = HttpsConnectorBuilder::new()
        .try_with_platform_verifier()
        .map_err(|_| GatewayConfigError::new("", "no TLS can be had for talking to providers"))?
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    let mut pooled = Client::builder(TokioExecutor::new());
    pooled
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(settings.ping_interval)
        .http2_keep_alive_timeout(settings.ping_timeout)
        .http2_keep_alive_while_idle(true);
    let mut fresh = pooled.clone();
    fresh.pool_max_idle_per_host(0);
    let client = Reconnect::new(pooled.build(connector.clone()), fresh.build(connector));
    let identity = HeaderValue::from_static("identity");
    Ok(SetRequestHeader::if_not_present(Decompression::new(client), ACCEPT_ENCODING, identity))
}
