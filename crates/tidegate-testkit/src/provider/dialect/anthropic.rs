use std::time::{Duration, SystemTime};

use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ApiEndpoint, Completion, ErrorSpec, LimitState, StopReasons, StreamEvents, TestDialect, WireEvent,
    bearer, limits, text,
};

/// Anthropic's messages and models.
pub(in crate::provider) struct Anthropic;

const STOP: StopReasons =
    StopReasons { natural: "end_turn", tool: "tool_use", length: "max_tokens", filter: "refusal" };

impl TestDialect for Anthropic {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v1/messages".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/messages") => Some(ApiEndpoint::Chat),
            ("POST", "/v1/messages/count_tokens") => Some(ApiEndpoint::TokenCount),
            ("GET", "/v1/models") => Some(ApiEndpoint::Models),
            _ => None,
        }
    }

    fn has_key(&self, request: &Request<()>, key: &str) -> bool {
        text(request.headers(), "x-api-key").or(bearer(request.headers())) == Some(key)
    }

    fn request_id_header(&self) -> &'static str {
        "request-id"
    }

    fn overloaded(&self) -> u16 {
        529
    }

    fn limit_headers(&self, state: &LimitState, now: SystemTime) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("anthropic-ratelimit-requests-limit", state.limit.to_string()),
            ("anthropic-ratelimit-requests-remaining", state.remaining.to_string()),
            ("anthropic-ratelimit-requests-reset", rfc3339(now + state.reset)),
        ];
        headers.extend(limits::retry_after(state));
        headers
    }

    fn error(&self, status: StatusCode, spec: &ErrorSpec, request_id: &str) -> Value {
        let (usual_kind, usual_message) = usual(status);
        // This dialect has one error code, which is called `type`.
        let kind = spec.kind.as_deref().or(spec.code.as_deref()).unwrap_or(usual_kind);
        let message = spec.message.as_deref().unwrap_or(usual_message);
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
    }

    fn error_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent {
        let mut error = self.error(StatusCode::INTERNAL_SERVER_ERROR, spec, request_id);
        if let Some(fields) = error.as_object_mut() {
            fields.remove("request_id");
        }
        WireEvent::typed(error)
    }

    fn ping(&self) -> WireEvent {
        WireEvent::typed(json!({"type": "ping"}))
    }

    fn malformed_event(&self) -> WireEvent {
        WireEvent::Message {
            name: "content_block_delta".to_owned(),
            data: r#"{"type":"content_block_delta","delta":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| json!({"type": "model", "id": id, "display_name": id, "created_at": "2023-11-14T22:13:20Z"});
        let data: Vec<_> = models.iter().map(model).collect();
        json!({"data": data, "first_id": models.first(), "last_id": models.last(), "has_more": false})
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        let mut message = message(completion, completion.count());
        let mut content = Vec::new();
        if !completion.reasoning.is_empty() {
            content.push(json!({
                "type": "thinking", "thinking": completion.reasoning.concat(), "signature": SIGNATURE,
            }));
        }
        content.push(match completion.tool {
            None => json!({"type": "text", "text": completion.text()}),
            Some(tool) => {
                let input: Value = serde_json::from_str(&completion.text()).unwrap_or_default();
                json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": input})
            }
        });
        message["content"] = json!(content);
        message["stop_reason"] = json!(completion.stop_reason(&STOP));
        message
    }

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let mut events = StreamEvents::default();
        events
            .before
            .push(WireEvent::typed(json!({"type": "message_start", "message": message(completion, 1)})));
        let mut pending = Vec::new();
        if !completion.reasoning.is_empty() {
            events.before.push(start(0, json!({"type": "thinking", "thinking": "", "signature": ""})));
            events.before.push(self.ping());
            for text in completion.reasoning {
                let delta_body = json!({"type": "thinking_delta", "thinking": text});
                events.tokens.push(vec![delta(0, delta_body)]);
            }
            pending.push(delta(0, json!({"type": "signature_delta", "signature": SIGNATURE})));
            pending.push(stop(0));
        }
        let index = usize::from(!completion.reasoning.is_empty());
        match completion.tool {
            None => pending.push(start(index, json!({"type": "text", "text": ""}))),
            Some(tool) => {
                let block = json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}});
                pending.push(start(index, block));
            }
        }
        if completion.reasoning.is_empty() {
            // The name of a call is a token of the model, so its first event is not part of the preamble.
            if completion.tool.is_none() {
                events.before.append(&mut pending);
            }
            events.before.push(self.ping());
        }
        for text in completion.tokens {
            pending.push(match completion.tool {
                None => delta(index, json!({"type": "text_delta", "text": text})),
                Some(_) => delta(index, json!({"type": "input_json_delta", "partial_json": text})),
            });
            events.tokens.push(std::mem::take(&mut pending));
        }
        let last = json!({
            "type": "message_delta",
            "delta": {"stop_reason": completion.stop_reason(&STOP), "stop_sequence": null},
            "usage": {"output_tokens": completion.count()},
        });
        events.after =
            vec![stop(index), WireEvent::typed(last), WireEvent::typed(json!({"type": "message_stop"}))];
        events
    }
}

/// The signature of a thinking block.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

fn start(index: usize, block: Value) -> WireEvent {
    WireEvent::typed(json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: Value) -> WireEvent {
    WireEvent::typed(json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> WireEvent {
    WireEvent::typed(json!({"type": "content_block_stop", "index": index}))
}

/// A message without content.
fn message(completion: &Completion<'_>, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_{:06}", completion.number),
        "type": "message",
        "role": "assistant",
        "model": completion.model(),
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {"input_tokens": completion.info.prompt_tokens, "output_tokens": output_tokens},
    })
}

/// The default type and message for a status.
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

/// Formats a time, in whole seconds, rounded up.
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
    fn reset_times_are_in_rfc_3339() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_001);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:21Z");
    }

    #[test]
    fn an_error_has_the_default_type_of_its_status() {
        let body = Anthropic.error(StatusCode::from_u16(529).unwrap(), &ErrorSpec::default(), "req_1");
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
