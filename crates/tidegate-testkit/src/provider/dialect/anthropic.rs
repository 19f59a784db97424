use std::time::{Duration, SystemTime};

use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Answer, Dialect, Endpoint, ErrorWords, Event, Events, Standing, StopWords, bearer, limits, text,
};

/// Messages and models as Anthropic has them.
pub(in crate::provider) struct Anthropic;

const STOP: StopWords =
    StopWords { natural: "end_turn", tool: "tool_use", length: "max_tokens", filter: "refusal" };

impl Dialect for Anthropic {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v1/messages".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/messages") => Some(Endpoint::Chat),
            ("GET", "/v1/models") => Some(Endpoint::Models),
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

    fn limit_headers(&self, standing: &Standing, now: SystemTime) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("anthropic-ratelimit-requests-limit", standing.limit.to_string()),
            ("anthropic-ratelimit-requests-remaining", standing.remaining.to_string()),
            ("anthropic-ratelimit-requests-reset", rfc3339(now + standing.reset)),
        ];
        headers.extend(limits::retry_after(standing));
        headers
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, request_id: &str) -> Value {
        let (usual_kind, usual_message) = usual(status);
        // There is one word for an error in this dialect, and it is called type.
        let kind = words.kind.as_deref().or(words.code.as_deref()).unwrap_or(usual_kind);
        let message = words.message.as_deref().unwrap_or(usual_message);
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
    }

    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Event {
        let mut error = self.error(StatusCode::INTERNAL_SERVER_ERROR, words, request_id);
        if let Some(fields) = error.as_object_mut() {
            fields.remove("request_id");
        }
        Event::typed(error)
    }

    fn ping(&self) -> Event {
        Event::typed(json!({"type": "ping"}))
    }

    fn malformed_event(&self) -> Event {
        Event::Said {
            name: "content_block_delta".to_owned(),
            data: r#"{"type":"content_block_delta","delta":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| json!({"type": "model", "id": id, "display_name": id, "created_at": "2023-11-14T22:13:20Z"});
        let data: Vec<_> = models.iter().map(model).collect();
        json!({"data": data, "first_id": models.first(), "last_id": models.last(), "has_more": false})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut message = message(answer, answer.count());
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            content.push(json!({
                "type": "thinking", "thinking": answer.reasoning.concat(), "signature": SIGNATURE,
            }));
        }
        content.push(match answer.tool {
            None => json!({"type": "text", "text": answer.text()}),
            Some(tool) => {
                let input: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
                json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": input})
            }
        });
        message["content"] = json!(content);
        message["stop_reason"] = json!(answer.stop_word(&STOP));
        message
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let mut events = Events::default();
        events.before.push(Event::typed(json!({"type": "message_start", "message": message(answer, 1)})));
        let mut announced = Vec::new();
        if !answer.reasoning.is_empty() {
            events.before.push(start(0, json!({"type": "thinking", "thinking": "", "signature": ""})));
            events.before.push(self.ping());
            for text in answer.reasoning {
                let thought = json!({"type": "thinking_delta", "thinking": text});
                events.tokens.push(vec![delta(0, thought)]);
            }
            announced.push(delta(0, json!({"type": "signature_delta", "signature": SIGNATURE})));
            announced.push(stop(0));
        }
        let index = usize::from(!answer.reasoning.is_empty());
        match answer.tool {
            None => announced.push(start(index, json!({"type": "text", "text": ""}))),
            Some(tool) => {
                let block = json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}});
                announced.push(start(index, block));
            }
        }
        if answer.reasoning.is_empty() {
            // A call is announced by its name, which is a word of the model's already.
            if answer.tool.is_none() {
                events.before.append(&mut announced);
            }
            events.before.push(self.ping());
        }
        for text in answer.tokens {
            announced.push(match answer.tool {
                None => delta(index, json!({"type": "text_delta", "text": text})),
                Some(_) => delta(index, json!({"type": "input_json_delta", "partial_json": text})),
            });
            events.tokens.push(std::mem::take(&mut announced));
        }
        let last = json!({
            "type": "message_delta",
            "delta": {"stop_reason": answer.stop_word(&STOP), "stop_sequence": null},
            "usage": {"output_tokens": answer.count()},
        });
        events.after = vec![stop(index), Event::typed(last), Event::typed(json!({"type": "message_stop"}))];
        events
    }
}

/// What proves a thought.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

fn start(index: usize, block: Value) -> Event {
    Event::typed(json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: Value) -> Event {
    Event::typed(json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> Event {
    Event::typed(json!({"type": "content_block_stop", "index": index}))
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
