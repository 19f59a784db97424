use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tidegate_core::BoxError;
use tower_service::Service;

use super::respond::respond;
use super::{Provider, ProviderBody, RequestLog, Script};

/// A provider without a socket. It is the innermost service of a stack in tests with a paused clock.
///
/// A connection fault is an error that contains a [`Fault`](crate::Fault). Clones share one provider.
#[derive(Clone, Debug)]
pub struct InMemory(Arc<Provider>);

impl InMemory {
    pub(super) const fn new(provider: Arc<Provider>) -> Self {
        Self(provider)
    }

    /// The path, with its query, of a chat request or of a stream for `model`.
    #[must_use]
    pub fn chat_path(&self, model: &str, is_stream: bool) -> String {
        self.0.chat_path(model, is_stream)
    }

    /// The record of requests and responses.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.0.log
    }

    /// The script of replies, which can be changed while the provider runs.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.0.script
    }
}

impl<B> Service<Request<B>> for InMemory
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ProviderBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProviderBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let provider = Arc::clone(&self.0);
        Box::pin(async move { respond(&provider, request).await.map_err(Into::into) })
    }
}
