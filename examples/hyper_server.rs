//! A hyper server that forwards each request through a stack and streams the response to the caller.
//!
//!     cargo run --example hyper_server
//!
//! For a real provider these three lines change, and the assertions about the script go:
//!
//!     let url = "https://api.openai.com/v1/chat/completions".to_owned();
//!     let api_key = std::env::var("OPENAI_API_KEY")?;
//!     let listener = TcpListener::bind("127.0.0.1:8080").await?;

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ErrorBody, ReqwestService, Resilience,
    ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::{Provider, Reply};
use tokio::net::TcpListener;

/// The body of a provider's response, or of an error.
type ForwardedBody = UnsyncBoxBody<Bytes, tidegate::Error>;

/// The state that all connections share.
#[derive(Clone)]
struct Forwarder {
    url: String,
    api_key: String,
    openai: Resilience<ReqwestService>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Accepts one key, and fails once.
    let provider = Provider::openai().api_key("provider-key").then(Reply::status(503)).start().await?;
    let url = provider.chat_url("gpt-4o", true);
    let api_key = "provider-key".to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;

    let breaker = CircuitBreakerLayer::new();
    let circuit = breaker.handle();
    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(20)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .circuit_breaker(breaker)
        .service(ReqwestService::new(reqwest::Client::new()));
    let forwarder = Forwarder { url, api_key, openai };

    let addr = listener.local_addr()?;
    tokio::spawn(serve(listener, forwarder));

    let body = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let client = reqwest::Client::new();
    let response = client.post(format!("http://{addr}/chat")).body(body).send().await?;
    let status = response.status();
    let events = response.text().await?;
    let attempts = provider.log().calls();
    println!("{status} with {} events after {attempts} attempts", events.matches("data: ").count());
    assert_eq!((status.as_u16(), attempts), (200, 2));
    assert!(events.ends_with("data: [DONE]\n\n"));

    // A rejection is a response as well: status, `retry-after` if a time is known, and a JSON body.
    circuit.force_open();
    let response = client.post(format!("http://{addr}/chat")).body(body).send().await?;
    let (status, text) = (response.status(), response.text().await?);
    println!("{status}: {text}");
    assert_eq!((status.as_u16(), provider.log().calls()), (503, 2));
    Ok(())
}

/// Accepts connections, each in a task of its own.
async fn serve(listener: TcpListener, forwarder: Forwarder) -> Result<(), BoxError> {
    loop {
        let (stream, _) = listener.accept().await?;
        let forwarder = forwarder.clone();
        let handler = service_fn(move |request| forwarder.clone().forward(request));
        let mut server = http1::Builder::new();
        // The timer bounds the time in which the head of a request has to arrive.
        server.timer(TokioTimer::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), handler));
    }
}

impl Forwarder {
    /// Sends the body of a request to the provider. A header of the caller, such as a cookie or a key, is not
    /// forwarded.
    async fn forward(self, request: Request<Incoming>) -> Result<Response<ForwardedBody>, BoxError> {
        let request = Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {}", self.api_key))
            .header(CONTENT_TYPE, "application/json")
            .body(request.into_body())?;
        Ok(match self.openai.send(request).await {
            Ok(response) => response.map(|body| body.boxed_unsync()),
            Err(error) => {
                ErrorBody::response_of::<String>(&*error).map(|body| body.map_err(Into::into).boxed_unsync())
            }
        })
    }
}
