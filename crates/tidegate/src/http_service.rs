use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::BoxError;

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
