//! Connections to providers that die silently, or are closed between two calls.
#![cfg(target_os = "linux")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::support::process::GatewayProcess;
use crate::support::*;
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tidegate_testkit::{ConnectionServer, Reaction};
use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;
const COMPLETION: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"here"},"finish_reason":"stop"}]}"#;
const BOUND: Duration = Duration::from_secs(20);

/// A certificate in a file that is removed when it is dropped.
struct CertificateFile(PathBuf);

impl CertificateFile {
    /// Creates it, and the configuration of a server with it that offers HTTP/2 alone.
    fn create(name: &str) -> (Self, ServerConfig) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}.ca", std::process::id()));
        let text = BASE64_STANDARD.encode(cert.der());
        std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
            .unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        (Self(path), config)
    }
}

impl Drop for CertificateFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A part of a stream.
static CHUNK: LazyLock<Bytes> = LazyLock::new(|| {
    let content = "x".repeat(16 * 1024);
    format!("data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n").into()
});

/// The parts of streams that were requested of providers.
static CHUNKS: AtomicUsize = AtomicUsize::new(0);

/// A completion, or a stream without an end, or one that stops after its first part.
async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Body>, hyper::Error> {
    let request = request.into_body().collect().await?.to_bytes();
    if !String::from_utf8_lossy(&request).contains("\"stream\":true") {
        return Ok(http::Response::new(Body::from(COMPLETION)));
    }
    if String::from_utf8_lossy(&request).contains("stop here") {
        let body = stream::iter([Ok::<_, Infallible>(CHUNK.clone())]).chain(stream::pending());
        return Ok(event_stream(Body::from_stream(body)));
    }
    let chunk = || {
        CHUNKS.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(CHUNK.clone())
    };
    Ok(event_stream(Body::from_stream(stream::repeat_with(chunk))))
}

fn event_stream(body: Body) -> http::Response<Body> {
    http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// A provider that answers every request, over TLS and HTTP/2.
async fn tls_provider(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, acceptor) = (listener.local_addr().unwrap(), TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let _ = http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(100)
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    addr
}

/// A relay that can forget its connections, as a NAT does: what is sent on them is lost, and neither side is
/// informed.
struct Relay {
    addr: SocketAddr,
    counts: Arc<RelayCounts>,
    forgetting: watch::Sender<()>,
}

#[derive(Default)]
struct RelayCounts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (counts, forgetting) = (Arc::<RelayCounts>::default(), watch::Sender::new(()));
        let relay = Self { addr, counts: Arc::clone(&counts), forgetting: forgetting.clone() };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                counts.accepted.fetch_add(1, Ordering::SeqCst);
                counts.open.fetch_add(1, Ordering::SeqCst);
                let (counts, mut forgotten) = (Arc::clone(&counts), forgetting.subscribe());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = forgotten.changed() => while near.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {},
                    }
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        relay
    }

    fn forget_connections(&self) {
        self.forgetting.send_replace(());
    }

    fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Waits until the gateway has closed all connections.
    async fn all_closed(&self) {
        let closed = async {
            while self.counts.open.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(BOUND, closed).await.expect("the connection is closed");
    }
}

/// A gateway in front of a provider over TLS and HTTP/2, with `settings`, and the relay between both.
async fn gateway_behind_relay(name: &str, settings: &str) -> (GatewayProcess, Relay) {
    let (certificate, config) = CertificateFile::create(name);
    let relay = Relay::start(tls_provider(config).await).await;
    let config = format!("notice = \"0s\"\ndrain = \"0s\"\n{settings}")
        + &openai("p", &format!("https://{}/v1", relay.addr))
        + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start_with(name, &config, |command| {
        command.env("SSL_CERT_FILE", &certificate.0);
    });
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(relay.accepted(), 1, "both calls share a connection");
    (gateway, relay)
}

async fn status(gateway: &GatewayProcess) -> u16 {
    let request =
        client().post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
    timeout(BOUND, request.body(REQUEST).send()).await.expect("a response").unwrap().status().as_u16()
}

/// Attack H2 of the field: a connection that a NAT had forgotten was used for ever.
#[tokio::test]
async fn a_dead_http2_connection_is_closed_while_it_is_idle() {
    let settings =
        "connections = { idle_timeout = \"1h\", ping_interval = \"200ms\", ping_timeout = \"200ms\" }\n";
    let (gateway, relay) = gateway_behind_relay("idle", settings).await;
    relay.forget_connections();
    relay.all_closed().await;
    assert_eq!((status(&gateway).await, relay.accepted()), (200, 2));
}

#[tokio::test]
async fn a_call_on_a_dead_http2_connection_fails_soon_and_its_retry_gets_a_fresh_one() {
    let settings = "connections = { idle_timeout = \"1h\", ping_interval = \"300ms\", ping_timeout = \"300ms\" }\n\
                    policies.default.retry = { max_retries = 1, initial_delay = \"1ms\" }\n";
    let (gateway, relay) = gateway_behind_relay("retried", settings).await;
    relay.forget_connections();
    assert_eq!((status(&gateway).await, relay.accepted()), (200, 2));
}

