//! The scripted provider over sockets: an injected fault is a fault of the connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tidegate_testkit::{Provider, Reply, closed_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const JSON: &str = r#"{"model":"gpt-4o","messages":[]}"#;
const STREAM: &str = r#"{"model":"gpt-4o","messages":[],"stream":true}"#;

/// One connection, which is closed on drop.
struct Client {
    send: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (send, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        Self { send, connection: tokio::spawn(async { drop(connection.await) }) }
    }

    async fn send(&mut self, path: &str, body: &'static str) -> hyper::Result<Response<Incoming>> {
        let request = Request::post(path).header("host", "provider").body(body.into()).unwrap();
        self.send.ready().await?;
        self.send.send_request(request).await
    }

    async fn chat(&mut self, body: &'static str) -> hyper::Result<Response<Incoming>> {
        self.send("/v1/chat/completions", body).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The body as text, and whether it ended cleanly.
async fn read(response: Response<Incoming>) -> (String, bool) {
    let (mut body, mut text) = (response.into_body(), String::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap()),
            Err(_) => return (text, false),
        }
    }
    (text, true)
}

#[tokio::test]
async fn serves_json_and_streams_on_one_connection() {
    let server = Provider::openai().otherwise(Reply::text("high tide")).start().await.unwrap();
    assert_eq!(server.base_url(), format!("http://127.0.0.1:{}/v1", server.addr().port()));
    let mut client = Client::connect(server.addr()).await;
    let response = client.chat(JSON).await.unwrap();
    assert!(response.headers().contains_key("content-length"));
    let (text, is_whole) = read(response).await;
    assert!(is_whole && text.contains("high tide"), "{text}");

    let response = client.chat(STREAM).await.unwrap();
    assert_eq!(response.headers()["transfer-encoding"], "chunked");
    let (text, is_whole) = read(response).await;
    assert!(is_whole && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(text.matches("data: ").count(), 5);
    assert_eq!((server.log().calls(), server.log().responses_with_status(200)), (2, 2));
    assert_eq!(server.log().requests()[0].body, JSON);
}

#[tokio::test]
async fn anthropic_streams_its_events() {
    let server = Provider::anthropic().start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let (text, is_whole) = read(client.send("/v1/messages", STREAM).await.unwrap()).await;
    assert!(is_whole && text.starts_with("event: message_start\n"), "{text}");
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
}

#[tokio::test]
async fn each_event_is_a_frame_of_its_own() {
    let server = Provider::openai().then(Reply::ok().tokens(20)).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let mut body = client.chat(STREAM).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.starts_with(b"data: ") && data.ends_with(b"\n\n"));
    }
}

