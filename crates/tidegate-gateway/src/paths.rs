//! The paths of requests, as clients join them.

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, Path};
use http::{Request, Response, Uri, request};
use tidegate::ErrorCode;

use crate::endpoint::dialect_of_caller;
use crate::proxy::GatewayError;

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

/// Removes doubled and trailing slashes from the path of `request`. Clients produce them when they join a
/// base URL and a path.
pub(crate) fn normalize<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    if (path.contains("//") || (path.len() > 1 && path.ends_with('/')))
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
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
