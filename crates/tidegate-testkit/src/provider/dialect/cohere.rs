use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Dialect, Endpoint, ErrorWords, Event, Events, StopWords};

/// Cohere's chat, version 2.
pub(in crate::provider) struct Cohere;

const STOP: StopWords =
    StopWords { natural: "COMPLETE", tool: "TOOL_CALL", length: "MAX_TOKENS", filter: "ERROR_TOXIC" };

impl Dialect for Cohere {
    fn base(&self) -> &'static str {
        "/v2"
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        "/v2/chat".to_owned()
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v2/chat") => Some(Endpoint::Chat),
            ("GET", "/v1/models") => Some(Endpoint::Models),
            _ => None,
        }
    }

    fn request_id_header(&self) -> &'static str {
        "x-debug-trace-id"
    }

    /// There is a message, and no code.
    fn error(&self, status: StatusCode, words: &ErrorWords, request_id: &str) -> Value {
        let usual = match status.as_u16() {
            401 => "invalid api token",
            402 => "Please add or update your payment method to continue",
            404 => "the model is not found",
            429 => "You are past the per minute request limit, please wait and try again later.",
            400..500 => "invalid request",
            503 => "the service is unavailable",
            _ => "internal server error",
        };
        let message = words.message.as_deref().or(words.code.as_deref()).unwrap_or(usual);
        json!({"id": request_id, "message": message})
    }

    /// An error is the reason of an early end: `ERROR`, unless the word is another.
    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Event {
        let reason = words.code.as_deref().unwrap_or("ERROR");
        let mut end = end(request_id, reason, 0, 0);
        end["delta"]["error"] = json!(words.message.as_deref().unwrap_or("the model failed"));
        Event::typed(end)
    }

    fn ping(&self) -> Event {
        Event::Comment("keep-alive")
    }

    fn malformed_event(&self) -> Event {
        Event::Said {
            name: "content-delta".to_owned(),
            data: r#"{"type":"content-delta","index":0,"delta":{"message":"#.to_owned(),
        }
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| json!({"name": id, "endpoints": ["chat"]});
        json!({"models": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            content.push(json!({"type": "thinking", "thinking": answer.reasoning.concat()}));
        }
        let mut message = json!({"role": "assistant"});
        match answer.tool {
            None => content.push(json!({"type": "text", "text": answer.text()})),
            Some(tool) => {
                let function = json!({"name": tool, "arguments": answer.text()});
                message["tool_calls"] = json!([{"id": "call_1", "type": "function", "function": function}]);
            }
        }
        message["content"] = json!(content);
        json!({
            "id": id(answer),
            "message": message,
            "finish_reason": answer.stop_word(&STOP),
            "usage": usage(answer.question.prompt_tokens, answer.count()),
        })
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let mut events = Events::default();
        let message =
            json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let start = json!({"type": "message-start", "id": id(answer), "delta": {"message": message}});
        events.before.push(Event::typed(start));

        let mut announced = Vec::new();
        if !answer.reasoning.is_empty() {
            events.before.push(content("content-start", 0, json!({"type": "thinking", "thinking": ""})));
            for text in answer.reasoning {
                events.tokens.push(vec![content("content-delta", 0, json!({"thinking": text}))]);
            }
            announced.push(ended("content-end", 0));
        }
        let index = usize::from(!answer.reasoning.is_empty());
        let (delta, end): (fn(usize, &str) -> Event, _) = match answer.tool {
            None => {
                announced.push(content("content-start", index, json!({"type": "text", "text": ""})));
                (|index, text| content("content-delta", index, json!({"text": text})), "content-end")
            }
            Some(tool) => {
                let function = json!({"name": tool, "arguments": ""});
                let start = json!({"id": "call_1", "type": "function", "function": function});
                announced.push(call("tool-call-start", index, start));
                let piece = |index, text: &str| {
                    call("tool-call-delta", index, json!({"function": {"arguments": text}}))
                };
                (piece, "tool-call-end")
            }
        };
        // A call is announced by its name, which is a word of the model's already.
        if answer.reasoning.is_empty() && answer.tool.is_none() {
            events.before.append(&mut announced);
        }
        for text in answer.tokens {
            announced.push(delta(index, text));
            events.tokens.push(std::mem::take(&mut announced));
        }
        let said = (answer.question.prompt_tokens, answer.count());
        let last = self::end(&id(answer), answer.stop_word(&STOP), said.0, said.1);
        events.after = vec![ended(end, index), Event::typed(last)];
        events
    }
}

fn content(kind: &str, index: usize, content: Value) -> Event {
    Event::typed(json!({"type": kind, "index": index, "delta": {"message": {"content": content}}}))
}

fn call(kind: &str, index: usize, call: Value) -> Event {
    Event::typed(json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}}))
}

fn ended(kind: &str, index: usize) -> Event {
    Event::typed(json!({"type": kind, "index": index}))
}

fn end(id: &str, reason: &str, input: usize, output: usize) -> Value {
    let delta = json!({"finish_reason": reason, "usage": usage(input, output)});
    json!({"type": "message-end", "id": id, "delta": delta})
}

fn usage(input: usize, output: usize) -> Value {
    let tokens = json!({"input_tokens": input, "output_tokens": output});
    json!({"billed_units": tokens, "tokens": tokens})
}

fn id(answer: &Answer<'_>) -> String {
    format!("c{:06}", answer.number)
}
