//! Connections to providers.

use std::future::ready;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tidegate::BoxError;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use crate::config::{ConnectionSettings, GatewayConfigError};

/// Connects within a time that includes the look-up of the name and the handshake of TLS.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Connector {
    /// # Errors
    ///
    /// The system has no certificates of authorities, with which those of providers are checked.
    pub(crate) fn new(settings: &ConnectionSettings) -> Result<Self, GatewayConfigError> {
        let https = HttpsConnectorBuilder::new().try_with_platform_verifier().map_err(|error| {
            let remedy = "install the package ca-certificates, or set SSL_CERT_FILE";
            GatewayConfigError::new(
                "",
                format!("certificates of providers cannot be checked: {error}; {remedy}"),
            )
        })?;
        let inner = https.https_or_http().enable_all_versions().wrap_connector(tcp(settings));
        Ok(Self { inner, timeout: settings.connect_timeout })
    }
}

fn tcp(settings: &ConnectionSettings) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    // Networks forget a connection on which nothing is sent, some after 230 s, and an answer may take longer.
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    tcp.set_keepalive_interval(Some(Duration::from_secs(10)));
    tcp.set_keepalive_retries(Some(3));
    tcp
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    // Boxed, once for each connection.
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = timeout(self.timeout, self.inner.call(uri));
        connected.map_err(BoxError::from).and_then(ready).boxed()
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    /// Regression: only the connection of TCP was bounded, so that a call took as long as its attempt may.
    #[tokio::test(start_paused = true)]
    async fn the_handshake_is_part_of_the_time_to_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let (begun, settings) = (Instant::now(), ConnectionSettings::default());
        let connected = Connector::new(&settings).unwrap().oneshot(uri).await;
        assert!(connected.is_err());
        let elapsed = begun.elapsed();
        assert!(elapsed < settings.connect_timeout + Duration::from_secs(1), "{elapsed:?}");
    }

    #[tokio::test]
    async fn a_connection_on_which_an_answer_takes_long_is_kept_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection = tcp(&ConnectionSettings::default()).oneshot(uri).await.unwrap();
        assert!(SockRef::from(connection.inner()).keepalive().unwrap());
    }
}
