//! TLS towards callers.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::config::{GatewayConfigError, TlsCertificate};
use crate::http_version::HttpVersion;

/// Accepts TLS connections. Clones share the certificate.
#[derive(Clone)]
pub(crate) struct ServerTls {
    acceptor: TlsAcceptor,
    current: Arc<CurrentCertificate>,
}

/// The certificate of new connections.
#[derive(Debug)]
struct CurrentCertificate(RwLock<TlsCertificate>);

/// The protocols that are offered to callers, in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

impl ServerTls {
    /// Accepts connections with `certificate`.
    ///
    /// # Errors
    ///
    /// The crypto provider supports no version of TLS.
    pub(crate) fn new(certificate: TlsCertificate) -> Result<Self, rustls::Error> {
        let current = Arc::new(CurrentCertificate(RwLock::new(certificate)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { acceptor: Arc::new(config).into(), current })
    }

    /// Reads the files of the certificate once more. New connections get what they contain, open ones are not
    /// affected.
    ///
    /// # Errors
    ///
    /// The files are not valid. The old certificate stays in use.
    pub(crate) fn reload(&self) -> Result<(), GatewayConfigError> {
        let certificate = self.current.get().read_again()?;
        self.replace(certificate);
        Ok(())
    }

    /// Uses `certificate` for new connections.
    pub(crate) fn replace(&self, certificate: TlsCertificate) {
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    /// Begins the handshake with a caller.
    pub(super) fn accept<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T) -> Accept<T> {
        self.acceptor.accept(stream)
    }
}

impl CurrentCertificate {
    fn get(&self) -> TlsCertificate {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.get().certified()))
    }
}

/// The version of HTTP on which both sides have agreed; HTTP/1.1 if the caller has offered none.
pub(super) fn agreed_version<T>(stream: &TlsStream<T>) -> HttpVersion {
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP2) => HttpVersion::Http2,
        _ => HttpVersion::Http1,
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(..)")
    }
}
