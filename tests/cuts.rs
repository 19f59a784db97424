//! Answers that are cut at any byte, by the end of the connection or by a reset, natively and translated both
//! ways.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate::chain::{Chain, ProviderSettings, Providers};
use tidegate::{BoxError, FallbackChain, Outcome, Payload};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";

/// How the connection ends after the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// A body of unknown length, as of a response that the end of the connection delimits.
struct CutBody {
    data: Option<Bytes>,
    end: Option<End>,
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(match self.end.take() {
            Some(End::Reset) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Some(End::Fin) | None => None,
        })
    }
}

type Client = BoxCloneSyncService<Request<Payload>, Response<CutBody>, Infallible>;

/// A chain of one provider that answers with these bytes.
fn chain(dialect: &str, status: u16, media: &'static str, data: Bytes, end: End) -> Chain<Client> {
    let client = BoxCloneSyncService::new(service_fn(move |_: Request<Payload>| {
        let body = CutBody { data: Some(data.clone()), end: Some(end) };
        let response = Response::builder().status(status).header("content-type", media).body(body);
        async move { Ok::<_, Infallible>(response.unwrap()) }
    }));
    let settings = match dialect {
        "anthropic" => ProviderSettings::anthropic("http://provider.test/v1"),
        _ => ProviderSettings::openai("http://provider.test/v1"),
    };
    let providers = Providers::empty().with(dialect, settings);
    FallbackChain::new([format!("{dialect}/model")]).providers(providers).service(client).unwrap()
}

fn request(path: &str, stream: bool) -> Request<Payload> {
    let mut body = match path {
        RESPONSES | EMBEDDINGS => json!({"input": "high water?"}),
        _ => json!({"max_tokens": 9, "messages": [{"role": "user", "content": "high water?"}]}),
    };
    if stream {
        body["stream"] = true.into();
    }
    Request::post(path).body(Payload::from(body.to_string())).unwrap()
}

/// The response with its whole body; an error if it breaks off.
async fn call(chain: &Chain<Client>, path: &str, stream: bool) -> Result<Response<Bytes>, BoxError> {
    let (head, body) = chain.send(request(path, stream)).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// The path of the caller, the dialect of the provider, and its answer.
fn documents() -> Vec<(&'static str, &'static str, String)> {
    let chat = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "née at {noon}"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 2},
        "content": [{"type": "text", "text": "née"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]});
    let response = json!({"id": "r", "object": "response", "status": "completed", "output": [{"type": "message",
        "id": "i", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "née"}]}]});
    let embeddings = json!({"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0,
        "embedding": [0.5, -1e-3]}]});
    vec![
        (CHAT, "openai", chat.to_string()),
        (MESSAGES, "openai", chat.to_string()),
        (MESSAGES, "anthropic", message.to_string()),
        (CHAT, "anthropic", message.to_string()),
        (RESPONSES, "openai", response.to_string()),
        (EMBEDDINGS, "openai", embeddings.to_string()),
    ]
}

fn streams() -> Vec<(&'static str, &'static str, String)> {
    let data =
        |events: &[Value]| -> String { events.iter().map(|event| format!("data: {event}\n\n")).collect() };
    let named = |events: &[Value]| -> String {
        events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
            .collect()
    };
    let chunk = |delta: Value, reason: Option<&str>| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let chat = data(&[
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"content": "née"}), None),
        chunk(json!({}), Some("stop")),
    ]) + "data: [DONE]\n\n";
    let message = named(&[
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "née"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]);
    let response = named(&[
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "née"}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [{"type": "message",
            "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": "née"}]}]}}),
    ]);
    vec![
        (CHAT, "openai", chat.clone()),
        (MESSAGES, "openai", chat),
        (MESSAGES, "anthropic", message.clone()),
        (CHAT, "anthropic", message),
        (RESPONSES, "openai", response),
    ]
}

/// The body without the time at which it was translated.
fn without_time(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.trim_ascii_end()).into_owned();
    let mut parts = text.split("\"created\":");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Only an answer that is complete ends cleanly. At most the line ends after the last event may be missing.
async fn check(answers: Vec<(&'static str, &'static str, String)>, media: &'static str, stream: bool) {
    for (path, dialect, answer) in answers {
        let bytes = Bytes::from(answer);
        let whole = call(&chain(dialect, 200, media, bytes.clone(), End::Fin), path, stream).await;
        let whole = whole.unwrap_or_else(|error| panic!("{dialect} at {path}: {error}"));
        for cut in 0..bytes.len() {
            for end in [End::Fin, End::Reset] {
                let result = call(&chain(dialect, 200, media, bytes.slice(..cut), end), path, stream).await;
                // A failure that is passed on with the status of a success has the outcome of a failure.
                if let Some(response) =
                    result.ok().filter(|response| Outcome::of(response) == Outcome::Success)
                {
                    let is_complete = without_time(response.body()) == without_time(whole.body());
                    assert!(is_complete, "{dialect} at {path}, cut at {cut} by {end:?}: {response:?}");
                    assert!(cut + 4 > bytes.len(), "{dialect} at {path}, complete at {cut}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_cut_at_any_byte_is_never_a_complete_answer() {
    check(documents(), "application/json", false).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_at_any_byte_is_never_a_complete_answer() {
    check(streams(), "text/event-stream", true).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_body_that_is_cut_at_any_byte_yields_its_status() {
    let openai =
        json!({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}});
    let anthropic = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    for (path, dialect, status, error) in [
        (CHAT, "openai", 429, &openai),
        (MESSAGES, "openai", 429, &openai),
        (MESSAGES, "anthropic", 529, &anthropic),
        (CHAT, "anthropic", 529, &anthropic),
        (RESPONSES, "openai", 429, &openai),
        (EMBEDDINGS, "openai", 429, &openai),
    ] {
        let bytes = Bytes::from(error.to_string());
        for cut in 0..=bytes.len() {
            for (end, stream) in
                [(End::Fin, false), (End::Reset, false), (End::Fin, true), (End::Reset, true)]
            {
                let chain = chain(dialect, status, "application/json", bytes.slice(..cut), end);
                let response = call(&chain, path, stream && path != EMBEDDINGS).await.unwrap();
                let (seen, body) = (response.status().as_u16(), response.into_body());
                // Anthropic's 529 is a 503 in OpenAI's dialect.
                assert!(seen == status || (path == CHAT && seen == 503), "{seen} at {cut}");
                assert!(
                    cut == 0 || serde_json::from_slice::<Value>(&body).is_ok(),
                    "{path} {cut} {end:?}: {body:?}"
                );
            }
        }
    }
}
