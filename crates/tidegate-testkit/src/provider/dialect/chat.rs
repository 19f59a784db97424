use std::time::SystemTime;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::chat_variants::{BeforeRole, ChatPing, ChatVariant, FailureEvent, ReasoningAt, UsageAt};
use super::{
    ApiEndpoint, CREATED, Completion, ErrorSpec, LimitState, RequestInfo, StopReasons, StreamEvents,
    TestDialect, WireEvent, bearer, text,
};

const STOP: StopReasons =
    StopReasons { natural: "stop", tool: "tool_calls", length: "length", filter: "content_filter" };

impl ChatVariant {
    /// A chunk with an error next to a choice that has the finish reason `error`.
    fn error_chunk(&self, spec: &ErrorSpec) -> WireEvent {
        let mut error = (self.error)(StatusCode::BAD_GATEWAY, spec)["error"].take();
        // In a chunk the code may be a string.
        if let Some(code) = spec.code.as_deref().filter(|code| code.parse::<u16>().is_err()) {
            error["code"] = json!(code);
        }
        let mut chunk = chunk("gen-000000", "scripted-model", last_choice("error"));
        chunk["error"] = error;
        WireEvent::data(&chunk)
    }

    fn reasoning_delta(&self, text: &str) -> Value {
        match self.reasoning {
            ReasoningAt::Field(field) => json!({"content": null, field: text}),
            ReasoningAt::Parts => json!({"content": [thinking_part(text)]}),
        }
    }
}

