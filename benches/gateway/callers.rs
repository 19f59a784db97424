//! The callers. Each has a connection of its own and compares every answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tidegate::BoxError;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::provider::{DOCUMENT, Model, TEXT, events};

/// A connection to a proxy.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    addr: SocketAddr,
}

/// A request that is sent again and again, and its answer.
#[derive(Clone)]
pub(crate) struct Question {
    body: Bytes,
    answer: Bytes,
    /// What an answer has to contain, if it need not be `answer` to the byte.
    text: Option<&'static str>,
}

/// The longest wait for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

impl Question {
    /// A request with a body of `length` bytes, or a little more than its least length.
    pub(crate) fn new(model: Model, length: usize) -> Self {
        let is_stream = model != Model::Document;
        let start = format!(
            r#"{{"model":"{}","stream":{is_stream},"messages":[{{"role":"user","content":""#,
            model.name()
        );
        let end = r#""}]}"#;
        let words = "The tide rises, the tide falls. ".bytes().cycle();
        let prompt: Vec<u8> = words.take(length.saturating_sub(start.len() + end.len())).collect();
        let body = [start.as_bytes(), &prompt, end.as_bytes()].concat().into();
        let answer = match model {
            Model::Document => DOCUMENT.clone(),
            _ => events().concat().into(),
        };
        Self { body, answer, text: None }
    }

    /// An answer is compared by its text, since some gateways write JSON anew.
    pub(crate) fn with_text_only(self) -> Self {
        Self { text: Some(&TEXT), ..self }
    }

    fn is_answered_by(&self, answer: &Bytes) -> bool {
        match self.text {
            None => *answer == self.answer,
            Some(text) => answer.windows(text.len()).any(|part| part == text.as_bytes()),
        }
    }
}

impl Caller {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self, BoxError> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, addr })
    }

    /// Sends a request and compares the answer.
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<(), BoxError> {
        timeout(ANSWER_TIME, async {
            let response = self.send(question).await?;
            let answer = response.into_body().collect().await?.to_bytes();
            if question.is_answered_by(&answer) {
                Ok(())
            } else {
                Err("the answer is not the one that was sent".into())
            }
        })
        .await?
    }

    /// Sends a request and returns the rest of a stream of which one event has arrived.
    pub(crate) async fn open(&mut self, question: &Question) -> Result<hyper::body::Incoming, BoxError> {
        timeout(ANSWER_TIME, async {
            let mut body = self.send(question).await?.into_body();
            body.frame().await.ok_or("the stream has ended")??;
            Ok(body)
        })
        .await?
    }

    async fn send(&mut self, question: &Question) -> Result<http::Response<hyper::body::Incoming>, BoxError> {
        let request = Request::post("/v1/chat/completions")
            .header(HOST, self.addr.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header("accept", "application/json")
            .header("user-agent", "bench/1")
            .body(Full::new(question.body.clone()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(format!("a response with status {status}").into()),
        }
    }
}

/// A closed loop: each of `callers` sends `calls` requests, the next when it has the answer.
pub(crate) async fn closed_loop(
    addr: SocketAddr,
    question: &Question,
    callers: usize,
    calls: usize,
) -> Result<Vec<Duration>, BoxError> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (mut caller, question) = (Caller::connect(addr).await?, question.clone());
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(calls);
            for _ in 0..calls {
                let start = Instant::now();
                caller.ask(&question).await?;
                times.push(start.elapsed());
            }
            Ok::<_, BoxError>(times)
        });
    }
    let mut times = Vec::with_capacity(callers * calls);
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    Ok(times)
}

/// An open loop: a request every millisecond, whether the earlier ones are answered or not. The time of each
/// counts from the instant at which it was due.
pub(crate) async fn open_loop(
    addr: SocketAddr,
    question: &Question,
    calls: usize,
) -> Result<Vec<Duration>, BoxError> {
    let mut idle = Vec::new();
    let mut tasks = JoinSet::<Result<(Caller, Duration), BoxError>>::new();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let due = ticks.tick().await;
        while let Some(done) = tasks.try_join_next() {
            let (caller, time) = done??;
            idle.push(caller);
            times.push(time);
        }
        let mut caller = match idle.pop() {
            Some(caller) => caller,
            None => Caller::connect(addr).await?,
        };
        let question = question.clone();
        tasks.spawn(async move {
            caller.ask(&question).await?;
            Ok((caller, due.elapsed()))
        });
    }
    while let Some(done) = tasks.join_next().await {
        times.push(done??.1);
    }
    Ok(times)
}
