//! Calls to a service under test, and what they end in.

use std::future::poll_fn;

use http::{Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use tidegate_core::{BoxError, Error, Payload, Rejection};
use tower_service::Service;

/// A small request.
#[must_use]
pub fn request() -> Request<Payload> {
    let mut request = Request::new(Payload::from("{}"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://provider/v1/any");
    request
}

/// Makes one call with a small request, to the head of its response.
///
/// # Errors
///
/// The error of the service.
pub async fn call<S, B>(service: &mut S) -> Result<Response<B>, Error>
where
    S: Service<Request<Payload>, Response = Response<B>, Error: Into<BoxError>>,
{
    send(service, request()).await
}

/// Makes one call with this request, to the head of its response.
///
/// # Errors
///
/// The error of the service.
pub async fn send<S, B>(service: &mut S, request: Request<Payload>) -> Result<Response<B>, Error>
where
    S: Service<Request<Payload>, Response = Response<B>, Error: Into<BoxError>>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Error::boxed)?;
    service.call(request).await.map_err(Error::boxed)
}

/// Makes one call with a small request, to the last byte of its response. Returns the status.
///
/// # Errors
///
/// The error of the service or of the body.
pub async fn complete<S, B>(service: &mut S) -> Result<u16, Error>
where
    S: Service<Request<Payload>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Error: Into<BoxError>>,
{
    let response = call(service).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(Error::boxed)?;
    Ok(status)
}

/// The rejection that the call must have ended in.
///
/// # Panics
///
/// The call has ended in a response or another error.
pub fn rejection<T>(result: Result<T, Error>) -> Rejection {
    let error = result.err().expect("a rejection");
    error.rejection().unwrap_or_else(|| panic!("not a rejection: {error}")).clone()
}
