use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Dialect, Endpoint, ErrorWords, Events, Standing, named};

/// Messages and models as Anthropic has them.
pub(in crate::provider) struct Anthropic;

impl Dialect for Anthropic {
    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        Endpoint::find(request.method(), request.uri().path(), "/v1/messages")
            .filter(|endpoint| *endpoint != Endpoint::Embeddings)
    }

    fn has_key(&self, headers: &HeaderMap, key: &str) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        text("x-api-key").or(bearer) == Some(key)
    }

    fn request_id_header(&self) -> &'static str {
        "request-id"
    }

    fn overloaded(&self) -> u16 {
        529
    }

    fn limit_headers(&self, standing: &Standing, now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("anthropic-ratelimit-requests-limit", standing.limit.to_string()),
            ("anthropic-ratelimit-requests-remaining", standing.remaining.to_string()),
            ("anthropic-ratelimit-requests-reset", rfc3339(now + standing.reset)),
        ]
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, request_id: &str) -> Value {
        let (usual_kind, usual_message) = usual(status);
        // There is one word for an error in this dialect, and it is called type.
        let kind = words.kind.as_deref().or(words.code.as_deref()).unwrap_or(usual_kind);
        let message = words.message.as_deref().unwrap_or(usual_message);
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
    }

    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Bytes {
        let mut error = self.error(StatusCode::INTERNAL_SERVER_ERROR, words, request_id);
        if let Some(fields) = error.as_object_mut() {
            fields.remove("request_id");
        }
        named(&error)
    }

    fn ping(&self) -> Bytes {
        named(&json!({"type": "ping"}))
    }

    fn malformed_event(&self) -> Bytes {
        Bytes::from_static(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":\n\n",
        )
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| json!({"type": "model", "id": id, "display_name": id, "created_at": "2023-11-14T22:13:20Z"});
        let data: Vec<_> = models.iter().map(model).collect();
        json!({"data": data, "first_id": models.first(), "last_id": models.last(), "has_more": false})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut message = message(answer, answer.tokens.len());
        message["content"] = json!([{"type": "text", "text": answer.tokens.concat()}]);
        message["stop_reason"] = json!(answer.finish_reason.unwrap_or("end_turn"));
        message
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let token = |text: &String| {
            let delta = json!({"type": "text_delta", "text": text});
            named(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        };
        let stop = json!({
            "type": "message_delta",
            "delta": {"stop_reason": answer.finish_reason.unwrap_or("end_turn"), "stop_sequence": null},
            "usage": {"output_tokens": answer.tokens.len()},
        });
        Events {
            before: vec![
                named(&json!({"type": "message_start", "message": message(answer, 1)})),
                named(&json!({
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                })),
                self.ping(),
            ],
            tokens: answer.tokens.iter().map(token).collect(),
            after: vec![
                named(&json!({"type": "content_block_stop", "index": 0})),
                named(&stop),
                named(&json!({"type": "message_stop"})),
            ],
        }
    }
}

/// A message that has not said anything yet.
fn message(answer: &Answer<'_>, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_{:06}", answer.number),
        "type": "message",
        "role": "assistant",
        "model": answer.model(),
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {"input_tokens": answer.question.prompt_tokens, "output_tokens": output_tokens},
    })
}

/// The type and the words that usually come with a status.
fn usual(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low."),
        403 => ("permission_error", "Your API key does not have permission to use this."),
        404 => ("not_found_error", "The requested resource could not be found."),
        409 => ("conflict_error", "The request conflicts with another one."),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your rate limit."),
        504 => ("timeout_error", "Request timed out."),
        529 => ("overloaded_error", "Overloaded"),
        400..500 => ("invalid_request_error", "The request could not be processed as it is."),
        _ => ("api_error", "Internal server error"),
    }
}

/// In whole seconds, rounded up.
fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since_epoch.as_nanos().div_ceil(1_000_000_000);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_told_in_rfc_3339() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_001);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:21Z");
    }

    #[test]
    fn an_error_has_the_type_that_goes_with_its_status() {
        let body = Anthropic.error(StatusCode::from_u16(529).unwrap(), &ErrorWords::default(), "req_1");
        assert_eq!(
            body,
            json!({
                "type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"},
                "request_id": "req_1",
            })
        );
    }
}
