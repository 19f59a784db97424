//! rig through a chain: its models, agents and tools, and the targets, gates and fallbacks of tidegate.
//!
//!     cargo run --manifest-path adapters/Cargo.toml -p tidegate-with-rig
//!
//! For real providers nothing of `Providers` is needed. Three lines change:
//!
//!     let chain = FallbackChain::new(TARGETS)
//!         .policy(policy)
//!         .service(ReqwestService::new(reqwest::Client::new()))?;

use std::future::ready;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use rig_core::completion::CompletionRequest;
use rig_core::http_client::{
    BoxedStream, Error, HttpClientExt, LazyBody, MultipartForm, Result, StreamingResponse,
};
use rig_core::providers::openai::OpenAIConfig;
use rig_core::streaming::{Item, StreamEvent};
use tidegate::chain::{Chain, ProviderSettings, Providers, ResponseBody};
use tidegate::{BoxError, FallbackChain, Payload, ReqwestService};
use tidegate_testkit::{Provider, Reply, closed_port};

const TARGETS: [&str; 3] = ["openai/gpt-4o", "groq/llama-3.3-70b", "anthropic/claude-sonnet-4-5"];

/// The body of a response of the chain.
type Body = BoxBody<Bytes, tidegate::Error>;

#[tokio::main]
async fn main() -> std::result::Result<(), BoxError> {
    let overloaded = Provider::openai().otherwise(Reply::status(503)).start().await?;
    let unreachable = closed_port()?;
    let claude = Provider::anthropic().otherwise(Reply::text("High water at noon.")).start().await?;
    let providers = Providers::empty()
        .with("openai", ProviderSettings::openai(overloaded.base_url()))
        .with("groq", ProviderSettings::openai(unreachable.base_url()))
        .with("anthropic", ProviderSettings::anthropic(claude.base_url()));
    let chain = FallbackChain::new(TARGETS)
        .providers(providers)
        .service(ReqwestService::new(reqwest::Client::new()))?;

    // The key of the client is not sent: each target has its own.
    let model = OpenAIConfig::new("unused").connect(ChainClient(chain)).chat("any");

    let text = model.call(CompletionRequest::new("When is high water?")).await?.text();
    println!("plain: {text}");
    assert_eq!(text, "High water at noon.");

    let mut stream = model.stream(CompletionRequest::new("When is high water?"))?;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        if let Item::Event(StreamEvent::Text { text: piece, .. }) = event? {
            text += &piece;
        }
    }
    println!("streamed: {text}");
    assert_eq!(text, "High water at noon.");
    assert_eq!(claude.log().calls(), 2);
    Ok(())
}

/// A chain as the HTTP client of rig.
#[derive(Clone)]
struct ChainClient(Chain<ReqwestService>);

impl HttpClientExt for ChainClient {
    fn send<T, U>(&self, request: Request<T>) -> impl Future<Output = Result<Response<LazyBody<U>>>> + 'static
    where
        T: Into<Bytes> + Send,
        U: From<Bytes> + Send + 'static,
    {
        let response = send(self.0.clone(), to_payload(request));
        async {
            Ok(response.await?.map(|body| -> LazyBody<U> {
                Box::pin(async { Ok(body.collect().await.map_err(Error::instance)?.to_bytes().into()) })
            }))
        }
    }

    async fn send_streaming<T: Into<Bytes> + Send>(&self, request: Request<T>) -> Result<StreamingResponse> {
        let response = send(self.0.clone(), to_payload(request)).await?;
        Ok(response.map(|body| -> BoxedStream { Box::pin(body.into_data_stream().map_err(Error::instance)) }))
    }

    /// Transcriptions of audio, which no target of a chain takes.
    fn send_multipart<U>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + 'static
    where
        U: From<Bytes> + Send + 'static,
    {
        ready(Err(Error::Instance("a chain takes no forms".into())))
    }
}

fn to_payload(request: Request<impl Into<Bytes>>) -> Request<Payload> {
    request.map(|body| Payload::from(body.into()))
}

/// Sends a request along the chain. rig has responses of errors as errors.
async fn send(chain: Chain<ReqwestService>, request: Request<Payload>) -> Result<Response<Body>> {
    let response = chain.send(request).await.map_err(Error::instance)?.map(ResponseBody::boxed);
    if response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let text = body.collect().await.map_err(Error::instance)?.to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(Error::non_success_with_details(head.status, head.headers, text))
}
