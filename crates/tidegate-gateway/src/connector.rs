//! Connections to providers.

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tidegate::BoxError;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tower::Service;

use crate::config::{ConnectionSettings, GatewayConfigError};

/// Connects within a time that includes the look-up of the name and the handshake of TLS.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    /// Why there is no connection by https.
    no_https: Option<Arc<str>>,
    timeout: Duration,
}

impl Connector {
    /// `https` is the key of a setting with an address by https. Without one, a system without the
    /// certificates of authorities, with which those of servers are checked, has connections by http.
    ///
    /// # Errors
    ///
    /// There is one, and the system has no such certificates.
    pub(crate) fn new(
        settings: &ConnectionSettings,
        https: Option<&str>,
    ) -> Result<Self, GatewayConfigError> {
        Self::with_verifier(settings, https, HttpsConnectorBuilder::new().try_with_platform_verifier())
    }

    fn with_verifier(
        settings: &ConnectionSettings,
        https: Option<&str>,
        verifier: Result<HttpsConnectorBuilder<WantsSchemes>, rustls::Error>,
    ) -> Result<Self, GatewayConfigError> {
        let (connector, no_https) = match verifier {
            Ok(connector) => (connector, None),
            Err(error) => {
                let remedy = "install the package ca-certificates, or set SSL_CERT_FILE";
                let problem = format!("certificates of providers cannot be checked: {error}; {remedy}");
                if let Some(setting) = https {
                    return Err(GatewayConfigError::new(setting, problem));
                }
                let none = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
                let connector = HttpsConnectorBuilder::new().with_tls_config(none.with_no_client_auth());
                (connector, Some(problem.into()))
            }
        };
        let inner = connector.https_or_http().enable_all_versions().wrap_connector(tcp(settings));
        Ok(Self { inner, no_https, timeout: settings.connect_timeout })
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
        if uri.scheme() == Some(&Scheme::HTTPS)
            && let Some(problem) = &self.no_https
        {
            return ready(Err(BoxError::from(&**problem))).boxed();
        }
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
        let connected = Connector::new(&settings, None).unwrap().oneshot(uri).await;
        assert!(connected.is_err());
        let elapsed = begun.elapsed();
        assert!(elapsed < settings.connect_timeout + Duration::from_secs(1), "{elapsed:?}");
    }

    /// Regression: a gateway whose providers are all `http://` did not start in a container without certificates.
    #[tokio::test]
    async fn without_certificates_of_authorities_there_are_connections_by_http_alone() {
        let missing = || Err(rustls::Error::General("no certificates".to_owned()));
        let settings = ConnectionSettings::default();
        let connector = Connector::with_verifier(&settings, None, missing()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = |scheme: &str| format!("{scheme}://{}", listener.local_addr().unwrap()).parse().unwrap();
        assert!(connector.clone().oneshot(uri("http")).await.is_ok());
        let error = connector.oneshot(uri("HTTPS")).await.err().unwrap().to_string();
        assert!(error.contains("no certificates") && error.contains("set SSL_CERT_FILE"), "{error}");
        let error =
            Connector::with_verifier(&settings, Some("providers.p.base_url"), missing()).err().unwrap();
        assert!(error.to_string().starts_with("providers.p.base_url: certificates of providers "), "{error}");
    }

    #[tokio::test]
    async fn a_connection_on_which_an_answer_takes_long_is_kept_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection = tcp(&ConnectionSettings::default()).oneshot(uri).await.unwrap();
        assert!(SockRef::from(connection.inner()).keepalive().unwrap());
    }
}
