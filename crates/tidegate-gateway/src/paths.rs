//! The paths of requests, as clients join them.

use http::{Request, Uri};

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
