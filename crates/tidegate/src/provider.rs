//! For implementors: the traits that connect a provider to the layers, and the types that they name.
//!
//! An application needs little of this module. It is for code that adds a provider, an innermost service or a
//! part of a layer:
//!
//! | to add | implement |
//! |---|---|
//! | a provider with responses of its own | [`Classifier`], with a [`Scan`] for its streams |
//! | an innermost service | a `Service` of `http` types; it is then an [`HttpService`]. Its errors may be a [`Failure`] |
//! | a count of prompt tokens | [`Estimate`] |
//! | a dialect | [`Translator`], with a [`ResponseTranslator`] |
//! | the continuation of broken streams | [`StreamContinuator`], with a [`StreamSplicer`] |
//! | answers that need no provider | [`AnswerSynthesizer`], with an [`AnswerRecorder`] |
//! | what models support | [`ModelCatalog`] |
//!
//! The feature `providers` has implementations for the known providers in `providers`, the feature
//! `translate` in `translators`.

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

#[doc(inline)]
pub use tidegate_core::*;

/// A service of HTTP requests with body `B`. Every layer wraps one and is one.
///
/// Implemented for every such [`Service`]; do not implement it yourself.
pub trait HttpService<B>:
    Service<Request<B>, Response = Response<<Self as HttpService<B>>::Body>, Error: Into<BoxError> + 'static>
{
    /// The response body.
    type Body: Body<Error: Into<BoxError>>;
}

impl<S, B, R> HttpService<B> for S
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError> + 'static>,
    R: Body<Error: Into<BoxError>>,
{
    type Body = R;
}
