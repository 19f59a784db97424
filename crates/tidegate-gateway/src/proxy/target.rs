use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tidegate::providers::translate::{ChatToMessages, MessagesToChat};
use tidegate::stack::ResponseFuture;
use tidegate::translate::Translate;
use tidegate::{BodyRewritten, BoxError, Payload, ReqwestService, Resilience, TranslateLayer};
use tower::{Layer, Service};

use super::asked::{Asked, Place};
use crate::config::{ConfigError, Provider, TargetName};
use crate::endpoint::{Dialect, Endpoint};

/// The gates of one `provider/model` under one policy.
pub(crate) type Stack = Resilience<ReqwestService>;

/// A target of a chain: what a caller asks it is put into its dialect first, if that is another one.
///
/// Outside of the stack, which judges the provider's own dialect; inside of the fallback, so that each target begins
/// with what the caller sent.
pub(crate) type Target = Translate<Addressed>;

/// Readdresses a request and sends it through the stack of its target. All attempts of a call share one body.
#[derive(Clone, Debug)]
pub(crate) struct Addressed {
    address: Arc<Address>,
    stack: Stack,
}

/// What makes a request one for this target.
#[derive(Debug)]
struct Address {
    uri: Uri,
    /// As it is written in JSON, quotes included.
    model: String,
    /// Replaces what the caller sent, which has been stripped already.
    credentials: Option<(HeaderName, HeaderValue)>,
    /// Added unless the caller sent them.
    defaults: HeaderMap,
    /// The body is not the caller's own, so the model stands elsewhere in it.
    is_translated: bool,
}

/// Who is asked for `name` on behalf of the callers of `endpoint`. In a mixed chain somebody speaks their dialect.
pub(crate) fn target(
    name: &TargetName,
    endpoint: Endpoint,
    provider: &Provider,
    is_mixed: bool,
    stack: Stack,
) -> Result<Target, ConfigError> {
    let spoken = provider.dialect();
    let asked = endpoint.asked_in(spoken).unwrap_or(endpoint);
    let uri = provider.uri(asked).map_err(|_| {
        ConfigError::new(format!("providers.{}.base_url", name.provider), "does not lead to a URL")
    })?;
    let mut defaults = HeaderMap::new();
    if spoken == Dialect::Anthropic {
        defaults.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let translate = match (endpoint.dialect(), spoken) {
        (Dialect::OpenAi, Dialect::Anthropic) => TranslateLayer::new(ChatToMessages::new(&name.name)),
        // Thoughts that are not signed would make the native target refuse the next question.
        (Dialect::Anthropic, Dialect::OpenAi) => {
            TranslateLayer::new(MessagesToChat::new(&name.name).omit_reasoning(is_mixed))
        }
        _ => TranslateLayer::disabled(),
    };
    let model = serde_json::Value::from(&*name.model).to_string();
    let is_translated = asked != endpoint;
    let address = Address { uri, model, credentials: provider.credentials(), defaults, is_translated };
    Ok(translate.layer(Addressed { address: Arc::new(address), stack }))
}

impl Address {
    fn readdress(&self, mut request: Request<Payload>) -> Request<Payload> {
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        for (name, value) in &self.defaults {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        if let Some((name, value)) = self.credentials.clone() {
            request.headers_mut().insert(name, value);
        }
        if let Some(body) = request.body().bytes().and_then(|body| self.rename(body, request.extensions())) {
            *request.body_mut() = body.into();
        }
        request
    }

    /// The body with the target's own name for the model.
    fn rename(&self, body: &Bytes, extensions: &Extensions) -> Option<Bytes> {
        // What asks for the rest of an answer, or for a simpler one, is another body than the caller's, too.
        if self.is_translated || extensions.get::<BodyRewritten>().is_some() {
            return Some(Asked::read(body).ok()?.place.splice(body, &self.model));
        }
        Some(extensions.get::<Place>()?.splice(body, &self.model))
    }
}

impl Service<Request<Payload>> for Addressed {
    type Response = <Stack as Service<Request<Payload>>>::Response;
    type Error = BoxError;
    type Future = ResponseFuture<ReqwestService, Payload>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<Request<Payload>>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let request = self.address.readdress(request);
        self.stack.call(request)
    }
}