/// Without pings as well: the connection of an attempt that has timed out is not trusted.
#[tokio::test]
async fn no_call_follows_on_an_http2_connection_after_a_timeout() {
    let settings = "connections = { idle_timeout = \"1h\", ping_interval = \"1h\" }\n\
                    policies.default.timeout.attempt = \"300ms\"\n";
    let (gateway, relay) = gateway_behind_relay("timeout", settings).await;
    relay.forget_connections();
    assert_eq!(status(&gateway).await, 504);
    for _ in 0..3 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!(relay.accepted(), 2);
}

/// Regression: all calls of a connection stopped with the first that was not read.
#[tokio::test]
async fn a_stream_that_its_caller_does_not_read_stops_no_other_call_on_its_http2_connection() {
    let (gateway, relay) = gateway_behind_relay("unread", "connections.idle_timeout = \"1h\"\n").await;
    let socket = TcpStream::connect(gateway.addr()).await.unwrap();
    let mut caller = h2::client::Builder::new();
    let (caller, connection) = caller.initial_window_size(0).handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut unread = Vec::new();
    for calls in 1..=3 {
        let request = http::Request::post("http://localhost/v1/chat/completions");
        let request = request.header("content-type", "application/json").body(()).unwrap();
        let (response, mut body) =
            caller.clone().ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from(REQUEST.replacen('{', "{\"stream\":true,", 1)), true).unwrap();
        let response = timeout(BOUND, response).await.expect("a response").unwrap();
        assert_eq!(response.status(), 200);
        unread.push(response);
        // Until the provider may send no more.
        let (started, mut before) = (Instant::now(), 0);
        while before <= 3 * calls || before != CHUNKS.load(Ordering::SeqCst) {
            assert!(started.elapsed() < BOUND, "{before}");
            before = CHUNKS.load(Ordering::SeqCst);
            sleep(Duration::from_millis(500)).await;
        }
        assert_eq!((status(&gateway).await, relay.accepted()), (200, 1), "{calls} unread");
    }
}

/// Regression: all calls shared one connection, and those beyond its streams waited without being sent.
#[tokio::test]
async fn more_calls_than_an_http2_connection_allows_have_a_second_one() {
    let (gateway, relay) = gateway_behind_relay("streams", "connections.idle_timeout = \"1h\"\n").await;
    let request = REQUEST.replacen('{', "{\"stream\":true,", 1).replace("hello", "stop here");
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..130 {
        let call =
            client.post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
        let response = timeout(BOUND, call.body(request.clone()).send()).await.expect("a response").unwrap();
        assert_eq!(response.status(), 200);
        streams.push(response);
    }
    assert_eq!(relay.accepted(), 2);
}

/// Attack L11 of the field: calls met the moment in which a server closed their idle connection.
#[tokio::test]
async fn a_reused_connection_that_closes_fails_no_call() {
    let requests = [REQUEST.to_owned(), REQUEST.replace("hello", &"x".repeat(400_000))];
    for reaction in [Reaction::Close, Reaction::Reset] {
        for request in &requests {
            // Every second call meets the end of its connection, and is sent once more.
            let script = [Reaction::Answer, reaction, Reaction::Answer].into_iter().cycle().take(30);
            let server = ConnectionServer::http1(script).await.unwrap();
            let file = "policies.default.circuit_breaker = { failure_threshold = 1 }\n".to_owned()
                + &openai("p", &server.base_url())
                + &route("*", &["p/m"]);
            let gateway = gateway(&file).await;
            for call in 0..20 {
                let response = chat(&gateway, request.clone()).send().await.unwrap();
                assert_eq!(response.status(), 200, "{reaction:?}, call {call}");
                assert_eq!(response.headers()["x-tidegate-attempts"], "1");
                response.bytes().await.unwrap();
            }
            assert_eq!(server.requests(), 30, "{reaction:?}");
        }
    }
}

/// The same by the clock: a server that closes what has been idle for as long as its caller pauses.
#[tokio::test]
async fn a_server_that_closes_idle_connections_fails_no_call() {
    const IDLE: Duration = Duration::from_millis(30);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let response =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{COMPLETION}", COMPLETION.len());
                let mut request = [0; 4096];
                while let Ok(Ok(1..)) = timeout(IDLE, socket.read(&mut request)).await {
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, response.as_bytes()).await;
                }
            });
        }
    });
    let file = "policies.default.circuit_breaker = { failure_threshold = 1 }\n".to_owned()
        + &openai("p", &base_url)
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let client = client();
    for call in 0..100 {
        let request = client.post(url(&gateway, "/v1/chat/completions")).body(REQUEST);
        let started = Instant::now();
        assert_eq!(request.send().await.unwrap().status(), 200, "call {call}");
        // Around the moment in which the server closes.
        sleep(
            (IDLE - Duration::from_millis(2) + Duration::from_micros(40 * call))
                .saturating_sub(started.elapsed()),
        )
        .await;
    }
}
