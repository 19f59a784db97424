//! The paths of requests, as clients join them.

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, Path};
use http::{Request, Response, Uri, request};
use tidegate::ErrorCode;

use crate::endpoint::{COUNT_TOKENS, Endpoint, dialect_of_caller};
use crate::proxy::GatewayError;

/// The version in front of the path of an endpoint.
const VERSION: &str = "/v1";

/// The path of the models below the version.
const MODELS: &str = "/models";

/// What is dropped from the beginning of a path, if this follows it: a version, or the prefix of Azure's
/// API, of which the base URL and the client have one each.
const REPEATED: [(&str, &str); 3] = [("/v1", "/v1/"), ("/v1", "/openai/"), ("/openai", "/openai/")];

/// The variable part of a path, without its escapes. Its error has the format of the caller's API.
#[derive(Debug)]
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Response<Body>> {
        match <Path<_> as FromRequestParts<S>>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(no_text(parts)),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for PathText {
    type Rejection = Response<Body>;

    async fn from_request_parts(
        parts: &mut request::Parts,
        state: &S,
    ) -> Result<Option<Self>, Response<Body>> {
        match <Path<_> as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await {
            Ok(path) => Ok(path.map(|Path(text)| Self(text))),
            Err(_) => Err(no_text(parts)),
        }
    }
}

fn no_text(parts: &request::Parts) -> Response<Body> {
    GatewayError::new(ErrorCode::InvalidRequest, "path is not UTF-8 without its escapes")
        .into_response(dialect_of_caller(parts.uri.path(), &parts.headers))
}

/// Removes doubled and trailing slashes from the path of `request`, and completes the path of an API. Clients
/// produce these when they join a base URL and a path: some expect the version in the base URL, and others add
/// it.
///
/// A path that is changed is one of an API afterwards, so that no page of the gateway is reached by it.
pub(crate) fn normalize<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let has_slashes = path.contains("//") || (path.len() > 1 && path.ends_with('/'));
    if (has_slashes || completed(path).is_some())
        && let Some(uri) = normalized(request.uri())
    {
        *request.uri_mut() = uri;
    }
    request
}

fn normalized(uri: &Uri) -> Option<Uri> {
    let mut path: String =
        uri.path().split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    if path.is_empty() {
        path.push('/');
    }
    if let Some(completed) = completed(&path) {
        path = completed;
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The path of an API that has its version twice, or lacks it. `None` for any other path.
fn completed(path: &str) -> Option<String> {
    let lacks_version = Endpoint::ALL.iter().any(|endpoint| path == endpoint.suffix())
        || COUNT_TOKENS.strip_prefix(VERSION) == Some(path)
        || path == MODELS
        || path.strip_prefix(MODELS).is_some_and(|id| id.starts_with('/'));
    if lacks_version {
        return Some(format!("{VERSION}{path}"));
    }
    let mut single = path;
    while let Some(rest) = REPEATED
        .iter()
        .find_map(|(prefix, repeated)| single.strip_prefix(prefix).filter(|rest| rest.starts_with(repeated)))
    {
        single = rest;
    }
    (single.len() < path.len()).then(|| single.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Regression: a base URL with or without the version, as another client needs it, led to a 404 or to the
    /// check of the admin key.
    #[test]
    fn the_version_of_an_api_is_completed() {
        for (uri, expected) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/messages?beta=true", "/v1/messages?beta=true"),
            ("/messages/count_tokens/", "/v1/messages/count_tokens"),
            ("//responses", "/v1/responses"),
            ("/embeddings", "/v1/embeddings"),
            ("/models", "/v1/models"),
            ("/models/org/m", "/v1/models/org/m"),
            ("/v1/v1/messages", "/v1/messages"),
            ("/v1//v1/v1/chat/completions/?a=/v1/v1/", "/v1/chat/completions?a=/v1/v1/"),
            ("/v1/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
            ("/openai/openai/v1/responses", "/openai/v1/responses"),
            // These are complete, or no path of an API.
            ("/v1/models/v1/v1/m", "/v1/models/v1/v1/m"),
            ("/openai/v1/responses", "/openai/v1/responses"),
            ("/v1/v1", "/v1/v1"),
            ("/modelsx", "/modelsx"),
            ("/messages/batches", "/messages/batches"),
            ("/x/chat/completions", "/x/chat/completions"),
            ("/v1x/v1/messages", "/v1x/v1/messages"),
        ] {
            let request = Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(normalize(request).uri(), expected, "{uri}");
        }
    }

    proptest! {
        /// What is changed is one of an API: no page of the gateway is shadowed, and none is reached.
        #[test]
        fn only_paths_of_an_api_are_completed(
            parts in prop::collection::vec(prop::sample::select(vec![
                "v1", "openai", "signals", "calls", "metrics", "live", "health", "models", "messages", "chat",
                "completions", "responses", "count_tokens", "..", "%2F", "",
            ]), 0..6),
        ) {
            let path = parts.iter().map(|part| format!("/{part}")).collect::<String>();
            if let Some(completed) = completed(&path) {
                prop_assert!(["/v1/", "/openai/"].iter().any(|api| completed.starts_with(api)), "{}", path);
                prop_assert!(!["/signals", "/calls", "/metrics", "/live", "/health"].iter().any(|page| path.starts_with(page)));
                prop_assert_eq!(super::completed(&completed), None);
            }
        }
    }

    #[test]
    fn slashes_are_normalized_and_the_rest_is_not() {
        for (uri, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/v1//messages", "/v1/messages"),
            ("//v1/messages/", "/v1/messages"),
            ("/v1/messages///?beta=true&x=//", "/v1/messages?beta=true&x=//"),
            ("/v1/models/a%2F%2Fb", "/v1/models/a%2F%2Fb"),
            ("http://g//v1/models/", "http://g/v1/models"),
            ("*", "*"),
        ] {
            let request = Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(normalize(request).uri(), expected, "{uri}");
        }
    }
}
