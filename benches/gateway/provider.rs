//! The provider behind all proxies. The model of a request selects what it does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate::BoxError;
use tokio::net::{TcpListener, TcpStream};

/// The content events of a stream.
pub(crate) const EVENTS: usize = 64;

/// What the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// Answers with a document.
    Document,
    /// Streams, each event in a write of its own.
    Single,
    /// Streams, all events in one write.
    Bunched,
    /// Streams one token, and no more.
    Open,
}

/// A provider that serves for as long as the process runs.
pub(crate) struct Provider {
    pub(crate) addr: SocketAddr,
}

/// An answer: frames, of which each after the first arrives at a later poll, and how it ends.
struct Answer {
    frames: std::vec::IntoIter<Bytes>,
    yields: bool,
    is_open: bool,
}

/// The text of the document.
pub(crate) static TEXT: LazyLock<String> = LazyLock::new(|| "The tide rises, the tide falls. ".repeat(60));

pub(crate) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = TEXT.as_str();
    format!(
        r#"{{"id":"c-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":500,"completion_tokens":480,"total_tokens":980}}}}"#
    )
    .into()
});

impl Model {
    pub(crate) const ALL: [Self; 4] = [Self::Document, Self::Single, Self::Bunched, Self::Open];

    /// The name, which occurs nowhere else in a request.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Document => "model-document",
            Self::Single => "model-single",
            Self::Bunched => "model-bunched",
            Self::Open => "model-open",
        }
    }

    fn of(body: &[u8]) -> Option<Self> {
        // Some gateways write the fields of a request in another order.
        let length = body.len().min(256);
        let ends = [&body[..length], &body[body.len() - length..]];
        let is_in = |part: &[u8], name: &str| part.windows(name.len()).any(|part| part == name.as_bytes());
        Self::ALL.into_iter().find(|model| ends.iter().any(|end| is_in(end, model.name())))
    }

    fn answer(self) -> Answer {
        let frames = match self {
            Self::Document => vec![DOCUMENT.clone()],
            Self::Single => events(),
            Self::Bunched => vec![events().concat().into()],
            Self::Open => events().into_iter().take(1).collect(),
        };
        Answer { frames: frames.into_iter(), yields: false, is_open: self == Self::Open }
    }
}

/// The events of a stream, with its end.
pub(crate) fn events() -> Vec<Bytes> {
    let event = |delta: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let content = (0..EVENTS).map(|number| event(&format!("{{\"content\":\" tide {number}\"}}"), "null"));
    let end = [event("{}", "\"stop\""), "data: [DONE]\n\n".to_owned()];
    content.chain(end).map(Bytes::from).collect()
}

impl Provider {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        });
        Ok(Self { addr })
    }
}

async fn serve(socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    // A proxy that closes the connection is no failure.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let mut body = request.into_body();
    let mut model = None;
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        model = model.or_else(|| Model::of(&data));
    }
    let Some(model) = model else {
        let empty = Answer { frames: Vec::new().into_iter(), yields: false, is_open: false };
        let mut response = Response::new(empty);
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let mut response = Response::new(model.answer());
    let content_type = match model {
        Model::Document => "application/json",
        _ => "text/event-stream",
    };
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    Ok(response)
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.yields, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.frames.next() {
            Some(frame) => {
                self.yields = true;
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            None if self.is_open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.frames.as_slice() {
            // A document has a length.
            [whole] if whole.starts_with(b"{") => http_body::SizeHint::with_exact(whole.len() as u64),
            _ => http_body::SizeHint::default(),
        }
    }
}
