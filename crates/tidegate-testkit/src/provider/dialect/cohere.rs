use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{ApiEndpoint, Completion, ErrorSpec, StopReasons, StreamEvents, TestDialect, WireEvent};

/// Cohere's chat, version 2.
pub(in crate::provider) struct Cohere;

const STOP: StopReasons =
    StopReasons { natural: "COMPLETE", tool: "TOOL_CALL", length: "MAX_TOKENS", filter: "ERROR_TOXIC" };

impl TestDialect for Cohere {
    fn base(&self) -> &'static str {
        "/v2"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v2/chat".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v2/chat") => Some(ApiEndpoint::Chat),
            ("GET", "/v1/models") => Some(ApiEndpoint::Models),
            _ => None,
        }
    }

    fn request_id_header(&self) -> &'static str {
        "x-debug-trace-id"
    }

    /// The body has a message and no code.
    fn error(&self, status: StatusCode, spec: &ErrorSpec, request_id: &str) -> Value {
        let usual = match status.as_u16() {
            401 => "invalid api token",
            402 => "Please add or update your payment method to continue",
            404 => "the model is not found",
            429 => "You are past the per minute request limit, please wait and try again later.",
            400..500 => "invalid request",
            503 => "the service is unavailable",
            _ => "internal server error",
        };
        let message = spec.message.as_deref().or(spec.code.as_deref()).unwrap_or(usual);
        json!({"id": request_id, "message": message})
    }

    /// An error is a finish reason: `ERROR`, unless the code is set.
    fn error_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent {
        let reason = spec.code.as_deref().unwrap_or("ERROR");
        let mut end = end(request_id, reason, 0, 0);
        end["delta"]["error"] = json!(spec.message.as_deref().unwrap_or("the model failed"));
        WireEvent::typed(end)
    }

    fn ping(&self) -> WireEvent {
        WireEvent::Comment("keep-alive")
    }

    fn malformed_event(&self) -> WireEvent {
        WireEvent::Message {
            name: "content-delta".to_owned(),
            data: r#"{"type":"content-delta","index":0,"delta":{"message":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| json!({"name": id, "endpoints": ["chat"]});
        json!({"models": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        let mut content = Vec::new();
        if !completion.reasoning.is_empty() {
            content.push(json!({"type": "thinking", "thinking": completion.reasoning.concat()}));
        }
        let mut message = json!({"role": "assistant"});
        match completion.tool {
            None => content.push(json!({"type": "text", "text": completion.text()})),
            Some(tool) => {
                let function = json!({"name": tool, "arguments": completion.text()});
                message["tool_calls"] = json!([{"id": "call_1", "type": "function", "function": function}]);
            }
        }
        message["content"] = json!(content);
        json!({
            "id": id(completion),
            "message": message,
            "finish_reason": completion.stop_reason(&STOP),
            "usage": usage(completion.info.prompt_tokens, completion.count()),
        })
    }

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let mut events = StreamEvents::default();
        let message =
            json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let start = json!({"type": "message-start", "id": id(completion), "delta": {"message": message}});
        events.before.push(WireEvent::typed(start));

        let mut pending = Vec::new();
        if !completion.reasoning.is_empty() {
            events.before.push(content("content-start", 0, json!({"type": "thinking", "thinking": ""})));
            for text in completion.reasoning {
                events.tokens.push(vec![content("content-delta", 0, json!({"thinking": text}))]);
            }
            pending.push(ended("content-end", 0));
        }
        let index = usize::from(!completion.reasoning.is_empty());
        let (delta, end): (fn(usize, &str) -> WireEvent, _) = match completion.tool {
            None => {
                pending.push(content("content-start", index, json!({"type": "text", "text": ""})));
                (|index, text| content("content-delta", index, json!({"text": text})), "content-end")
            }
            Some(tool) => {
                let function = json!({"name": tool, "arguments": ""});
                let start = json!({"id": "call_1", "type": "function", "function": function});
                pending.push(call("tool-call-start", index, start));
                let piece = |index, text: &str| {
                    call("tool-call-delta", index, json!({"function": {"arguments": text}}))
                };
                (piece, "tool-call-end")
            }
        };
        // The name of a call is a token of the model, so its first event is not part of the preamble.
        if completion.reasoning.is_empty() && completion.tool.is_none() {
            events.before.append(&mut pending);
        }
        for text in completion.tokens {
            pending.push(delta(index, text));
            events.tokens.push(std::mem::take(&mut pending));
        }
        let counts = (completion.info.prompt_tokens, completion.count());
        let last = self::end(&id(completion), completion.stop_reason(&STOP), counts.0, counts.1);
        events.after = vec![ended(end, index), WireEvent::typed(last)];
        events
    }
}

fn content(kind: &str, index: usize, content: Value) -> WireEvent {
    WireEvent::typed(json!({"type": kind, "index": index, "delta": {"message": {"content": content}}}))
}

fn call(kind: &str, index: usize, call: Value) -> WireEvent {
    WireEvent::typed(json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}}))
}

fn ended(kind: &str, index: usize) -> WireEvent {
    WireEvent::typed(json!({"type": kind, "index": index}))
}

fn end(id: &str, reason: &str, input: usize, output: usize) -> Value {
    let delta = json!({"finish_reason": reason, "usage": usage(input, output)});
    json!({"type": "message-end", "id": id, "delta": delta})
}

fn usage(input: usize, output: usize) -> Value {
    let tokens = json!({"input_tokens": input, "output_tokens": output});
    json!({"billed_units": tokens, "tokens": tokens})
}

fn id(completion: &Completion<'_>) -> String {
    format!("c{:06}", completion.number)
}
