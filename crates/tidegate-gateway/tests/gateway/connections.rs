//! Callers that open too many connections, leave, or do not read.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::process::GatewayProcess;
use crate::support::*;
use bytes::Bytes;
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;
const BOUND: Duration = Duration::from_secs(30);

async fn connect_idle(addr: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(TcpStream::connect(addr).await.unwrap());
    }
    connections
}

#[tokio::test]
async fn a_full_table_closes_the_connection_that_has_been_idle_for_longest() {
    let provider = Provider::openai().otherwise(Reply::ok().stall_after(1)).start().await.unwrap();
    let file =
        "max_connections = 8\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    // The oldest connection has a call.
    let stream = REQUEST.replacen('{', "{\"stream\":true,", 1);
    let mut streaming = chat(&gateway, stream).send().await.unwrap();
    assert!(streaming.chunk().await.unwrap().is_some());
    let mut idle = connect_idle(gateway.addr(), 7).await;
    // Sending a part of a head does not make a connection busy.
    idle[0].write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n").await.unwrap();
    let started = Instant::now();
    let end = loop {
        let health = client().get(url(&gateway, "/healthz")).send().await.unwrap();
        assert_eq!(health.status(), 200);
        if let Ok(end) = timeout(Duration::from_millis(10), idle[0].read(&mut [0; 64])).await {
            break end;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "nothing is closed");
    };
    assert!(!matches!(end, Ok(1..)), "{end:?}");
    assert!(
        timeout(Duration::from_millis(200), idle[6].read(&mut [0; 64])).await.is_err(),
        "the youngest is open"
    );
    assert_eq!(provider.log().in_flight(), 1, "the call goes on");
}

/// Connections with half of a request do not keep others out, and fresh ones are not closed for others.
#[tokio::test]
async fn half_sent_bodies_lock_nobody_out_and_fresh_callers_are_served() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file =
        "max_connections = 8\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let mut half_sent = connect_idle(gateway.addr(), 12).await;
    let part = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
    for connection in &mut half_sent {
        connection.write_all(part.as_bytes()).await.unwrap();
    }
    let started = Instant::now();
    assert_eq!(chat(&gateway, REQUEST).send().await.unwrap().status(), 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop(half_sent);

    let callers = (0..24).map(|_| async {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let head = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        caller.write_all(head.as_bytes()).await?;
        let mut response = Vec::new();
        caller.read_to_end(&mut response).await.map(|_| response.starts_with(b"HTTP/1.1 200 "))
    });
    let served = timeout(BOUND, futures_util::future::join_all(callers)).await.unwrap();
    assert!(served.iter().all(|served| matches!(served, Ok(true))), "{served:?}");
}

/// Regression: a request without a key made its connection the youngest.
#[tokio::test]
async fn requests_without_a_key_lock_nobody_out() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file =
        format!("max_connections = 4\n{ADMIN}") + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&(file + CALLERS)).await;
    let addr = gateway.addr();
    for path in ["/healthz", "/v1/models", "/v1/chat/completions", "/signals", "/none"] {
        let mut strangers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            strangers.spawn(async move {
                let mut stranger = TcpStream::connect(addr).await.unwrap();
                // Until the connection is closed. Over real sockets the time of the gateway is real as well.
                while stranger.write_all(request.as_bytes()).await.is_ok()
                    && matches!(stranger.read(&mut [0; 4096]).await, Ok(1..))
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let call = chat(&gateway, REQUEST).bearer_auth(ANN_KEY).send();
        let response = timeout(Duration::from_secs(5), call).await.expect(path).unwrap();
        assert_eq!(response.status(), 200, "{path}");
        strangers.abort_all();
    }
}

#[tokio::test]
async fn idle_connections_lock_nobody_out_when_descriptors_run_out() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let config = "notice = \"0s\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start_after("descriptors", &config, "ulimit -n 64;");
    let _idle = connect_idle(gateway.addr(), 100).await;
    for _ in 0..3 {
        let request =
            client().post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
        let response = request.body(REQUEST).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    gateway.signal("TERM");
    let (code, log) = gateway.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("allows fewer connections"), "{log}");
    assert!(log.matches("cannot accept").count() <= 3, "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised() {
    let config =
        "notice = \"0s\"\n".to_owned() + &openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start_after("soft", &config, "ulimit -Sn 40; ulimit -Hn 200;");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["200", "200"], "{files}");
}

