use std::time::SystemTime;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{
    ApiEndpoint, CREATED, Completion, ErrorSpec, LimitState, OPENAI, StopKind, StreamEvents, TestDialect,
    WireEvent, chat_error, limits,
};

/// OpenAI's Responses API.
pub(in crate::provider) struct Responses;

impl TestDialect for Responses {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v1/responses".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/responses") => Some(ApiEndpoint::Chat),
            ("GET", "/v1/models") => Some(ApiEndpoint::Models),
            _ => None,
        }
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    fn limit_headers(&self, state: &LimitState, _: SystemTime) -> Vec<(&'static str, String)> {
        limits::openai(state)
    }

    fn error(&self, status: StatusCode, spec: &ErrorSpec, _: &str) -> Value {
        chat_error::openai(status, spec)
    }

    fn error_event(&self, spec: &ErrorSpec, _: &str) -> WireEvent {
        let (code, message) = code_and_message(spec);
        WireEvent::typed(json!({
            "type": "error", "sequence_number": 0, "code": code, "message": message, "param": null,
        }))
    }

    fn failed_event(&self, spec: &ErrorSpec, _: &str) -> WireEvent {
        let (code, message) = code_and_message(spec);
        let mut response = response("resp_000000", "scripted-model", "failed");
        response["error"] = json!({"code": code, "message": message});
        WireEvent::typed(json!({"type": "response.failed", "sequence_number": 0, "response": response}))
    }

    fn ping(&self) -> WireEvent {
        WireEvent::typed(json!({"type": "keepalive", "sequence_number": 0}))
    }

    fn malformed_event(&self) -> WireEvent {
        WireEvent::Message {
            name: "response.output_text.delta".to_owned(),
            data: r#"{"type":"response.output_text.delta","delta":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        OPENAI.models(models)
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        final_response(completion)
    }

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let mut stream = ResponseEvents::default();
        for kind in ["response.created", "response.in_progress"] {
            let response = response(&id(completion), completion.model(), "in_progress");
            let event = stream.event(kind, json!({"response": response}));
            stream.events.before.push(event);
        }
        let mut pending = Vec::new();
        if !completion.reasoning.is_empty() {
            let item = json!({"id": "rs_1", "type": "reasoning", "summary": []});
            let event = stream.event("response.output_item.added", json!({"output_index": 0, "item": item}));
            stream.events.before.push(event);
            for text in completion.reasoning {
                let delta = json!({"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": text});
                let event = stream.event("response.reasoning_summary_text.delta", delta);
                stream.events.tokens.push(vec![event]);
            }
            pending.push(stream.event("response.output_item.done", json!({"output_index": 0, "item": item})));
        }
        stream.item(completion, pending);
        let kind = match completion.stop {
            StopKind::Natural => "response.completed",
            _ => "response.incomplete",
        };
        let event = stream.event(kind, json!({"response": final_response(completion)}));
        stream.events.after.push(event);
        stream.events
    }
}

/// The events so far, with their sequence numbers.
#[derive(Default)]
struct ResponseEvents {
    events: StreamEvents,
    number: usize,
}

impl ResponseEvents {
    fn event(&mut self, kind: &str, mut fields: Value) -> WireEvent {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.number);
        self.number += 1;
        WireEvent::typed(fields)
    }

    /// Adds the events of the message or the call, from `response.output_item.added` to
    /// `response.output_item.done`.
    fn item(&mut self, completion: &Completion<'_>, mut pending: Vec<WireEvent>) {
        let index = usize::from(!completion.reasoning.is_empty());
        let (item_id, delta) = match completion.tool {
            None => ("msg_1", "response.output_text.delta"),
            Some(_) => ("fc_1", "response.function_call_arguments.delta"),
        };
        let item = item(completion, "in_progress", "");
        pending.push(self.event("response.output_item.added", json!({"output_index": index, "item": item})));
        if completion.tool.is_none() {
            let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
            let fields = json!({"item_id": item_id, "output_index": index, "content_index": 0, "part": part});
            pending.push(self.event("response.content_part.added", fields));
        }
        // The name of a call is a token of the model, so its first event is not part of the preamble.
        if completion.reasoning.is_empty() && completion.tool.is_none() {
            self.events.before.append(&mut pending);
        }
        for text in completion.tokens {
            let piece = json!({"item_id": item_id, "output_index": index, "content_index": 0, "delta": text});
            pending.push(self.event(delta, piece));
            self.events.tokens.push(std::mem::take(&mut pending));
        }
        let mut item_fields = json!({"item_id": item_id, "output_index": index});
        let done = match completion.tool {
            None => {
                item_fields["text"] = json!(completion.text());
                "response.output_text.done"
            }
            Some(_) => {
                item_fields["arguments"] = json!(completion.text());
                "response.function_call_arguments.done"
            }
        };
        let item = self::item(completion, "completed", &completion.text());
        for (kind, fields) in
            [(done, item_fields), ("response.output_item.done", json!({"output_index": index, "item": item}))]
        {
            let event = self.event(kind, fields);
            self.events.after.push(event);
        }
    }
}

fn item(completion: &Completion<'_>, status: &str, text: &str) -> Value {
    if let Some(tool) = completion.tool {
        return json!({
            "id": "fc_1", "type": "function_call", "status": status,
            "arguments": text, "call_id": "call_1", "name": tool,
        });
    }
    let content = match text {
        "" => json!([]),
        text => json!([{"type": "output_text", "annotations": [], "text": text}]),
    };
    json!({"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content})
}

/// The complete response.
fn final_response(completion: &Completion<'_>) -> Value {
    let reason = match completion.stop {
        StopKind::Natural => None,
        StopKind::Length => Some("max_output_tokens"),
        StopKind::Filter => Some("content_filter"),
        StopKind::Custom(reason) => Some(reason.as_str()),
    };
    let status = if reason.is_some() { "incomplete" } else { "completed" };
    let mut response = response(&id(completion), completion.model(), status);
    let mut output = Vec::new();
    if !completion.reasoning.is_empty() {
        let summary = json!([{"type": "summary_text", "text": completion.reasoning.concat()}]);
        output.push(json!({"id": "rs_1", "type": "reasoning", "summary": summary}));
    }
    output.push(item(completion, status, &completion.text()));
    response["output"] = json!(output);
    response["incomplete_details"] = reason.map_or(Value::Null, |reason| json!({"reason": reason}));
    let (input, output) = (completion.info.prompt_tokens, completion.count());
    response["usage"] = json!({
        "input_tokens": input,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": completion.reasoning.len()},
        "total_tokens": input + output,
    });
    response
}

fn response(id: &str, model: &str, status: &str) -> Value {
    json!({
        "id": id, "object": "response", "created_at": CREATED, "status": status, "model": model,
        "error": null, "incomplete_details": null, "output": [], "usage": null,
    })
}

/// The code and the message of an error event.
fn code_and_message(spec: &ErrorSpec) -> (&str, &str) {
    let message = "The server had an error while processing your request.";
    (spec.code.as_deref().unwrap_or("server_error"), spec.message.as_deref().unwrap_or(message))
}

fn id(completion: &Completion<'_>) -> String {
    format!("resp_{:06}", completion.number)
}
