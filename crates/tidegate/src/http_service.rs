use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::BoxError;

/// A service that answers an HTTP request of body `B`: what every layer wraps, and is.
///
/// Implemented by every such [`Service`]; there is nothing to implement by hand.
pub trait HttpService<B>:
    Service<Request<B>, Response = Response<<Self as HttpService<B>>::Body>, Error: Into<BoxError>>
{
    /// The body of the answer.
    type Body: Body<Error: Into<BoxError>>;
}

impl<S, B, R> HttpService<B> for S
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>>,
    R: Body<Error: Into<BoxError>>,
{
    type Body = R;
}
