//! A chain of targets by name: URLs, dialects and keys come from a table of providers.
//!
//! # When to use it
//! For calls that any of several models may answer. One request in the dialect of OpenAI or of Anthropic is
//! sent along the chain; each target gets it at its own URL, with its own key and model, in its own dialect,
//! through a stack of its own.
//!
//! # Example
//! ```no_run
//! # #[cfg(feature = "reqwest")]
//! # async fn example() -> Result<(), tidegate::BoxError> {
//! use http::Request;
//! use http_body_util::BodyExt;
//! use tidegate::{FallbackChain, Payload, ReqwestService};
//!
//! let chat = FallbackChain::new(["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "deepseek/deepseek-chat"])
//!     .service(ReqwestService::new(reqwest::Client::new()))?;
//! let request = Request::post("/v1/chat/completions")
//!     .body(Payload::from(r#"{"messages":[{"role":"user","content":"Why is the sea salty?"}]}"#))?;
//! let answer = chat.send(request).await?.into_body().collect().await?.to_bytes();
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! Without a [policy](FallbackChain::policy) there are [timeouts](crate::timeout#defaults) and fallbacks with
//! their defaults, and nothing else; the providers are [`Providers::from_env`].
//!
//! # Groups
//! A place of the chain may be a [`group`] of targets: deployments, servers or accounts of one model. So is a
//! target of a provider with several keys ([`ProviderSettings::api_keys`]).
//!
//! # Requests
//! The path of a request determines its dialect: the end of it is that of an [`Endpoint`]. The host of its
//! URI, its credentials, its cookies and the headers that name an account are replaced or removed; its other
//! headers are sent on, unless [`ProviderSettings::only_headers`] limits them. Of its query `api-version` and
//! `beta` are sent on to a target of its dialect, unless [`ProviderSettings::query`], which every request has,
//! sets them. A model in its body is replaced, and may be absent. A request that a target cannot be sent, since
//! its dialect has no counterpart, is rejected for that target alone, and the chain goes on.
//!
//! # Rejections
//! None but those of its stacks and of its [`FallbackLayer`](crate::FallbackLayer); `E1001` for a path that
//! is that of no endpoint, and for a body that is not a JSON object; and `E1005` for a body that is too long
//! to be translated. A target whose key is not set is an error of [`FallbackChain::service`].
//!
//! # Streams
//! As with [`FallbackLayer`](crate::FallbackLayer): a stream that fails before its first token falls back.
//!
//! # Common mistakes
//! A chain per call: the circuits and limits of the targets would be new each time. Clone one chain.

mod address;
mod addressed;
mod api_key;
mod dialect_translator;
mod endpoint;
mod fallback_chain;
mod provider_settings;
mod provider_warnings;
mod providers;
mod request_headers;
mod service;
mod target_group;
#[cfg(feature = "reqwest")]
mod unaddressed;

pub use address::TargetAddress;
pub use addressed::{Addressed, AddressedFuture};
pub use api_key::ApiKey;
pub use endpoint::{ApiDialect, Endpoint};
pub use fallback_chain::FallbackChain;
pub use provider_settings::ProviderSettings;
pub use providers::Providers;
pub use request_headers::{can_be_sent, is_hop_by_hop, is_provider_header};
pub use service::{Chain, ResponseBody, ResponseFuture};
pub use target_group::{TargetGroup, group};

#[cfg(feature = "reqwest")]
pub(crate) use unaddressed::{check as check_addressed, mark as mark_unaddressed};

use tower_layer::Layer;

use self::dialect_translator::DialectTranslator;
use crate::TranslateLayer;
use crate::translate::Translate;

/// The stack `S` of a target, to which every request is translated and addressed.
///
/// The translation is outside of the stack, because the stack classifies responses in the provider's own
/// dialect. It is inside of the chain, so that each target starts from the original request.
pub type NamedTarget<S> = Translate<Addressed<S>>;

/// Makes the stack of a target take requests for any target. `is_mixed`: another target of the chain has
/// Anthropic's API, which rejects reasoning without a signature.
#[must_use]
pub fn named_target<S>(stack: S, address: TargetAddress, is_mixed: bool) -> NamedTarget<S> {
    let translator = DialectTranslator::new(&address, is_mixed);
    TranslateLayer::of_target(Some(address.name().clone()), translator).layer(Addressed::new(stack, address))
}

/// The address of a target at a built-in provider, for requests that name the host of another one.
pub(crate) fn built_in_address(target: &str) -> Option<TargetAddress> {
    let (name, _) = target.split_once('/').filter(|(_, model)| !model.is_empty())?;
    let env = |variable: &str| std::env::var_os(variable);
    let providers = Providers::new();
    let settings = providers.get(name)?.clone();
    let (settings, problem) = match settings.clone().with_variables(&env) {
        Ok(settings) => (settings, None),
        Err(error) => (settings, Some(error.to_string())),
    };
    Some(TargetAddress::of_requests_elsewhere(target, &settings, providers.moved_by(&env), problem))
}
