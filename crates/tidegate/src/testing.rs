//! Helpers that the tests of the layers share.

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate_testkit::strict::{self, Handle, Strict};
use tower::ServiceExt;

use crate::{Error, HttpService, Payload, Rejection};

pub(crate) fn strict() -> (Strict<Payload>, Handle) {
    strict::service()
}

pub(crate) fn request() -> Request<Payload> {
    Request::post("http://provider/v1/any").body(Payload::from("{}")).unwrap()
}

/// Makes one call, to the head of its response.
pub(crate) async fn call<S>(service: &mut S) -> Result<Response<S::Body>, Error>
where
    S: HttpService<Payload>,
{
    send(service, request()).await
}

pub(crate) async fn send<S>(service: &mut S, request: Request<Payload>) -> Result<Response<S::Body>, Error>
where
    S: HttpService<Payload>,
{
    service.ready().await.map_err(Error::boxed)?.call(request).await.map_err(Error::boxed)
}

/// Makes one call, to the last byte of its response. Returns the status.
pub(crate) async fn complete<S>(service: &mut S) -> Result<u16, Error>
where
    S: HttpService<Payload>,
{
    let response = call(service).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(Error::boxed)?;
    Ok(status)
}

/// The rejection that the call must have ended in.
pub(crate) fn rejection<T>(result: Result<T, Error>) -> Rejection {
    let error = result.err().expect("a rejection");
    Rejection::find(&*error).unwrap_or_else(|| panic!("not a rejection: {error}")).clone()
}
