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

use super::dialect::Answer;
use super::limit::{Limit, Standing};
use super::log::Visit;
use super::question::{Endpoint, Question};
use super::reply::Kind;
use super::telling::{Teller, Telling};
use super::{Asked, Provider, ProviderBody, Reply};
use crate::Fault;

/// The largest request body that is read.
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// What the provider does with one request, whichever way it came.
///
/// An error is a fault of the connection: it breaks without an answer.
pub(super) async fn respond<B>(
    provider: &Provider,
    request: Request<B>,
) -> Result<Response<ProviderBody>, Fault>
where
    B: Body<Error: Into<BoxError>>,
{
    let visit = provider.log.arrive();
    let (head, body) = request.into_parts();
    let (body, is_too_large) = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(error) => return Err(Fault::other(format!("the request broke off: {error}"))),
    };
    let mut question = Question::read(&body);
    let head = Request::from_parts(head, ());
    provider.dialect.read_path(&head, &mut question);
    provider.log.asked(asked(&head, body, &question, visit.at));

    let endpoint = provider.dialect.endpoint(&head);
    let reply = match endpoint {
        None => Reply::status(404).message("no such endpoint"),
        Some(_) if is_too_large => Reply::status(413),
        Some(endpoint) => match provider.turn_away(&head, endpoint, &question) {
            Some(refusal) => refusal,
            None if endpoint == Endpoint::Models => Reply::ok(),
            None => provider.admit(&question, visit.at),
        },
    };
    let endpoint = endpoint.unwrap_or(Endpoint::Chat);
    provider.tell(endpoint, &question, &reply, visit).await
}

fn asked(head: &Request<()>, body: Bytes, question: &Question, at: Instant) -> Asked {
    Asked {
        method: head.method().clone(),
        path: head.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        headers: head.headers().clone(),
        body,
        model: question.model.clone(),
        is_stream: question.is_stream,
        at,
    }
}

impl Provider {
    /// The reply to a request that is wrong or comes when all hands are full.
    fn turn_away(&self, head: &Request<()>, endpoint: Endpoint, question: &Question) -> Option<Reply> {
        if let Some(key) = &self.api_key
            && !self.dialect.has_key(head, key)
        {
            return Some(Reply::status(401));
        }
        if endpoint == Endpoint::Models {
            return None;
        }
        if !question.is_json {
            return Some(Reply::status(400).message("the body of the request is not a JSON object"));
        }
        if let Some(model) = &question.model
            && !self.models.is_empty()
            && !self.models.contains(model)
        {
            return Some(Reply::status(404).message("no such model"));
        }
        // The request itself is in flight already.
        let is_full = self.concurrency_limit.is_some_and(|limit| self.log.in_flight() > limit);
        is_full.then(|| Reply::status(self.dialect.overloaded()))
    }

    /// The reply to a good request: what the script says, if the limits let it.
    fn admit(&self, question: &Question, now: Instant) -> Reply {
        let cost = question.max_tokens.saturating_add(question.prompt_tokens as u64);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let limits = [(&self.rate_limit, 1, "requests"), (&self.token_limit, cost, "tokens")];
        let spend = |limit: &Mutex<Limit>, cost, is_refused| {
            limit.lock().unwrap_or_else(PoisonError::into_inner).spend(cost, is_refused, now)
        };
        let wait = limits.iter().filter_map(|(limit, cost, _)| {
            limit.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).lacks(*cost, now)
        });
        let refused_for = wait.max();
        let mut reply = match refused_for {
            Some(wait) => Reply::too_many(wait),
            None => self.script.next(),
        };
        for (limit, cost, currency) in limits {
            let Some(limit) = limit else { continue };
            let standing = Standing { refused_for, ..spend(limit, cost, refused_for.is_some()) };
            for (name, value) in self.dialect.limit_headers(&standing, SystemTime::now()) {
                reply = reply.header(&name.replace("requests", currency), &value);
            }
        }
        reply
    }

    async fn tell(
        &self,
        endpoint: Endpoint,
        question: &Question,
        reply: &Reply,
        visit: Visit,
    ) -> Result<Response<ProviderBody>, Fault> {
        let request_id = format!("req_{:06}", visit.number);
        let mut thinking = reply.latency;
        let mut is_stream = false;
        let teller = Teller { dialect: self.dialect, framing: question.framing, request_id: &request_id };
        let telling = match &reply.kind {
            Kind::Hang => std::future::pending().await,
            Kind::Reset => {
                wait(thinking).await;
                visit.finish();
                return Err(Fault::reset());
            }
            Kind::Error(words) => {
                let error = self.dialect.error(reply.status, words, &request_id);
                Telling::whole(error.to_string(), reply)
            }
            Kind::Raw(frames) => Telling::raw(frames, reply, &teller),
            Kind::Answer { reasoning, words, stop } => {
                let tokens = words.tokens();
                let reasoning: Vec<_> = (1..=*reasoning).map(|number| format!("r{number} ")).collect();
                let answer = Answer {
                    question,
                    number: visit.number,
                    reasoning: &reasoning,
                    tokens: &tokens,
                    tool: words.tool(),
                    stop,
                };
                is_stream = question.is_stream && endpoint == Endpoint::Chat;
                if is_stream {
                    Telling::stream(&answer, reply, &teller)
                } else {
                    let count = u32::try_from(reasoning.len() + tokens.len()).unwrap_or(u32::MAX);
                    thinking += reply.pace.saturating_mul(count);
                    let value = match endpoint {
                        Endpoint::Chat => self.dialect.answer(&answer),
                        Endpoint::Embeddings => embeddings(question),
                        Endpoint::Models => self.dialect.models(&self.models),
                    };
                    Telling::whole(value.to_string(), reply)
                }
            }
        };
        wait(thinking).await;
        self.log.answers(reply.status);
        let mut response = Response::new(ProviderBody::new(telling, visit));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        let content_type = if is_stream { question.framing.content_type() } else { "application/json" };
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

/// Vectors that mean nothing but are always the same.
fn embeddings(question: &Question) -> Value {
    let vector = |index: usize| {
        let values: Vec<f64> = (1..=8_u32).map(|place| f64::from(place) / 8.0).collect();
        json!({"object": "embedding", "index": index, "embedding": values})
    };
    json!({
        "object": "list",
        "model": question.model,
        "data": (0..question.inputs).map(vector).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": question.prompt_tokens, "total_tokens": question.prompt_tokens},
    })
}
