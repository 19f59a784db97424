//! The proxy that people write by hand with axum and reqwest. It forwards everything to one provider.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use tidegate::BoxError;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    provider: String,
    /// Whether it collects the body of a request before it forwards it.
    collects: bool,
}

const BODY_LIMIT: usize = 32 * 1024 * 1024;

pub(crate) async fn serve(listen: &str, provider: &str, collects: bool) -> Result<(), BoxError> {
    let proxy = Proxy { client: reqwest::Client::new(), provider: provider.to_owned(), collects };
    let router = Router::new().fallback(forward).with_state(proxy);
    // Without it the events of a stream wait 40 ms for acknowledgements (Nagle's algorithm, RFC 896).
    let listener = TcpListener::bind(listen).await?.tap_io(|socket| _ = socket.set_nodelay(true));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    proxy.forward(request).await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

impl Proxy {
    async fn forward(&self, request: Request) -> Result<Response, BoxError> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("http://{}{path}", self.provider);
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let body = if self.collects {
            reqwest::Body::from(to_bytes(body, BODY_LIMIT).await?)
        } else {
            reqwest::Body::wrap_stream(body.into_data_stream())
        };
        let response = self.client.request(head.method, url).headers(head.headers).body(body).send().await?;
        let response: http::Response<reqwest::Body> = response.into();
        Ok(response.map(Body::new))
    }
}
