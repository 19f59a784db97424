//! A server with TLS: this program, started again with the certificate as a root.

use std::process::{Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tidegate::store::{CircuitChange, CircuitView, OnUnavailable, Settings, SharedStore};
use tidegate_redis::{RedisSettings, RedisStore};
use tidegate_testkit::RedisServer;
use tokio::net::TcpListener;

const URL: &str = "TIDEGATE_TEST_TLS_URL";

#[tokio::test]
async fn a_store_is_used_over_tls_if_the_certificate_is_trusted() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let folder = std::env::temp_dir().join(format!("tidegate-redis-tls-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, pem("CERTIFICATE", cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &signing_key.serialize_der())).unwrap();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut config = redis::cmd("CONFIG");
    config.arg("SET").arg("tls-cert-file").arg(certificate.to_str()).arg("tls-key-file").arg(key.to_str());
    config.arg("tls-ca-cert-file").arg(certificate.to_str()).arg("tls-auth-clients").arg("no");
    config.arg("tls-port").arg(port).exec(&mut connection).unwrap();

    let process = |root: &std::path::Path| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls::a_process_with_a_root", "--ignored", "--nocapture"])
            .env(URL, format!("rediss://127.0.0.1:{port}"))
            .env("SSL_CERT_FILE", root)
            .env_remove("SSL_CERT_DIR")
            .stderr(Stdio::null())
            .output()
            .unwrap()
    };
    let stranger = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = folder.join("other.pem");
    std::fs::write(&other, pem("CERTIFICATE", stranger.cert.der())).unwrap();
    let (trusted, untrusted) = (process(&certificate), process(&other));
    std::fs::remove_dir_all(&folder).unwrap();
    let shown = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(trusted.status.success() && shown(&trusted).contains("1 passed"), "{}", shown(&trusted));
    assert!(!untrusted.status.success(), "a certificate that is not trusted was accepted");
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

#[tokio::test]
#[ignore = "started by the test above as a process of its own, also in `.ci/run`"]
async fn a_process_with_a_root() {
    let Ok(url) = std::env::var(URL) else { return };
    let store = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let store = RedisStore::with_settings(RedisSettings { store, ..RedisSettings::new(&url) }).await.unwrap();
    let view = store.circuit("circuit:a", CircuitChange::Close).await.unwrap();
    assert_eq!(view, CircuitView::Closed);
}
