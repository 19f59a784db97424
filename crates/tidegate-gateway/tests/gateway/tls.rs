//! TLS towards callers: the certificate, HTTP/2, callers that begin no handshake or leave.
#![cfg(unix)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{self, *};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use reqwest::Certificate;
use tidegate_gateway::{Config, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;
const BOUND: Duration = Duration::from_secs(30);

/// A certificate for `localhost` in files that are removed when it is dropped.
struct CertificateFiles {
    cert: PathBuf,
    key: PathBuf,
    der: CertificateDer<'static>,
}

impl CertificateFiles {
    fn new(name: &str) -> Self {
        let path = |kind| std::env::temp_dir().join(format!("tidegate-{}-{name}.{kind}", std::process::id()));
        let mut files = Self { cert: path("cert"), key: path("key"), der: Vec::new().into() };
        files.renew();
        files
    }

    /// Replaces the certificate by another one.
    fn renew(&mut self) {
        let CertifiedKey { cert, signing_key } = generate(["localhost", "127.0.0.1"]);
        std::fs::write(&self.cert, pem("CERTIFICATE", cert.der())).unwrap();
        std::fs::write(&self.key, pem("PRIVATE KEY", &signing_key.serialize_der())).unwrap();
        self.der = cert.der().clone();
    }

    /// The configuration line.
    fn setting(&self) -> String {
        format!("tls = {{ cert = {:?}, key = {:?} }}\n", self.cert, self.key)
    }

    /// A client that trusts this certificate alone.
    fn client(&self) -> reqwest::Client {
        let certificate = Certificate::from_der(&self.der).unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).tls_certs_only([certificate]);
        client.build().unwrap()
    }
}

