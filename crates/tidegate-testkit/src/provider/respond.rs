use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tidegate_core::BoxError;
use tokio::time::Instant;

use super::body_plan::{BodyPlan, StreamFormat};
use super::dialect::Completion;
use super::limit::{LimitBucket, LimitState};
use super::log::InFlightGuard;
use super::reply::ReplyKind;
use super::request_info::{ApiEndpoint, RequestInfo};
use super::{LoggedRequest, Provider, ProviderBody, Reply};
use crate::Fault;

/// The largest request body that is read.
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Handles one request of either transport.
///
/// An error is a connection fault: the connection breaks without a response.
pub(super) async fn respond<B>(
    provider: &Provider,
    request: Request<B>,
) -> Result<Response<ProviderBody>, Fault>
where
    B: Body<Error: Into<BoxError>>,
{
    let guard = provider.log.begin_request();
    let (head, body) = request.into_parts();
    let (body, is_too_large) = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(error) => return Err(Fault::other(format!("the request broke off: {error}"))),
    };
    let mut info = RequestInfo::read(&body);
    let head = Request::from_parts(head, ());
    provider.dialect.read_path(&head, &mut info);
    let logged = logged_request(&head, body, &info, guard.at);

    let endpoint = provider.dialect.endpoint(&head);
    let reply = match endpoint {
        None => Reply::status(404).message("no such endpoint"),
        Some(_) if is_too_large => Reply::status(413),
        Some(endpoint) => match provider.reject(&head, endpoint, &info) {
            Some(rejection) => rejection,
            None if endpoint == ApiEndpoint::Models => Reply::ok(),
            None => provider.admit(&info, &logged),
        },
    };
    provider.log.record_request(logged);
    let endpoint = endpoint.unwrap_or(ApiEndpoint::Chat);
    provider.build_response(endpoint, &info, &reply, guard).await
}

fn logged_request(head: &Request<()>, body: Bytes, info: &RequestInfo, at: Instant) -> LoggedRequest {
    LoggedRequest {
        method: head.method().clone(),
        path: head.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        headers: head.headers().clone(),
        body,
        model: info.model.clone(),
        is_stream: info.is_stream,
        at,
    }
}

impl Provider {
    /// The error reply to an invalid request, or to one above the concurrency limit.
    fn reject(&self, head: &Request<()>, endpoint: ApiEndpoint, info: &RequestInfo) -> Option<Reply> {
        if let Some(key) = &self.api_key
            && !self.dialect.has_key(head, key)
        {
            return Some(Reply::status(401));
        }
        if endpoint == ApiEndpoint::Models {
            return None;
        }
        if !info.is_json {
            return Some(Reply::status(400).message("the body of the request is not a JSON object"));
        }
        if let Some(model) = &info.model
            && !self.models.is_empty()
            && !self.models.contains(model)
        {
            return Some(Reply::status(404).message("no such model"));
        }
        // This request is counted as in flight already.
        let is_full = self.concurrency_limit.is_some_and(|limit| self.log.in_flight() > limit);
        is_full.then(|| Reply::status(self.dialect.overloaded()))
    }

    /// The scripted reply to a valid request, or the rejection by a rate limit.
    fn admit(&self, info: &RequestInfo, logged: &LoggedRequest) -> Reply {
        let now = logged.at;
        let cost = info.max_tokens.saturating_add(info.prompt_tokens as u64);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let limits = [(&self.rate_limit, 1, "requests"), (&self.token_limit, cost, "tokens")];
        let spend = |limit: &Mutex<LimitBucket>, cost, is_refused| {
            limit.lock().unwrap_or_else(PoisonError::into_inner).spend(cost, is_refused, now)
        };
        let wait = limits.iter().filter_map(|(limit, cost, _)| {
            limit.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).wait_for(*cost, now)
        });
        let refused_for = wait.max();
        let mut reply = match refused_for {
            Some(wait) => Reply::too_many(wait),
            None => self.script.next(logged),
        };
        for (limit, cost, unit) in limits {
            let Some(limit) = limit else { continue };
            let state = LimitState { refused_for, ..spend(limit, cost, refused_for.is_some()) };
            for (name, value) in self.dialect.limit_headers(&state, SystemTime::now()) {
                reply = reply.header(&name.replace("requests", unit), &value);
            }
        }
        reply
    }

    async fn build_response(
        &self,
        endpoint: ApiEndpoint,
        info: &RequestInfo,
        reply: &Reply,
        guard: InFlightGuard,
    ) -> Result<Response<ProviderBody>, Fault> {
        let request_id = format!("req_{:06}", guard.number);
        let mut delay = reply.latency;
        let mut is_stream = false;
        let format = StreamFormat { dialect: self.dialect, framing: info.framing, request_id: &request_id };
        let body_plan = match &reply.kind {
            ReplyKind::Hang => std::future::pending().await,
            ReplyKind::Reset => {
                wait(delay).await;
                guard.finish();
                return Err(Fault::reset());
            }
            ReplyKind::Error(spec) => {
                let error = self.dialect.error(reply.status, spec, &request_id);
                BodyPlan::json(error.to_string(), reply)
            }
            ReplyKind::Raw(frames) => BodyPlan::raw(frames, reply, &format),
            ReplyKind::Completion { reasoning, content, stop } => {
                let tokens = content.tokens();
                let reasoning: Vec<_> = (1..=*reasoning).map(|number| format!("r{number} ")).collect();
                let completion = Completion {
                    info,
                    number: guard.number,
                    reasoning: &reasoning,
                    tokens: &tokens,
                    tool: content.tool(),
                    stop,
                };
                is_stream = info.is_stream && endpoint == ApiEndpoint::Chat;
                if is_stream {
                    BodyPlan::stream(&completion, reply, &format)
                } else {
                    let count = u32::try_from(reasoning.len() + tokens.len()).unwrap_or(u32::MAX);
                    delay += reply.pace.saturating_mul(count);
                    let value = match endpoint {
                        ApiEndpoint::Chat => self.dialect.completion(&completion),
                        ApiEndpoint::Embeddings => embeddings(info),
                        ApiEndpoint::TokenCount => json!({"input_tokens": info.prompt_tokens}),
                        ApiEndpoint::Models => self.dialect.models(&self.models),
                    };
                    BodyPlan::json(value.to_string(), reply)
                }
            }
        };
        wait(delay).await;
        self.log.record_status(reply.status);
        let mut response = Response::new(ProviderBody::new(body_plan, guard));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        let content_type = if is_stream { info.framing.content_type() } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if is_stream {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let id_header = HeaderName::from_static(self.dialect.request_id_header());
        headers.insert(id_header, request_id.parse().expect("digits and letters"));
        for name in reply.headers.keys() {
            headers.remove(name);
        }
        headers.extend(reply.headers.clone());
        Ok(response)
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Deterministic vectors without a meaning.
fn embeddings(info: &RequestInfo) -> Value {
    let vector = |index: usize| {
        let values: Vec<f64> = (1..=8_u32).map(|position| f64::from(position) / 8.0).collect();
        json!({"object": "embedding", "index": index, "embedding": values})
    };
    json!({
        "object": "list",
        "model": info.model,
        "data": (0..info.inputs).map(vector).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": info.prompt_tokens, "total_tokens": info.prompt_tokens},
    })
}
