//! A server whose connections fail between requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A server of HTTP/1.1 or of HTTP/2 without TLS, which responds to each request by its script.
///
/// It writes its bytes itself: a server library neither refuses a stream nor leaves a `GOAWAY` behind an
/// unanswered request. A request has no trailers and, in HTTP/1.1, a content length.
///
/// ```
/// use tidegate_testkit::{ConnectionServer, Reaction};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = ConnectionServer::http2([Reaction::Refuse, Reaction::Answer]).await?;
/// assert_eq!((server.requests(), server.connections()), (0, 0));
/// # Ok(())
/// # }
/// ```
pub struct ConnectionServer {
    addr: SocketAddr,
    state: Arc<ServerState>,
    task: JoinHandle<()>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// A chat completion. The connection stays open.
    Answer,
    /// Status 421, without a body. The connection stays open.
    Misdirect,
    /// The connection is closed without a response.
    Close,
    /// The connection is reset without a response.
    Reset,
    /// The stream is reset with `REFUSED_STREAM`. HTTP/2 only.
    Refuse,
    /// A `GOAWAY` that excludes the stream, and the connection is closed. HTTP/2 only.
    GoAway,
    /// The connection stays open, and is never read or written again.
    Silence,
    /// The request has no response; those after it are served. HTTP/2 only.
    Hang,
}

struct ServerState {
    is_http2: bool,
    closes_reused: bool,
    script: Mutex<std::vec::IntoIter<Reaction>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"here"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

impl ConnectionServer {
    /// A server of HTTP/1.1. After the script every request is answered.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn http1(script: impl IntoIterator<Item = Reaction>) -> io::Result<Self> {
        Self::start(script, false, false).await
    }

    /// A server of HTTP/2 without TLS. After the script every request is answered.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn http2(script: impl IntoIterator<Item = Reaction>) -> io::Result<Self> {
        Self::start(script, true, false).await
    }

    /// A server of HTTP/1.1 that answers the first request of each connection, and closes it when a second
    /// arrives.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn closing_reused() -> io::Result<Self> {
        Self::start([], false, true).await
    }

    async fn start(
        script: impl IntoIterator<Item = Reaction>,
        is_http2: bool,
        closes_reused: bool,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(ServerState {
            is_http2,
            closes_reused,
            script: Mutex::new(script.into_iter().collect::<Vec<_>>().into_iter()),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&state)));
        Ok(Self { addr, state, task })
    }

    /// The base URL for a client of OpenAI's dialect.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The number of connections that were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The number of requests that arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for ConnectionServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionServer")
            .field("addr", &self.addr)
            .field("connections", &self.connections())
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectionServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServerState {
    /// The reaction to the next request, which is the `number`th of its connection, from 0.
    fn next(&self, number: usize) -> Reaction {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.closes_reused && number > 0 {
            return Reaction::Close;
        }
        self.script.lock().unwrap_or_else(PoisonError::into_inner).next().unwrap_or(Reaction::Answer)
    }
}

async fn listen(listener: TcpListener, state: Arc<ServerState>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            // An error means that the client has closed the connection.
            let _ = if state.is_http2 { http2(stream, &state).await } else { http1(stream, &state).await };
        });
    }
}

async fn http1(mut stream: TcpStream, state: &ServerState) -> io::Result<()> {
    for number in 0.. {
        read_http1_request(&mut stream).await?;
        match state.next(number) {
            Reaction::Answer => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                let response = format!("{head} {}\r\n\r\n{COMPLETION}", COMPLETION.len());
                stream.write_all(response.as_bytes()).await?;
            }
            Reaction::Misdirect => {
                stream.write_all(b"HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Reaction::Reset => return stream.set_zero_linger(),
            Reaction::Silence | Reaction::Hang => std::future::pending::<()>().await,
            Reaction::Close | Reaction::Refuse | Reaction::GoAway => return stream.shutdown().await,
        }
    }
    Ok(())
}

/// Reads one request and discards it.
async fn read_http1_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.map(drop)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK_OR_END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

async fn http2(mut stream: TcpStream, state: &ServerState) -> io::Result<()> {
    // The client's connection preface.
    stream.read_exact(&mut [0; 24]).await?;
    write_frame(&mut stream, SETTINGS, 0, 0, &[]).await?;
    let mut number = 0;
    let mut reaction = Reaction::Answer;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let id = u32::from_be_bytes(id);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let is_end = matches!(kind, DATA | HEADERS) && flags & ACK_OR_END_STREAM != 0;
        match kind {
            SETTINGS if flags & ACK_OR_END_STREAM == 0 => {
                write_frame(&mut stream, SETTINGS, ACK_OR_END_STREAM, 0, &[]).await?;
            }
            PING if flags & ACK_OR_END_STREAM == 0 => {
                write_frame(&mut stream, PING, ACK_OR_END_STREAM, 0, &payload).await?;
            }
            HEADERS => {
                reaction = state.next(number);
                number += 1;
                match reaction {
                    Reaction::Answer | Reaction::Misdirect | Reaction::Hang => {}
                    Reaction::Refuse => {
                        write_frame(&mut stream, RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes()).await?;
                    }
                    Reaction::GoAway => {
                        // The last stream that was processed is the one before, and there is no error.
                        let last = id.saturating_sub(2).to_be_bytes();
                        write_frame(&mut stream, GOAWAY, 0, 0, &[last, [0; 4]].concat()).await?;
                        return stream.shutdown().await;
                    }
                    Reaction::Reset => return stream.set_zero_linger(),
                    Reaction::Close => return stream.shutdown().await,
                    Reaction::Silence => std::future::pending().await,
                }
            }
            _ => {}
        }
        if is_end && reaction == Reaction::Misdirect {
            // A literal value of the indexed name `:status`.
            let fields = [&[0x08, 3][..], b"421"].concat();
            write_frame(&mut stream, HEADERS, END_HEADERS | ACK_OR_END_STREAM, id, &fields).await?;
        }
        if is_end && reaction == Reaction::Answer {
            // The indexed field `:status: 200`, and a literal one with a name of its own.
            let (name, value) = (b"content-type", b"application/json");
            let mut fields = vec![0x88, 0, name.len() as u8];
            fields.extend(name);
            fields.push(value.len() as u8);
            fields.extend(value);
            write_frame(&mut stream, HEADERS, END_HEADERS, id, &fields).await?;
            write_frame(&mut stream, DATA, ACK_OR_END_STREAM, id, COMPLETION.as_bytes()).await?;
        }
    }
}

async fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> io::Result<()> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await
}