/// Bytes after the request keep the server from reading on, and so from noticing the end of the connection.
#[tokio::test]
async fn a_caller_that_pipelined_bytes_and_left_is_noticed() {
    let provider = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    for pipelined in ["P", "GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n"] {
        let request = request_bytes(REQUEST).replace("connection: close\r\n", "") + pipelined;
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        provider.log().in_flight_is(1).await;
        drop(caller);
        timeout(BOUND, provider.log().in_flight_is(0)).await.expect(pipelined);
    }
    // More than the buffers of a connection take, so that the end is not even received.
    let request = request_bytes(REQUEST).replace("connection: close\r\n", "");
    for (round, pipelined) in [200_000, 8_000_000, 200_000].into_iter().enumerate() {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        provider.log().in_flight_is(1).await;
        let pipelined = match round {
            0 | 1 => vec![b'P'; pipelined],
            _ => request.repeat(pipelined / request.len()).into_bytes(),
        };
        let mut sent = 0;
        while let Ok(Ok(more)) = timeout(Duration::from_millis(200), caller.write(&pipelined[sent..])).await {
            sent += more;
            if sent == pipelined.len() {
                break;
            }
        }
        drop(caller);
        timeout(BOUND, provider.log().in_flight_is(0)).await.expect("the end is noticed");
    }
    // A caller that is still there keeps its call.
    let request = request_bytes(REQUEST).replace("connection: close\r\n", "") + "P";
    let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
    caller.write_all(request.as_bytes()).await.unwrap();
    provider.log().in_flight_is(1).await;
    assert!(timeout(Duration::from_secs(2), caller.read(&mut [0; 64])).await.is_err());
    assert_eq!(provider.log().in_flight(), 1);
}

#[tokio::test]
async fn a_caller_that_does_not_read_keeps_its_permit_no_longer_than_an_attempt() {
    // More than the buffers of a socket take.
    let long = format!("{} ", "x".repeat(16 * 1024)).repeat(2560);
    let provider = Provider::openai().otherwise(Reply::text(long)).start().await.unwrap();
    let file = "policies.default = { backpressure = { max_inflight = 1 }, timeout = { attempt = \"6s\" } }\n"
        .to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
    caller.write_all(request_bytes(&REQUEST.replacen('{', "{\"stream\":true,", 1)).as_bytes()).await.unwrap();
    provider.log().in_flight_is(1).await;
    timeout(BOUND, provider.log().in_flight_is(0)).await.expect("the permit is released");

    // Over HTTP/2, where the connection is read and the stream is not.
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = http2.post(url(&gateway, "/v1/chat/completions"));
    let unread = request.body(REQUEST.replacen('{', "{\"stream\":true,", 1)).send().await.unwrap();
    assert_eq!((unread.status(), provider.log().in_flight()), (http::StatusCode::OK, 1));
    timeout(BOUND, provider.log().in_flight_is(0)).await.expect("the permit is released");
}

/// Opens an HTTP/2 connection on which responses have a window of `window` bytes.
async fn http2(gateway: &RunningGateway, window: u32) -> h2::client::SendRequest<Bytes> {
    http2_until_end(gateway, window).await.0
}