impl TestDialect for ChatVariant {
    fn base(&self) -> &'static str {
        self.bases[0]
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        format!("{}/chat/completions", self.base())
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        let (path, _) = self.below(request.uri().path())?;
        match (request.method().as_str(), path) {
            ("POST", "/chat/completions") => Some(ApiEndpoint::Chat),
            ("POST", "/embeddings") => Some(ApiEndpoint::Embeddings),
            ("GET", "/models") => Some(ApiEndpoint::Models),
            _ => None,
        }
    }

    fn read_path(&self, request: &Request<()>, info: &mut RequestInfo) {
        let model = self.below(request.uri().path()).and_then(|(_, model)| model);
        if info.model.is_none() {
            info.model = model.map(str::to_owned);
        }
    }

    fn has_key(&self, request: &Request<()>, key: &str) -> bool {
        let own = self.key.and_then(|name| text(request.headers(), name));
        own.or(bearer(request.headers())) == Some(key)
    }

    fn request_id_header(&self) -> &'static str {
        self.request_id
    }

    fn overloaded(&self) -> u16 {
        self.overloaded
    }

    fn limit_headers(&self, state: &LimitState, _: SystemTime) -> Vec<(&'static str, String)> {
        (self.limits)(state)
    }

    fn error(&self, status: StatusCode, spec: &ErrorSpec, _: &str) -> Value {
        (self.error)(status, spec)
    }

    fn error_event(&self, spec: &ErrorSpec, _: &str) -> WireEvent {
        match self.failing {
            FailureEvent::ErrorChunk => self.error_chunk(spec),
            _ => WireEvent::data(&(self.error)(StatusCode::INTERNAL_SERVER_ERROR, spec)),
        }
    }

    fn failed_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent {
        let empty_chunk = || chunk("chatcmpl-000000", "scripted-model", json!([]));
        match self.failing {
            FailureEvent::Event | FailureEvent::ErrorChunk => self.error_event(spec, request_id),
            FailureEvent::Reason(usual) => {
                let mut chunk = empty_chunk();
                chunk["choices"] = last_choice(spec.code.as_deref().unwrap_or(usual));
                WireEvent::data(&chunk)
            }
            FailureEvent::XGroq => {
                let mut chunk = empty_chunk();
                let message = spec.message.as_deref().unwrap_or("the model is at capacity, try again later");
                let error = spec.code.as_deref().unwrap_or(message);
                chunk["x_groq"] = json!({"id": request_id, "error": error});
                WireEvent::data(&chunk)
            }
        }
    }

    fn ping(&self) -> WireEvent {
        match self.ping {
            ChatPing::Comment(text) => WireEvent::Comment(text),
            ChatPing::Name(name) => WireEvent::Message { name: name.to_owned(), data: String::new() },
            ChatPing::EmptyDelta => WireEvent::data(&chunk(
                "chatcmpl-000000",
                "scripted-model",
                choice(json!({"content": ""}), None),
            )),
        }
    }

    fn malformed_event(&self) -> WireEvent {
        WireEvent::text(r#"{"choices":[{"delta":{"content":"#)
    }

    fn models(&self, models: &[String]) -> Value {
        let model =
            |id: &String| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "testkit"});
        json!({"object": "list", "data": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        let mut message = json!({"role": "assistant", "content": completion.text(), "refusal": null});
        if let Some(tool) = completion.tool {
            let function = json!({"name": tool, "arguments": completion.text()});
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{"id": "call_1", "type": "function", "function": function}]);
        }
        if !completion.reasoning.is_empty() {
            let reasoning = completion.reasoning.concat();
            match self.reasoning {
                ReasoningAt::Field(field) => message[field] = json!(reasoning),
                ReasoningAt::Parts => {
                    let text = json!({"type": "text", "text": completion.text()});
                    message["content"] = json!([thinking_part(&reasoning), text]);
                }
            }
        }
        let finish_reason = completion.stop_reason(&STOP);
        json!({
            "id": id(completion),
            "object": "chat.completion",
            "created": CREATED,
            "model": completion.model(),
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage(completion),
        })
    }

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let chunk = |choices: Value| chunk(&id(completion), completion.model(), choices);
        let delta = |delta: Value| WireEvent::data(&chunk(choice(delta, None)));

        let mut before = Vec::new();
        match self.opening {
            BeforeRole::Nothing => {}
            BeforeRole::Ping => before.push(self.ping()),
            BeforeRole::PromptFilter => before.push(prompt_filter()),
        }
        before.push(delta(json!({"role": "assistant", "content": ""})));

        let thoughts = completion.reasoning.iter().map(|text| self.reasoning_delta(text));
        let pieces = completion.tokens.iter().enumerate().map(|(at, text)| match completion.tool {
            None => json!({"content": text}),
            Some(tool) => json!({"tool_calls": [call(at, tool, text)]}),
        });
        let tokens = thoughts.chain(pieces).map(|piece| vec![delta(piece)]).collect();

        let mut last = chunk(last_choice(completion.stop_reason(&STOP)));
        let mut extra = chunk(json!([]));
        match self.usage {
            UsageAt::ChunkOnRequest | UsageAt::Chunk => extra["usage"] = usage(completion),
            UsageAt::LastChoice => last["usage"] = usage(completion),
            UsageAt::XGroq => last["x_groq"] = json!({"id": id(completion), "usage": usage(completion)}),
        }
        let has_extra = match self.usage {
            UsageAt::ChunkOnRequest => completion.info.includes_usage,
            UsageAt::Chunk => true,
            UsageAt::LastChoice | UsageAt::XGroq => false,
        };
        let mut after = vec![WireEvent::data(&last)];
        after.extend(has_extra.then(|| WireEvent::data(&extra)));
        after.push(WireEvent::text("[DONE]"));
        StreamEvents { before, tokens, after }
    }
}

fn chunk(id: &str, model: &str, choices: Value) -> Value {
    json!({"id": id, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": choices})
}

fn choice(delta: Value, finish_reason: Option<&str>) -> Value {
    json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}])
}

fn last_choice(finish_reason: &str) -> Value {
    choice(json!({}), Some(finish_reason))
}

/// A piece of a call. The first one contains the name of the tool.
fn call(at: usize, tool: &str, arguments: &str) -> Value {
    match at {
        0 => {
            let function = json!({"name": tool, "arguments": arguments});
            json!({"index": 0, "id": "call_1", "type": "function", "function": function})
        }
        _ => json!({"index": 0, "function": {"arguments": arguments}}),
    }
}

fn thinking_part(text: &str) -> Value {
    json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
}

fn prompt_filter() -> WireEvent {
    let results = json!({"hate": {"filtered": false, "severity": "safe"}, "jailbreak": {"detected": false, "filtered": false}});
    let mut chunk = chunk("", "", json!([]));
    chunk["prompt_filter_results"] = json!([{"prompt_index": 0, "content_filter_results": results}]);
    WireEvent::data(&chunk)
}

fn id(completion: &Completion<'_>) -> String {
    format!("chatcmpl-{:06}", completion.number)
}

fn usage(completion: &Completion<'_>) -> Value {
    let (prompt, completion) = (completion.info.prompt_tokens, completion.count());
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