impl Drop for CertificateFiles {
    fn drop(&mut self) {
        for path in [&self.cert, &self.key] {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn generate(names: [&str; 2]) -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(names.map(str::to_owned)).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

async fn provider(reply: Reply) -> (Server, String) {
    let server = Provider::openai().otherwise(reply).start().await.unwrap();
    let file = openai("p", &server.base_url()) + &route("*", &["p/m"]);
    (server, file)
}

/// A connection of a caller, after the handshake. It offers no version of HTTP.
async fn connect(gateway: &RunningGateway, files: &CertificateFiles) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(files.der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(gateway.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

/// Reads until the connection ends, or fails after [`BOUND`].
async fn read_to_end(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = timeout(BOUND, stream.read_to_end(&mut read)).await.expect("an end");
    read
}

#[tokio::test]
async fn calls_are_served_over_both_versions_of_http() {
    let files = CertificateFiles::new("versions");
    let (_server, file) = provider(Reply::ok().tokens(20)).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    assert_eq!(gateway.url(), format!("https://{}", gateway.addr()));
    let http1 = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .timeout(BOUND)
        .tls_certs_only([Certificate::from_der(&files.der).unwrap()])
        .build()
        .unwrap();
    let stream = REQUEST.replacen('{', "{\"stream\":true,", 1);
    for (client, version) in [(files.client(), http::Version::HTTP_2), (http1, http::Version::HTTP_11)] {
        for (body, end) in [(REQUEST, "}"), (&stream, "[DONE]")] {
            let url = format!("{}/v1/chat/completions", gateway.url());
            let request = client.post(url).header("content-type", "application/json").body(body.to_owned());
            let response = request.send().await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, version));
            let text = response.text().await.unwrap();
            assert!(text.trim_end().ends_with(end), "{text}");
        }
    }
    // A client that does not trust the certificate.
    assert!(client().get(gateway.url() + "/healthz").send().await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections() {
    let mut files = CertificateFiles::new("renewed");
    let (_server, file) = provider(Reply::ok()).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    let health = gateway.url() + "/healthz";
    let old = files.client();
    assert_eq!(old.get(&health).send().await.unwrap().status(), 200);
    files.renew();
    gateway.reload_certificate().unwrap();
    assert_eq!(files.client().get(&health).send().await.unwrap().status(), 200);
    // On the open connection.
    assert_eq!(old.get(&health).send().await.unwrap().status(), 200);

    std::fs::write(&files.cert, "none").unwrap();
    let error = gateway.reload_certificate().unwrap_err().to_string();
    assert!(error.starts_with("tls.cert: expected a certificate in PEM in "), "{error}");
    assert_eq!(files.client().get(&health).send().await.unwrap().status(), 200);

    // With a reload of the whole configuration, and kept if that has none.
    files.renew();
    for file in [files.setting() + &file, file] {
        gateway.reload(Config::parse(&file, env).unwrap()).unwrap();
        assert_eq!(files.client().get(&health).send().await.unwrap().status(), 200, "{file}");
    }
}

#[test]
fn the_files_are_checked_and_the_key_is_not_printed() {
    let (files, other) = (CertificateFiles::new("checked"), CertificateFiles::new("other"));
    let garbled = CertificateFiles::new("garbled");
    let label = |label| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    std::fs::write(&garbled.cert, label("CERTIFICATE")).unwrap();
    std::fs::write(&garbled.key, label("PRIVATE KEY")).unwrap();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let parse = |cert: &str, key: &str| {
        let file = openai("p", "http://127.0.0.1:1/v1")
            + &format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n")
            + &route("*", &["p/m"]);
        Config::parse(&file, env).map_err(|error| error.to_string())
    };
    let (cert, key) = (path(&files.cert), path(&files.key));
    let config = parse(&cert, &key).unwrap();
    assert!(format!("{config:?}").contains("TlsCertificate(..)"));
    for (cert, key, messages) in [
        (
            "/nowhere/c",
            "/nowhere/k",
            &[
                "line 3, column 8: tls.cert: \"/nowhere/c\" cannot be read: ",
                "tls.key: \"/nowhere/k\" cannot",
            ][..],
        ),
        (&*key, &*key, &["tls.cert: expected a certificate in PEM in \""]),
        (
            &*cert,
            &*cert,
            &["line 4, column 7: tls.key: expected a private key in PEM without a password in \""],
        ),
        (&*cert, &*path(&other.key), &["tls.key: key in \"", "is not that of the first certificate in \""]),
        (&*path(&garbled.cert), &*key, &["tls.cert: expected a certificate in PEM in \""]),
        (&*cert, &*path(&garbled.key), &["tls.key: expected a private key in PEM without a password in \""]),
        (
            "/dev/null",
            "/dev/null",
            &["tls.cert: \"/dev/null\" cannot be read: expected a file", "tls.key: \"/dev/null\" cannot"],
        ),
    ] {
        let error = parse(cert, key).unwrap_err();
        assert!(messages.iter().all(|message| error.contains(message)), "{cert} {key}: {error}");
    }
}

/// Peers that begin no handshake, or half of one, take no place for long.
#[tokio::test]
async fn a_handshake_that_does_not_end_makes_room_for_others() {
    let files = CertificateFiles::new("room");
    let (_server, file) = provider(Reply::ok()).await;
    let gateway = gateway(&("max_connections = 4\n".to_owned() + &files.setting() + &file)).await;
    let mut silent = Vec::new();
    for part in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].into_iter().cycle().take(12) {
        let mut socket = TcpStream::connect(gateway.addr()).await.unwrap();
        socket.write_all(part).await.unwrap();
        silent.push(socket);
    }
    let started = Instant::now();
    assert_eq!(files.client().get(gateway.url() + "/healthz").send().await.unwrap().status(), 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let files = CertificateFiles::new("slow");
    let (_server, file) = provider(Reply::ok()).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    let started = Instant::now();
    let mut socket = TcpStream::connect(gateway.addr()).await.unwrap();
    socket.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    read_to_end(socket).await;
    assert!((5..20).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// Regression: it was closed after the time of a handshake or of a head, which load balancers exceed.
#[tokio::test]
async fn a_connection_on_which_nothing_has_arrived_is_idle() {
    let files = CertificateFiles::new("idle");
    let (_server, file) = provider(Reply::ok()).await;
    for tls in [String::new(), files.setting()] {
        let gateway = gateway(&("idle_timeout = \"2s\"\n".to_owned() + &tls + &file)).await;
        let started = Instant::now();
        read_to_end(TcpStream::connect(gateway.addr()).await.unwrap()).await;
        assert!((2..8).contains(&started.elapsed().as_secs()), "{tls} {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn connections_without_a_request_do_not_delay_the_stop() {
    let files = CertificateFiles::new("stop");
    let (_server, file) = provider(Reply::ok()).await;
    let gateway = gateway(&("drain = \"60s\"\n".to_owned() + &files.setting() + &file)).await;
    let mut handshake = TcpStream::connect(gateway.addr()).await.unwrap();
    handshake.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let silent = connect(&gateway, &files).await;
    let mut half = connect(&gateway, &files).await;
    half.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    half.flush().await.unwrap();
    assert_eq!(files.client().get(gateway.url() + "/healthz").send().await.unwrap().status(), 200);
    let started = Instant::now();
    assert_eq!(gateway.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop((handshake, silent, half));
}

#[tokio::test]
async fn a_certificate_that_the_file_names_no_more_is_still_renewed() {
    let log = log_of_a_renewal("unnamed", "ok", |_, file| file.to_owned()).await;
    assert!(log.contains("changed by a restart only") && log.contains("tls"), "{log}");
}

/// Regression: the certificate expired, because the file had a mistake that changed nothing.
#[tokio::test]
async fn a_certificate_is_renewed_while_the_file_has_mistakes() {
    log_of_a_renewal("syntax", "error", |tls, file| format!("{tls}{file}[")).await;
    log_of_a_renewal("mistake", "error", |tls, file| format!("{tls}max_connections = 0\n{file}")).await;
    log_of_a_renewal("without-tls", "error", |_, file| format!("max_connections = 0\n{file}")).await;
}

/// The log of a gateway whose file is changed, with this result, before its certificate is renewed. `change`
/// gets the setting of the certificate and the rest of the file.
async fn log_of_a_renewal(name: &str, result: &str, change: impl Fn(&str, &str) -> String) -> String {
    let mut files = CertificateFiles::new(name);
    let (_server, file) = provider(Reply::ok()).await;
    let file = "notice = \"0s\"\n".to_owned() + &file;
    let gateway = support::process::GatewayProcess::start(name, &(files.setting() + &file));
    let health = format!("https://{}/healthz", gateway.addr());
    let until = async |is_done: &dyn Fn(&serde_json::Value) -> bool, client: reqwest::Client| {
        let started = Instant::now();
        loop {
            let response = client.get(&health).send().await;
            if let Ok(response) = response
                && is_done(&json(response).await)
            {
                break;
            }
            assert!(started.elapsed() < BOUND, "nothing changes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    std::fs::write(gateway.file(), change(&files.setting(), &file)).unwrap();
    until(&|health| health["last_reload"]["result"] == result, files.client()).await;
    files.renew();
    until(&|_| true, files.client()).await;
    gateway.signal("TERM");
    gateway.end().await.1
}

#[tokio::test]
async fn a_caller_without_tls_is_sent_away_at_once() {
    let files = CertificateFiles::new("plain");
    let (server, file) = provider(Reply::ok()).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    for request in [request_bytes(REQUEST), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "\0".repeat(64)] {
        let started = Instant::now();
        let mut socket = TcpStream::connect(gateway.addr()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(socket).await;
        assert!(!response.starts_with(b"HTTP"), "{response:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    assert_eq!(server.log().calls(), 0);
}

#[tokio::test]
async fn a_caller_that_leaves_is_noticed() {
    let files = CertificateFiles::new("left");
    let (server, file) = provider(Reply::hang()).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    let request = request_bytes(REQUEST).replace("connection: close\r\n", "");
    // Bytes of a next request keep the server from reading on.
    let long = "P".repeat(200_000);
    for (pipelined, with_alert) in
        [("", true), ("", false), ("P", true), ("P", false), (&long, true), (&long, false)]
    {
        let mut caller = connect(&gateway, &files).await;
        caller.write_all((request.clone() + pipelined).as_bytes()).await.unwrap();
        caller.flush().await.unwrap();
        server.log().in_flight_is(1).await;
        if with_alert {
            caller.shutdown().await.unwrap();
        }
        drop(caller);
        let cancelled = timeout(BOUND, server.log().in_flight_is(0)).await;
        assert!(cancelled.is_ok(), "{} bytes, {with_alert}", pipelined.len());
    }
    // The same over HTTP/2.
    let request = files.client().post(gateway.url() + "/v1/chat/completions").body(REQUEST);
    let calling = tokio::spawn(request.send());
    server.log().in_flight_is(1).await;
    calling.abort();
    timeout(BOUND, server.log().in_flight_is(0)).await.expect("the call is cancelled");
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_receives_the_response() {
    let files = CertificateFiles::new("half");
    let (server, file) = provider(Reply::text("a b c").pace(Duration::from_millis(200))).await;
    let gateway = gateway(&(files.setting() + &file)).await;
    for request in [REQUEST.to_owned(), REQUEST.replacen('{', "{\"stream\":true,", 1)] {
        for with_alert in [true, false] {
            let mut caller = connect(&gateway, &files).await;
            caller.write_all(request_bytes(&request).as_bytes()).await.unwrap();
            caller.flush().await.unwrap();
            match with_alert {
                true => caller.shutdown().await.unwrap(),
                // The end of TCP without that of TLS.
                false => caller.get_mut().0.shutdown().await.unwrap(),
            }
            let response = String::from_utf8(read_to_end(caller).await).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{with_alert}: {response}");
            assert!(response.contains("stop"), "{with_alert}: {response}");
        }
    }
    assert_eq!((server.log().calls(), server.log().abandoned()), (4, 0));
    // A request that is cut off is not a call.
    let mut caller = connect(&gateway, &files).await;
    let incomplete = request_bytes(REQUEST).replace("content-length: ", "content-length: 9");
    caller.write_all(incomplete.as_bytes()).await.unwrap();
    caller.get_mut().0.shutdown().await.unwrap();
    read_to_end(caller).await;
    assert_eq!(server.log().calls(), 4);
}

/// The gateway as a process prints its URL.
#[tokio::test]
async fn the_program_prints_its_https_url() {
    let files = CertificateFiles::new("program");
    let (_server, file) = provider(Reply::ok()).await;
    let gateway = support::process::GatewayProcess::start(
        "tls",
        &("notice = \"0s\"\n".to_owned() + &files.setting() + &file),
    );
    let addr: SocketAddr = gateway.addr();
    assert_eq!(files.client().get(format!("https://{addr}/healthz")).send().await.unwrap().status(), 200);
}