#[tokio::test]
async fn a_reset_is_reported_as_a_reset() {
    let server = Provider::openai().then(Reply::reset()).start().await.unwrap();
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: provider\r\ncontent-length: 2\r\n\r\n{}";
    socket.write_all(head.as_bytes()).await.unwrap();
    let error = socket.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_closed_port_refuses_connections() {
    let closed = closed_port().unwrap();
    assert_eq!(TcpStream::connect(closed.addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(closed.base_url().ends_with("/v1"));
}

#[tokio::test]
async fn a_hanging_response_ends_when_the_caller_disconnects() {
    let server = Provider::openai().then(Reply::hang()).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let logged = tokio::spawn(async move { drop(client.chat(JSON).await) });
    server.log().in_flight_is(1).await;
    logged.abort();
    server.log().in_flight_is(0).await;
    assert_eq!((server.log().abandoned(), server.log().statuses().len()), (1, 0));
}

#[tokio::test]
async fn a_cut_stream_sends_its_tokens_and_then_an_error() {
    let server = Provider::openai().otherwise(Reply::ok().tokens(9).cut_after(3)).start().await.unwrap();
    for _ in 0..20 {
        let mut client = Client::connect(server.addr()).await;
        let (text, is_whole) = read(client.chat(STREAM).await.unwrap()).await;
        assert!(!is_whole && text.contains("\"t3 \"") && !text.contains("\"t4 \""), "{text}");
    }
    server.log().in_flight_is(0).await;
    assert_eq!(server.log().abandoned(), 0);
}

#[tokio::test]
async fn a_cut_response_is_shorter_than_its_declared_length() {
    let server = Provider::openai().then(Reply::ok().cut_after(0)).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let response = client.chat(JSON).await.unwrap();
    let promised: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let (text, is_whole) = read(response).await;
    assert!(!is_whole);
    assert_eq!(text.len(), promised / 2);
}

#[tokio::test]
async fn a_stream_may_end_cleanly_without_a_terminator() {
    let server = Provider::openai().then(Reply::ok().tokens(9).end_after(3)).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let (text, is_whole) = read(client.chat(STREAM).await.unwrap()).await;
    assert!(is_whole && text.contains("\"t3 \"") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_stalled_stream_ends_when_the_caller_disconnects() {
    let server = Provider::openai().then(Reply::ok().tokens(9).stall_after(2)).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let mut body = client.chat(STREAM).await.unwrap().into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(server.log().in_flight(), 1);
    drop((body, client));
    server.log().in_flight_is(0).await;
    assert_eq!(server.log().abandoned(), 1);
}

#[tokio::test]
async fn an_error_event_follows_a_successful_head() {
    let reply = Reply::ok().error_event_at(1, "server_error");
    let server = Provider::openai().then(reply).start().await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let response = client.chat(STREAM).await.unwrap();
    assert_eq!(response.status(), 200);
    let (text, is_whole) = read(response).await;
    assert!(is_whole && text.contains("\"error\":") && !text.contains("[DONE]"), "{text}");
}

/// Two callers that send their next request at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_does_not_count_a_response_that_its_caller_has() {
    let server = Provider::openai().otherwise(Reply::ok().tokens(3)).start().await.unwrap();
    let callers = (0..2).map(|_| Client::connect(server.addr()));
    let mut tasks = Vec::new();
    for caller in callers {
        let mut client = caller.await;
        tasks.push(tokio::spawn(async move {
            for round in 0..100 {
                let body = if round % 2 == 0 { STREAM } else { JSON };
                assert!(read(client.chat(body).await.unwrap()).await.1);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((server.log().calls(), server.log().in_flight(), server.log().abandoned()), (200, 0, 0));
    assert!(server.log().max_in_flight() <= 2, "{:?}", server.log());
}

#[tokio::test]
async fn a_rate_limit_spans_connections() {
    let server = Provider::openai().rate_limit(2, Duration::from_secs(3600)).start().await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(server.addr()).await;
        statuses.push(client.chat(JSON).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_stopped_server_closes_its_port_and_its_connections() {
    let server = Provider::openai().then(Reply::ok().stall_after(0)).start().await.unwrap();
    let (addr, log) = (server.addr(), server.log().clone());
    let mut client = Client::connect(addr).await;
    let response = client.chat(STREAM).await.unwrap();
    server.stop().await;
    assert!(!read(response).await.1);
    assert_eq!(log.in_flight(), 0);
    assert_eq!(TcpStream::connect(addr).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dropped_server_stops() {
    let server = Provider::openai().then(Reply::hang()).start().await.unwrap();
    let (addr, log) = (server.addr(), server.log().clone());
    let mut client = Client::connect(addr).await;
    let logged = tokio::spawn(async move { client.chat(JSON).await.is_err() });
    log.in_flight_is(1).await;
    drop(server);
    assert!(logged.await.unwrap());
    log.in_flight_is(0).await;
    assert_eq!(TcpStream::connect(addr).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// A provider that restarts keeps its address.
#[tokio::test]
async fn starts_on_a_port_that_was_used_before() {
    let server = Provider::openai().start().await.unwrap();
    let addr = server.addr();
    server.stop().await;
    let server = Provider::openai().start_on(addr).await.unwrap();
    assert_eq!(Client::connect(addr).await.chat(JSON).await.unwrap().status(), 200);
    assert_eq!(server.log().calls(), 1);
}
