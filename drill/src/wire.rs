//! The client of all stacks: it sends a request to the provider that its URL names, and records the attempt.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tidegate::{BoxError, Payload};
use tidegate_testkit::provider::InMemory;
use tower::{Service, ServiceExt};

use crate::call::CALL;
use crate::ledger::{AttemptEnding, Ledger};

/// The number of the attempt, which the provider reads.
pub(crate) const ATTEMPT: &str = "x-drill-attempt";

/// How requests reach the providers.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// The providers, in the order of the scenario.
    Memory(Arc<[InMemory]>),
    /// A client of sockets.
    Sockets(Client<HttpConnector, Payload>),
}

/// Sends requests, and records them.
#[derive(Clone, Debug)]
pub(crate) struct RecordedClient {
    pub(crate) transport: Transport,
    /// The host, and the port if there is one, of each provider.
    pub(crate) authorities: Arc<[String]>,
    pub(crate) ledger: Ledger,
}

type RecordedFuture = Pin<Box<dyn Future<Output = Result<Response<RecordedBody>, BoxError>> + Send>>;

/// Records the end of a response body.
#[derive(Debug)]
pub(crate) struct RecordedBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    open: OpenAttempt,
}

/// An attempt in progress. It was dropped if nothing else was recorded.
#[derive(Debug)]
struct OpenAttempt {
    ledger: Ledger,
    number: usize,
    is_ended: bool,
}

impl RecordedClient {
    /// The provider that a request names.
    pub(crate) fn provider_of<B>(&self, request: &Request<B>) -> usize {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        self.authorities.iter().position(|known| known == authority).unwrap_or_default()
    }
}

impl Service<Request<Payload>> for RecordedClient {
    type Response = Response<RecordedBody>;
    type Error = BoxError;
    type Future = RecordedFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Payload>) -> RecordedFuture {
        let (provider, wire) = (self.provider_of(&request), self.clone());
        let call = request.headers().get(CALL).and_then(|call| call.to_str().ok()?.parse().ok());
        Box::pin(async move {
            let number = wire.ledger.send(call.unwrap_or_default(), provider);
            request.headers_mut().insert(ATTEMPT, HeaderValue::from(number));
            let mut open = OpenAttempt { ledger: wire.ledger, number, is_ended: false };
            let response = match wire.transport {
                Transport::Memory(providers) => {
                    let response = providers[provider].clone().oneshot(request).await;
                    response.map(|response| response.map(boxed))
                }
                Transport::Sockets(client) => {
                    let response = client.oneshot(request).await.map_err(BoxError::from);
                    response.map(|response| response.map(boxed))
                }
            };
            open.on_head(response.as_ref().ok().map(|response| response.status().as_u16()));
            match response {
                Ok(response) => Ok(response.map(|inner| RecordedBody { inner, open })),
                Err(error) => {
                    open.end(AttemptEnding::Broken);
                    Err(error)
                }
            }
        })
    }
}

fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

impl OpenAttempt {
    fn on_head(&self, status: Option<u16>) {
        let head = self.ledger.elapsed();
        self.ledger.edit(self.number, |attempt| (attempt.head, attempt.status) = (Some(head), status));
    }

    fn end(&mut self, end: AttemptEnding) {
        if !std::mem::replace(&mut self.is_ended, true) {
            let at = self.ledger.elapsed();
            self.ledger.edit(self.number, |attempt| attempt.end = Some((at, end)));
        }
    }
}

impl Drop for OpenAttempt {
    fn drop(&mut self) {
        self.end(AttemptEnding::Dropped);
    }
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.open.end(AttemptEnding::Read),
            Some(Err(_)) => self.open.end(AttemptEnding::Broken),
            Some(Ok(_)) if self.inner.is_end_stream() => self.open.end(AttemptEnding::Read),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
