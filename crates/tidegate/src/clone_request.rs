use http::Request;

use crate::Payload;

/// A copy of the request that shares the body by reference count; `None` if the body cannot be sent again.
pub(crate) fn clone_request(request: &Request<Payload>) -> Option<Request<Payload>> {
    let mut clone = Request::new(request.body().replay()?);
    *clone.method_mut() = request.method().clone();
    *clone.uri_mut() = request.uri().clone();
    *clone.version_mut() = request.version();
    *clone.headers_mut() = request.headers().clone();
    *clone.extensions_mut() = request.extensions().clone();
    Some(clone)
}
