//! Connections to providers.

use std::error::Error;
use std::ffi::OsString;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, io};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::TokioIo;
use tidegate::BoxError;
use tidegate::provider::{ConnectError, ErrorBody, chain};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use tower::Service;
use tower::util::MapErr;

use crate::config::{ConnectionSettings, GatewayConfigError};

/// Connects within a time that includes the look-up of the name and the handshake of TLS. A failure of these two
/// is a [`ConnectError`].
#[derive(Clone)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    /// Why there is no connection by https.
    no_https: Option<Arc<str>>,
    timeout: Duration,
}

/// The look-up of the system.
type Resolver = MapErr<GaiResolver, fn(io::Error) -> ConnectError>;

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
                let remedy = remedy_without_certificates(env::var_os("SSL_CERT_FILE"));
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

/// What helps if no certificates are found, with this value of `SSL_CERT_FILE`.
fn remedy_without_certificates(file: Option<OsString>) -> String {
    match file {
        Some(file) => format!("SSL_CERT_FILE is {}, expected a file of certificates in PEM", file.display()),
        None => "install the package ca-certificates, or set SSL_CERT_FILE".to_owned(),
    }
}

fn tcp(settings: &ConnectionSettings) -> HttpConnector<Resolver> {
    let resolver = MapErr::new(GaiResolver::new(), name_not_found as fn(_) -> _);
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    // Networks forget a connection on which nothing is sent, some after 230 s, and an answer may take longer.
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    tcp.set_keepalive_interval(Some(Duration::from_secs(10)));
    tcp.set_keepalive_retries(Some(3));
    tcp
}

fn name_not_found(error: io::Error) -> ConnectError {
    ConnectError::new("name of the host not found", error)
}

/// Names the failure of a handshake.
fn named(error: BoxError) -> BoxError {
    let reason = chain(&*error).find_map(<dyn Error>::downcast_ref).map(handshake_failure);
    match reason {
        Some(reason) => ConnectError::new(reason, error).into(),
        None => error,
    }
}

fn handshake_failure(error: &rustls::Error) -> &'static str {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => "TLS: certificate of an unknown issuer",
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "TLS: certificate of another name"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => "TLS: certificate has expired",
            _ => "TLS: certificate is not accepted",
        },
        rustls::Error::InvalidMessage(_) => "TLS: the server does not use TLS at this port",
        _ => "TLS: handshake failed",
    }
}

/// The text of the error may contain credentials, those of a URL.
fn log_failure(host: &str, error: &(dyn Error + 'static)) {
    let error = ErrorBody::of_error(error);
    tracing::warn!(layer = "gateway", host, error = error.message(), "connection failed");
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
        let host = uri.host().unwrap_or_default().to_owned();
        let connected = timeout(self.timeout, self.inner.call(uri));
        let connected =
            connected.map_err(BoxError::from).and_then(|connected| ready(connected.map_err(named)));
        connected.inspect_err(move |error| log_failure(&host, &**error)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn a_file_of_certificates_that_has_none_is_named() {
        let remedy = remedy_without_certificates(Some("/nowhere/ca.pem".into()));
        assert_eq!(remedy, "SSL_CERT_FILE is /nowhere/ca.pem, expected a file of certificates in PEM");
        assert!(remedy_without_certificates(None).starts_with("install the package"));
    }

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
        assert!(error.contains("no certificates") && error.contains("SSL_CERT_FILE"), "{error}");
        let error =
            Connector::with_verifier(&settings, Some("providers.p.base_url"), missing()).err().unwrap();
        assert!(error.to_string().starts_with("providers.p.base_url: certificates of providers "), "{error}");
    }

    /// Regression: the message of these was "server_error" for each, and the log had no line about them.
    #[tokio::test]
    async fn a_failure_of_the_look_up_or_the_handshake_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = Connector::new(&ConnectionSettings::default(), None).unwrap();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            connection.read_to_end(&mut Vec::new()).await
        });
        let no_tls = connector.clone().oneshot(format!("https://{address}").parse().unwrap()).await;
        let no_name = connector.oneshot(format!("http://{}", "too-long".repeat(8)).parse().unwrap()).await;
        for (connected, reason) in [
            (no_tls, "TLS: the server does not use TLS at this port"),
            (no_name, "name of the host not found"),
        ] {
            let error = connected.err().unwrap();
            let message = format!("no answer from the provider: E3001 server_error, {reason}");
            assert_eq!(ErrorBody::of_error(&*error).message(), message);
        }
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_named() {
        for (certificate, reason) in [
            (CertificateError::UnknownIssuer, "TLS: certificate of an unknown issuer"),
            (CertificateError::NotValidForName, "TLS: certificate of another name"),
            (CertificateError::Expired, "TLS: certificate has expired"),
            (CertificateError::BadEncoding, "TLS: certificate is not accepted"),
        ] {
            let error = named(io::Error::other(rustls::Error::InvalidCertificate(certificate)).into());
            assert_eq!(error.to_string(), reason);
        }
        assert_eq!(named("another".into()).to_string(), "another");
    }

    #[tokio::test]
    async fn a_connection_on_which_an_answer_takes_long_is_kept_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection = tcp(&ConnectionSettings::default()).oneshot(uri).await.unwrap();
        assert!(SockRef::from(connection.inner()).keepalive().unwrap());
    }
}
