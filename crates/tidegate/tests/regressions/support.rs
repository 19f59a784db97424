//! A strict provider, calls to it, and their duration.

use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::provider::HttpService;
use tidegate::{Error, Payload, Rejection};
use tidegate_testkit::strict::{self, Handle, Strict};
use tower::ServiceExt;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn strict() -> (Strict<Payload>, Handle) {
    strict::service()
}

/// The clock that the layers read.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn request() -> Request<Payload> {
    Request::post("http://provider/v1/any").body(Payload::from("{}")).unwrap()
}

/// Makes one call, to the head of its response.
pub(crate) async fn call<S>(service: &mut S) -> Result<Response<S::Body>, Error>
where
    S: HttpService<Payload>,
{
    service.ready().await.map_err(Error::boxed)?.call(request()).await.map_err(Error::boxed)
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

/// The result of a call that must end within an hour, and its duration.
pub(crate) async fn in_time<F: Future>(call: F) -> (F::Output, Duration) {
    let start = now();
    let result = tokio::time::timeout(3_600 * SECOND, call).await;
    (result.expect("still waiting after an hour"), now() - start)
}

/// The rejection that the call must have ended in.
pub(crate) fn rejection<T>(result: Result<T, Error>) -> Rejection {
    let error = result.err().expect("a rejection");
    Rejection::find(&*error).unwrap_or_else(|| panic!("not a rejection: {error}")).clone()
}
