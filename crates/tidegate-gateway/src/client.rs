//! The HTTP client for all providers. It sends requests and does nothing else: no redirects, which would send
//! an API key to another host; no proxy from the environment, since the configuration determines the hosts;
//! no retries, since the layers count attempts.

use std::pin::Pin;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderValue, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidegate::reconnect::Reconnect;
use tower::util::MapResponse;
use tower_http::decompression::{Decompression, DecompressionBody};
use tower_http::set_header::SetRequestHeader;

use crate::call_trace::TraceAttempts;
use crate::client_pools::{ClientPools, CountedBody};
use crate::config::{ConnectionSettings, GatewayConfigError};
use crate::connector::Connector;

/// A client that sends a request again if the provider did not process it. It requests responses without
/// compression, and unpacks those that are compressed with gzip or deflate anyway.
pub(crate) type ProviderClient = TraceAttempts<SetRequestHeader<Unpacked, HeaderValue>>;

/// Boxes the bodies, which are large where they may be compressed, since each layer above moves them.
type Unpacked = MapResponse<Decompression<NamedCodings>, fn(Response<PackedBody>) -> Response<UnpackedBody>>;
type UnpackedBody = Pin<Box<PackedBody>>;
type PackedBody = DecompressionBody<CountedBody>;

/// Names the coding of a response as the decompression expects it.
type NamedCodings = MapResponse<Reconnect<ClientPools>, fn(Response<CountedBody>) -> Response<CountedBody>>;

/// The bytes of a response over HTTP/2 that arrive before its caller reads: what a slow caller takes up.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same of all responses of a connection: more than those of its streams together. All callers share the
/// connection, and with less the unread responses of some would stop those of the others.
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;

/// Builds the client. `https` is the key of a setting with an address by https, if there is one.
pub(crate) fn client(
    settings: &ConnectionSettings,
    https: Option<&str>,
) -> Result<ProviderClient, GatewayConfigError> {
    let connector = Connector::new(settings, https)?;
    let mut pooled = Client::builder(TokioExecutor::new());
    pooled
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(settings.ping_interval)
        .http2_keep_alive_timeout(settings.ping_timeout)
        .http2_keep_alive_while_idle(true);
    let mut fresh = pooled.clone();
    fresh.pool_max_idle_per_host(0);
    let client = ClientPools::new(pooled, connector.clone());
    let client = Reconnect::new(client, ClientPools::new(fresh, connector));
    let identity = HeaderValue::from_static("identity");
    let client = MapResponse::new(client, name_coding as fn(_) -> _);
    let client = MapResponse::new(unpacking(client), boxed as fn(_) -> _);
    let client = SetRequestHeader::if_not_present(client, ACCEPT_ENCODING, identity);
    Ok(TraceAttempts::new(client))
}

/// Unpacks gzip and deflate, which have a window of 32 KiB. Brotli and zstd need up to 1 GiB and 128 MiB, which
/// no budget counts: responses in them are not read.
fn unpacking<S>(client: S) -> Decompression<S> {
    Decompression::new(client).no_br().no_zstd()
}

fn boxed(response: Response<PackedBody>) -> Response<UnpackedBody> {
    response.map(Box::pin)
}

/// Replaces other spellings of a content coding by its registered name (RFC 9110, 8.4.1). Several codings
/// stay as they are.
fn name_coding<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = codings
        .flat_map(|value| value.split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !matches!(&**coding, "" | "identity"));
    let (first, second) = (codings.next(), codings.next());
    drop(codings);
    match (first.as_deref(), second) {
        (None, _) => _ = headers.remove(CONTENT_ENCODING),
        (Some(coding), None) => {
            let name = if coding == "x-gzip" { "gzip" } else { coding };
            if let Ok(name) = HeaderValue::from_str(name) {
                headers.insert(CONTENT_ENCODING, name);
            }
        }
        (Some(_), Some(_)) => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Regression: a provider could take 1 GiB for each response that it sent in brotli.
    #[tokio::test]
    async fn codings_with_a_large_window_are_not_unpacked() {
        let text = b"here".repeat(100);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&text).unwrap();
        let mut brotli = Vec::new();
        brotli::BrotliCompress(&mut &*text, &mut brotli, &Default::default()).unwrap();
        for (coding, packed, is_unpacked) in [
            ("gzip", gzip.finish().unwrap(), true),
            ("deflate", deflate.finish().unwrap(), true),
            ("br", brotli, false),
            ("zstd", zstd::encode_all(&*text, 1).unwrap(), false),
        ] {
            let body = Full::new(bytes::Bytes::from(packed.clone()));
            let response = Response::builder().header(CONTENT_ENCODING, coding).body(body).unwrap();
            let client = service_fn(move |_: Request<()>| {
                let response = response.clone();
                async { Ok::<_, Infallible>(response) }
            });
            let response = unpacking(client).oneshot(Request::new(())).await.unwrap();
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), !is_unpacked, "{coding}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, if is_unpacked { text.clone() } else { packed }, "{coding}");
        }
    }

    #[test]
    fn a_coding_has_its_registered_name() {
        for (spelling, name) in [
            (&["GZIP"][..], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["identity", " gzip "], Some("gzip")),
            (&["identity"], None),
            (&[""], None),
            (&[], None),
            (&["Deflate"], Some("deflate")),
            (&["unknown"], Some("unknown")),
            (&["zstd, gzip"], Some("zstd, gzip")),
        ] {
            let response =
                spelling.iter().fold(Response::builder(), |it, coding| it.header(CONTENT_ENCODING, *coding));
            let response = name_coding(response.body(()).unwrap());
            let named = response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(named, name, "{spelling:?}");
        }
    }
}
