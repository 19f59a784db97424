use std::time::SystemTime;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, CREATED, Dialect, Endpoint, ErrorWords, Event, Events, OPENAI, Standing, Stop, chat_error, limits,
};

/// OpenAI's Responses.
pub(in crate::provider) struct Responses;

impl Dialect for Responses {
    fn base(&self) -> &'static str {
        "/v1"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v1/responses".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/responses") => Some(Endpoint::Chat),
            ("GET", "/v1/models") => Some(Endpoint::Models),
            _ => None,
        }
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    fn limit_headers(&self, standing: &Standing, _: SystemTime) -> Vec<(&'static str, String)> {
        limits::openai(standing)
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, _: &str) -> Value {
        chat_error::openai(status, words)
    }

    fn error_event(&self, words: &ErrorWords, _: &str) -> Event {
        let (code, message) = spoken(words);
        Event::typed(json!({
            "type": "error", "sequence_number": 0, "code": code, "message": message, "param": null,
        }))
    }

    fn failed_event(&self, words: &ErrorWords, _: &str) -> Event {
        let (code, message) = spoken(words);
        let mut response = response("resp_000000", "scripted-model", "failed");
        response["error"] = json!({"code": code, "message": message});
        Event::typed(json!({"type": "response.failed", "sequence_number": 0, "response": response}))
    }

    fn ping(&self) -> Event {
        Event::typed(json!({"type": "keepalive", "sequence_number": 0}))
    }

    fn malformed_event(&self) -> Event {
        Event::Said {
            name: "response.output_text.delta".to_owned(),
            data: r#"{"type":"response.output_text.delta","delta":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        OPENAI.models(models)
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        whole(answer)
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let mut stream = Stream::default();
        for kind in ["response.created", "response.in_progress"] {
            let response = response(&id(answer), answer.model(), "in_progress");
            let event = stream.event(kind, json!({"response": response}));
            stream.events.before.push(event);
        }
        let mut announced = Vec::new();
        if !answer.reasoning.is_empty() {
            let item = json!({"id": "rs_1", "type": "reasoning", "summary": []});
            let event = stream.event("response.output_item.added", json!({"output_index": 0, "item": item}));
            stream.events.before.push(event);
            for text in answer.reasoning {
                let delta = json!({"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": text});
                let event = stream.event("response.reasoning_summary_text.delta", delta);
                stream.events.tokens.push(vec![event]);
            }
            announced
                .push(stream.event("response.output_item.done", json!({"output_index": 0, "item": item})));
        }
        stream.item(answer, announced);
        let kind = match answer.stop {
            Stop::Natural => "response.completed",
            _ => "response.incomplete",
        };
        let event = stream.event(kind, json!({"response": whole(answer)}));
        stream.events.after.push(event);
        stream.events
    }
}

/// The events so far, which are numbered.
#[derive(Default)]
struct Stream {
    events: Events,
    number: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, mut fields: Value) -> Event {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.number);
        self.number += 1;
        Event::typed(fields)
    }

    /// The message or the call, from where it is announced to where it is done.
    fn item(&mut self, answer: &Answer<'_>, mut announced: Vec<Event>) {
        let index = usize::from(!answer.reasoning.is_empty());
        let (item_id, delta) = match answer.tool {
            None => ("msg_1", "response.output_text.delta"),
            Some(_) => ("fc_1", "response.function_call_arguments.delta"),
        };
        let item = item(answer, "in_progress", "");
        announced
            .push(self.event("response.output_item.added", json!({"output_index": index, "item": item})));
        if answer.tool.is_none() {
            let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
            let place = json!({"item_id": item_id, "output_index": index, "content_index": 0, "part": part});
            announced.push(self.event("response.content_part.added", place));
        }
        // A call is announced by its name, which is a word of the model's already.
        if answer.reasoning.is_empty() && answer.tool.is_none() {
            self.events.before.append(&mut announced);
        }
        for text in answer.tokens {
            let piece = json!({"item_id": item_id, "output_index": index, "content_index": 0, "delta": text});
            announced.push(self.event(delta, piece));
            self.events.tokens.push(std::mem::take(&mut announced));
        }
        let mut place = json!({"item_id": item_id, "output_index": index});
        let done = match answer.tool {
            None => {
                place["text"] = json!(answer.text());
                "response.output_text.done"
            }
            Some(_) => {
                place["arguments"] = json!(answer.text());
                "response.function_call_arguments.done"
            }
        };
        let item = self::item(answer, "completed", &answer.text());
        for (kind, fields) in
            [(done, place), ("response.output_item.done", json!({"output_index": index, "item": item}))]
        {
            let event = self.event(kind, fields);
            self.events.after.push(event);
        }
    }
}

fn item(answer: &Answer<'_>, status: &str, text: &str) -> Value {
    if let Some(tool) = answer.tool {
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

/// The response when all is said.
fn whole(answer: &Answer<'_>) -> Value {
    let reason = match answer.stop {
        Stop::Natural => None,
        Stop::Length => Some("max_output_tokens"),
        Stop::Filter => Some("content_filter"),
        Stop::Word(word) => Some(word.as_str()),
    };
    let status = if reason.is_some() { "incomplete" } else { "completed" };
    let mut response = response(&id(answer), answer.model(), status);
    let mut output = Vec::new();
    if !answer.reasoning.is_empty() {
        let summary = json!([{"type": "summary_text", "text": answer.reasoning.concat()}]);
        output.push(json!({"id": "rs_1", "type": "reasoning", "summary": summary}));
    }
    output.push(item(answer, status, &answer.text()));
    response["output"] = json!(output);
    response["incomplete_details"] = reason.map_or(Value::Null, |reason| json!({"reason": reason}));
    let (input, output) = (answer.question.prompt_tokens, answer.count());
    response["usage"] = json!({
        "input_tokens": input,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning.len()},
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

/// What an error event says.
fn spoken(words: &ErrorWords) -> (&str, &str) {
    let message = "The server had an error while processing your request.";
    (words.code.as_deref().unwrap_or("server_error"), words.message.as_deref().unwrap_or(message))
}

fn id(answer: &Answer<'_>) -> String {
    format!("resp_{:06}", answer.number)
}
