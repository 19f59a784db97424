use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::{Checks, redacted};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};

use super::{GatewayConfigError, text_file};

/// The table of the certificate in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Tls")]
#[serde(deny_unknown_fields, expecting = "a table with cert and key")]
pub(crate) struct TlsFiles {
    /// The file with the certificate in PEM, followed by those of its issuers.
    cert: String,
    /// The file with the private key in PEM.
    key: String,
}

/// A chain of certificates with its private key, which is never printed.
#[derive(Clone)]
pub(crate) struct TlsCertificate {
    files: Arc<TlsFiles>,
    certified: Arc<CertifiedKey>,
}

impl TlsCertificate {
    /// Reads the certificate in `files`.
    pub(super) fn read(files: TlsFiles) -> Result<Self, GatewayConfigError> {
        let certified = Arc::new(files.read()?);
        Ok(Self { files: Arc::new(files), certified })
    }

    /// Reads the same files once more.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or has no certificate or key, or they do not belong together.
    pub(crate) fn read_again(&self) -> Result<Self, GatewayConfigError> {
        Ok(Self { files: Arc::clone(&self.files), certified: Arc::new(self.files.read()?) })
    }

    /// The paths of its files.
    pub(crate) fn paths(&self) -> [&str; 2] {
        self.files.paths()
    }

    pub(crate) const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl TlsFiles {
    /// The paths of the files.
    pub(super) fn paths(&self) -> [&str; 2] {
        [&self.cert, &self.key]
    }

    fn read(&self) -> Result<CertifiedKey, GatewayConfigError> {
        let read = |setting: &str, path: &str| {
            text_file::read(path)
                .map_err(|problem| invalid(setting, format!("{:?} {problem}", redacted(path))))
        };
        let mut checks = Checks::default();
        let chain = read("cert", &self.cert).and_then(|pem| self.chain(&pem));
        let chain = checks.keep(chain).unwrap_or_default();
        let key = checks.keep(read("key", &self.key).and_then(|pem| self.key(&pem)));
        let (chain, key) = checks.finish((chain, key))?;
        let key = key.ok_or_else(|| self.no_key())?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let [cert, key] = self.paths().map(redacted);
                invalid("key", format!("key in {key:?} is not that of the first certificate in {cert:?}"))
            }
            Error::InvalidCertificate(_) => self.no_certificate(),
            _ => self.no_key(),
        })
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, GatewayConfigError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| self.no_certificate())
    }

    fn key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, GatewayConfigError> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| self.no_key())
    }

    fn no_certificate(&self) -> GatewayConfigError {
        invalid("cert", format!("expected a certificate in PEM in {:?}", redacted(&self.cert)))
    }

    fn no_key(&self) -> GatewayConfigError {
        invalid(
            "key",
            format!("expected a private key in PEM without a password in {:?}", redacted(&self.key)),
        )
    }
}

fn invalid(setting: &str, problem: String) -> GatewayConfigError {
    GatewayConfigError::new(format!("tls.{setting}"), problem)
}

impl fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsCertificate(..)")
    }
}
