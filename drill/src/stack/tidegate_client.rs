//! The client of tidegate's stacks, and the number formats that they share.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tidegate::fallback::AsTarget;
use tidegate::providers::Provider;
use tidegate::reconnect::Reconnect;
use tidegate::{BoxError, Payload};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::StackService;
use crate::kept_connections::KeptConnections;
use crate::scenario::ProviderApi;
use crate::wire::{RecordedBody, RecordedClient, Transport};

pub(super) type TidegateClient = BoxCloneSyncService<Request<Payload>, Response<RecordedBody>, BoxError>;

/// A client that sends a request again if the connection that it had kept was closed.
pub(super) fn client(wire: RecordedClient) -> TidegateClient {
    match wire.transport {
        Transport::Memory(_) => TidegateClient::new(KeptConnections::new(wire)),
        Transport::Sockets(_) => {
            let unpooled = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
            let fresh = RecordedClient { transport: Transport::Sockets(unpooled), ..wire.clone() };
            TidegateClient::new(Reconnect::new(wire, fresh).map_err(BoxError::from))
        }
    }
}

/// The rules by which the responses of a provider are classified.
pub(super) const fn rules(dialect: ProviderApi) -> Provider {
    match dialect {
        ProviderApi::Openai => Provider::OpenAi,
        ProviderApi::Anthropic => Provider::Anthropic,
        ProviderApi::Deepseek => Provider::DeepSeek,
        ProviderApi::Mistral => Provider::Mistral,
    }
}

/// The stack as callers use it.
pub(super) fn for_callers<S: AsTarget>(stack: S) -> StackService {
    StackService::new(
        stack
            .map_request(|request: Request<Bytes>| request.map(Payload::from))
            .map_response(|response: Response<S::Body>| {
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            })
            .map_err(Into::into),
    )
}
