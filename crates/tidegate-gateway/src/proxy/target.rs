use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tidegate::provider::BodyRewritten;
use tidegate::translate::Translate;
use tidegate::translators::{ChatToMessages, MessagesToChat};
use tidegate::{Error, Payload, Resilience, TranslateLayer};
use tower::{Layer, Service};

use super::model_field::{ModelField, ModelSpan};
use crate::client::ProviderClient;
use crate::config::{GatewayConfigError, ProviderConfig, TargetName};
use crate::endpoint::{ApiDialect, Endpoint};

/// The gates of one `provider/model` under one policy.
pub(crate) type TargetStack = Resilience<ProviderClient>;

/// A target of a chain. Requests are translated into its dialect first, if that differs from the caller's.
///
/// The translation is outside of the stack, because the stack classifies responses in the provider's own
/// dialect. It is inside of the fallback, so that each target starts from the original request.
pub(crate) type AddressedTarget = Translate<Readdress>;

/// Rewrites the address of a request and sends it through the stack of its target. All attempts of a call
/// share one body.
#[derive(Clone, Debug)]
pub(crate) struct Readdress {
    address: Arc<TargetAddress>,
    stack: TargetStack,
}

/// The parts of a request that are replaced for this target.
#[derive(Debug)]
pub(super) struct TargetAddress {
    uri: Uri,
    /// The model as a JSON string, quotes included.
    model: String,
    /// The credentials of the provider. Those of the caller have been removed already.
    credentials: Option<(HeaderName, HeaderValue)>,
    /// Headers that are added unless the caller sent them.
    defaults: HeaderMap,
    /// Whether the body was translated, so that its model is at another position than in the caller's body.
    is_translated: bool,
}

/// Builds the service for target `name` of a route at `endpoint`. `is_mixed`: some target of the chain uses
/// the caller's dialect natively.
pub(crate) fn target(
    name: &TargetName,
    endpoint: Endpoint,
    provider: &ProviderConfig,
    is_mixed: bool,
    stack: TargetStack,
) -> Result<AddressedTarget, GatewayConfigError> {
    let dialect = provider.dialect();
    let provider_endpoint = endpoint.at_provider(dialect).unwrap_or(endpoint);
    let translate = match (endpoint.dialect(), dialect) {
        (ApiDialect::OpenAi, ApiDialect::Anthropic) => TranslateLayer::new(ChatToMessages::new(&name.name)),
        // The caller would send unsigned reasoning back with its next request, and the native target would
        // reject that.
        (ApiDialect::Anthropic, ApiDialect::OpenAi) => {
            TranslateLayer::new(MessagesToChat::new(&name.name).omit_reasoning(is_mixed))
        }
        _ => TranslateLayer::disabled(),
    };
    let address = TargetAddress {
        is_translated: provider_endpoint != endpoint,
        ..TargetAddress::new(name, provider, provider_endpoint, "")?
    };
    Ok(translate.layer(Readdress { address: Arc::new(address), stack }))
}

impl TargetAddress {
    /// The address of `target` at `endpoint`, or of the resource at `path` below it.
    pub(super) fn new(
        target: &TargetName,
        provider: &ProviderConfig,
        endpoint: Endpoint,
        path: &str,
    ) -> Result<Self, GatewayConfigError> {
        let uri = provider.uri(endpoint).and_then(|uri| format!("{uri}{path}").parse());
        let uri = uri.map_err(|_| {
            let key = format!("providers.{}.base_url", target.provider);
            GatewayConfigError::new(key, "does not lead to a URL")
        })?;
        let mut defaults = HeaderMap::new();
        if provider.dialect() == ApiDialect::Anthropic {
            defaults.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        }
        let model = serde_json::Value::from(&*target.model).to_string();
        Ok(Self { uri, model, credentials: provider.credentials(), defaults, is_translated: false })
    }

    /// The URI for a request. The query of a caller is meant for its own dialect.
    fn uri_for(&self, request: &Request<Payload>) -> Uri {
        let query = request.uri().query().filter(|_| !self.is_translated);
        let with_query = query.and_then(|query| {
            let mut parts = self.uri.clone().into_parts();
            parts.path_and_query = Some(format!("{}?{query}", self.uri.path()).parse().ok()?);
            Uri::from_parts(parts).ok()
        });
        with_query.unwrap_or_else(|| self.uri.clone())
    }

    /// Replaces the address, the credentials and the model of `request`.
    pub(super) fn readdress(&self, mut request: Request<Payload>) -> Request<Payload> {
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri_for(&request);
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

    /// The body with the model name of the target.
    fn rename(&self, body: &Bytes, extensions: &Extensions) -> Option<Bytes> {
        // A request that continues a response, or requests a simpler one, has another body than the caller's
        // as well.
        if self.is_translated || extensions.get::<BodyRewritten>().is_some() {
            return Some(ModelField::read(body).ok()?.span.splice(body, &self.model));
        }
        Some(extensions.get::<ModelSpan>()?.splice(body, &self.model))
    }
}

impl Service<Request<Payload>> for Readdress {
    type Response = <TargetStack as Service<Request<Payload>>>::Response;
    type Error = Error;
    type Future = <TargetStack as Service<Request<Payload>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Payload>>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let request = self.address.readdress(request);
        self.stack.call(request)
    }
}