/// The same, with the end of the connection.
async fn http2_until_end(
    gateway: &RunningGateway,
    window: u32,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(gateway.addr()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (sender, connection) = builder.initial_window_size(window).handshake(socket).await.unwrap();
    (sender, tokio::spawn(connection))
}

/// Requests a page over HTTP/2, and waits for the head of its response.
async fn page_http2(caller: &h2::client::SendRequest<Bytes>, path: &str) -> h2::RecvStream {
    let request = http::Request::get(format!("http://localhost{path}")).body(()).unwrap();
    let (response, _) = caller.clone().ready().await.unwrap().send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// Sends a call over HTTP/2, and waits for the head of its response.
async fn call_http2(caller: &h2::client::SendRequest<Bytes>, body: &str) -> h2::RecvStream {
    let request = http::Request::post("http://localhost/v1/chat/completions");
    let request = request.header("content-type", "application/json").body(()).unwrap();
    let mut caller = caller.clone().ready().await.unwrap();
    let (response, mut stream) = caller.send_request(request, false).unwrap();
    stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// Such a caller answers pings, no write to it is blocked, and hyper holds a frame for it: its connection had
/// a call forever.
#[tokio::test]
async fn callers_with_an_empty_window_lock_nobody_out_and_are_not_counted_as_cut() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = "max_connections = 2\npolicies.default = { timeout = { attempt = \"1s\" } }\n".to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let streaming = REQUEST.replacen('{', "{\"stream\":true,", 1);
    let mut unread = Vec::new();
    // One more than the limit is served while the next one waits.
    for body in [REQUEST, &streaming, &streaming] {
        let caller = http2(&gateway, 0).await;
        unread.push((call_http2(&caller, body).await, caller));
    }
    let health = client().get(url(&gateway, "/healthz")).send();
    let health =
        timeout(Duration::from_secs(10), health).await.expect("a place for the next caller").unwrap();
    assert_eq!((health.status(), unread.len()), (http::StatusCode::OK, 3));
    let started = Instant::now();
    assert_eq!(gateway.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// Regression: with a window of one byte a complete response was in a buffer of the gateway, and such a caller
/// delayed a stop for the whole drain time.
#[tokio::test(start_paused = true)]
async fn a_caller_that_has_not_read_its_last_response_delays_the_stop_only_for_as_long_as_it_reads() {
    for (pause, is_complete) in [(3, true), (8, false)] {
        let file = "notice = \"0s\"\ndrain = \"60s\"\n".to_owned()
            + &openai("p", "http://localhost:1/v1")
            + &route("*", &["p/m"]);
        let gateway = gateway(&file).await;
        let (caller, connection) = http2_until_end(&gateway, 1).await;
        let mut response = page_http2(&caller, "/v1/models").await;
        let mut text = response.data().await.unwrap().unwrap().to_vec();
        let begun = tokio::time::Instant::now();
        let stopping = tokio::spawn(gateway.stop());
        tokio::time::sleep(Duration::from_secs(pause)).await;
        // The bytes that the caller is ready to receive are those that it has read.
        while let Ok(()) = response.flow_control().release_capacity(1)
            && let Some(Ok(data)) = response.data().await
        {
            text.extend(data);
        }
        assert_eq!(text.ends_with(b"}"), is_complete, "{text:?}");
        assert_eq!(stopping.await.unwrap(), 0);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let _ = connection.await;
    }
}

/// Regression: such a connection was taken for an idle one once the last byte was in a buffer of the gateway.
#[tokio::test]
async fn a_response_that_is_still_being_sent_is_not_cut_to_make_room() {
    // What the buffers of a socket take is not known. Of one of these lengths a part that the gateway buffers
    // is left.
    let lengths: Vec<_> = (4..40).map(|step| step * 200_000).collect();
    let provider = Provider::openai();
    let texts = lengths.iter().chain([&640_000]).map(|length| Reply::text("x".repeat(*length)));
    let provider = texts.fold(provider, Provider::then).start().await.unwrap();
    let file = format!("max_connections = {}\n", lengths.len() + 1)
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let mut late = Vec::new();
    for length in lengths {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(request_bytes(REQUEST).as_bytes()).await.unwrap();
        assert_eq!(caller.read_u8().await.unwrap(), b'H');
        late.push((caller, length));
    }
    let steady = http2(&gateway, 16 * 1024).await;
    let mut steady = call_http2(&steady, REQUEST).await;

    let mut received = 0;
    while let Some(data) = timeout(BOUND, steady.data()).await.unwrap() {
        let length = data.unwrap_or_else(|error| panic!("{error} after {received} bytes")).len();
        received += length;
        // None of them is the one that has been idle for longest.
        let _others = connect_idle(gateway.addr(), 2 * late.len()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        steady.flow_control().release_capacity(length).unwrap();
    }
    assert!(received > 640_000, "{received} bytes");
    for (mut caller, length) in late {
        let mut response = Vec::new();
        timeout(BOUND, caller.read_to_end(&mut response)).await.unwrap().unwrap();
        assert!(response.len() > length && response.ends_with(b"}"), "{} of {length} bytes", response.len());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_without_a_descriptor_for_the_provider_is_a_503_and_neutral() {
    let provider = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let config = "notice = \"0s\"\ndrain = \"0s\"\n\
         policies.default = { circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 } }\n"
        .to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start("exhausted", &config);
    // The connection of the caller gets the last descriptor.
    leave_descriptors(&gateway, 1).await;
    let client = client();
    let request = client.post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
    let response = request.body(REQUEST).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (503, &"E3002".parse().unwrap())
    );
    let text = response.text().await.unwrap();
    assert!(text.contains("no file descriptor"), "{text}");
    // On the same connection.
    let signals = json(client.get(gateway.url("/signals")).send().await.unwrap()).await;
    assert!(signals.to_string().contains(r#""status":"healthy""#), "{signals}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_connections_make_room_when_descriptors_run_out_unexpectedly() {
    let config =
        "notice = \"0s\"\n".to_owned() + &openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start("unexpected", &config);
    leave_descriptors(&gateway, 4).await;
    let _idle = connect_idle(gateway.addr(), 10).await;
    let started = Instant::now();
    assert_eq!(client().get(gateway.url("/healthz")).send().await.unwrap().status(), 200);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    gateway.signal("TERM");
    let (_, log) = gateway.end().await;
    let lines = log.matches("cannot accept").count();
    assert!((1..20).contains(&lines), "{lines} lines");
}

/// Lowers the limit of the process such that it can open `count` more descriptors. Those that it opens for a
/// moment, as to read its configuration again, are not counted as open.
#[cfg(target_os = "linux")]
async fn leave_descriptors(gateway: &GatewayProcess, count: usize) {
    let mut kept = open_descriptors(gateway);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let open = open_descriptors(gateway);
        kept.retain(|number| open.contains(number));
    }
    let last = (0..).filter(|number| !kept.contains(number)).nth(count - 1).unwrap();
    let limit = last + 1;
    let lowered = std::process::Command::new("prlimit")
        .args([format!("--pid={}", gateway.id()), format!("--nofile={limit}:{limit}")])
        .status();
    assert!(lowered.unwrap().success());
}

#[cfg(target_os = "linux")]
fn open_descriptors(gateway: &GatewayProcess) -> Vec<usize> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// Regression: the connection was left open for 2 s then, and a request that was sent meanwhile had no
/// response.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_at_its_timeout() {
    let gateway = gateway(&(openai("p", "http://localhost:1/v1") + &route("*", &["p/m"]))).await;
    let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
    let begun = tokio::time::Instant::now();
    caller.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    caller.read_to_end(&mut Vec::new()).await.unwrap();
    let elapsed = begun.elapsed().as_secs_f64();
    assert!((74.5..75.5).contains(&elapsed), "{elapsed}");
}

/// Regression: over HTTP/2 an idle connection was open forever, with what its caller did not read.
#[tokio::test]
async fn an_idle_connection_over_http_2_ends_at_its_timeout_and_later_if_a_response_is_unread() {
    let gateway = gateway(&(openai("p", "http://localhost:1/v1") + &route("*", &["p/m"]))).await;
    let ((idle, ended), (unread, dropped)) =
        (http2_until_end(&gateway, 16 * 1024).await, http2_until_end(&gateway, 1).await);
    let (follows, mut follows_ended) = http2_until_end(&gateway, 16 * 1024).await;
    assert!(page_http2(&idle, "/healthz").await.data().await.unwrap().is_ok());
    let _unread = page_http2(&unread, "/v1/models").await;
    // The events of the page arrive for as long as it is read.
    let mut events = page_http2(&follows, "/live").await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let reading = async {
        while begun.elapsed() < Duration::from_secs(300) {
            let event = events.data().await.unwrap().unwrap();
            events.flow_control().release_capacity(event.len()).unwrap();
        }
    };
    let ends = async {
        ended.await.unwrap().unwrap();
        let idle = begun.elapsed().as_secs_f64();
        // The caller may read an error or the end.
        let _ = dropped.await.unwrap();
        (idle, begun.elapsed().as_secs_f64())
    };
    let (idle_time, unread_time) = tokio::join!(reading, ends).1;
    assert!((74.5..77.0).contains(&idle_time), "{idle_time}");
    assert!((134.5..140.0).contains(&unread_time), "{unread_time}");
    assert!(futures_util::poll!(&mut follows_ended).is_pending(), "it has a subscriber");
    drop(events);
    timeout(Duration::from_secs(150), follows_ended).await.expect("it is idle").unwrap().unwrap();
}

/// Regression: the end was 2 s late.
#[tokio::test]
async fn a_response_that_breaks_off_ends_at_once() {
    // More than is kept to answer with another target.
    let long = "x".repeat(40 * 1024 * 1024);
    let provider = Provider::openai().otherwise(Reply::text(&*long).cut_after(1)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let mut soonest = Duration::MAX;
    // The machine may have other load.
    for _ in 0..3 {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(request_bytes(REQUEST).as_bytes()).await.unwrap();
        let (mut received, mut piece, mut last) = (0, vec![0; 64 * 1024], Instant::now());
        while let length @ 1.. = timeout(BOUND, caller.read(&mut piece)).await.expect("an end").unwrap() {
            received += length;
            last = Instant::now();
        }
        assert!((1_000_000..long.len()).contains(&received), "{received}");
        soonest = soonest.min(last.elapsed());
    }
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");
}

/// The end of the connection is the end of such a response, so that one which is cut looked complete.
#[tokio::test]
async fn a_response_over_http_1_0_that_is_cut_ends_in_a_reset() {
    let json = format!("{{\"data\":\"{}\"}}", "x".repeat(200 * 1024));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{json}\r\n", json.len());
    let begun = vec![head.to_owned(), chunk];
    let complete = [begun.clone(), vec!["0\r\n\r\n".to_owned()]].concat();
    enum End {
        OfProvider,
        Stop,
        Drop,
    }
    for (version, parts, keeps, end, is_reset) in [
        ("1.0", &complete, false, End::OfProvider, false),
        ("1.0", &begun, false, End::OfProvider, true),
        ("1.0", &begun, true, End::Stop, true),
        ("1.0", &begun, true, End::Drop, true),
        // The last chunk is missing then.
        ("1.1", &begun, false, End::OfProvider, false),
    ] {
        let provider = fixed_response(parts.clone(), keeps).await;
        let file = "drain = \"0s\"\n".to_owned() + &openai("p", &provider) + &route("*", &["p/m"]);
        let gateway = gateway(&file.replace("chat/completions", "embeddings")).await;
        let request = request_bytes(r#"{"model":"m","input":"a"}"#);
        let request =
            request.replace("chat/completions", "embeddings").replace("HTTP/1.1", &format!("HTTP/{version}"));
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        let mut response = vec![0; 100 * 1024];
        caller.read_exact(&mut response).await.unwrap();
        let _gateway = match end {
            End::OfProvider => Some(gateway),
            End::Stop => {
                assert_eq!(gateway.stop().await, 1);
                None
            }
            End::Drop => {
                drop(gateway);
                None
            }
        };
        let read = timeout(BOUND, caller.read_to_end(&mut response)).await.expect("an end");
        assert!(response.starts_with(format!("HTTP/{version} 200 ").as_bytes()));
        assert_eq!(read.is_err(), is_reset, "{version} {keeps} {read:?}");
        let is_complete = response.ends_with(json.as_bytes());
        assert!(is_reset || is_complete == (version == "1.0"), "{} bytes", response.len());
    }
}

/// Regression: no clock ran on such a connection.
#[tokio::test(start_paused = true)]
async fn a_connection_over_http_2_without_its_whole_preface_ends() {
    let gateway = gateway(&(openai("p", "http://localhost:1/v1") + &route("*", &["p/m"]))).await;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for length in 1..=PREFACE.len() {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        let begun = tokio::time::Instant::now();
        caller.write_all(&PREFACE[..length]).await.unwrap();
        // A reset if some of it is unread.
        let end = timeout(Duration::from_secs(120), caller.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{length}");
        let elapsed = begun.elapsed().as_secs_f64();
        let least = if length < PREFACE.len() { 29.5 } else { 31.0 };
        assert!((least..62.0).contains(&elapsed), "{length} {elapsed}");
    }
}
