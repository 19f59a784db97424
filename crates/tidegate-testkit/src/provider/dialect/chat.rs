use std::time::SystemTime;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::flavours::{Chat, Failing, Opening, Ping, Reasoning, UsageAt};
use super::{
    Answer, CREATED, Dialect, Endpoint, ErrorWords, Event, Events, Question, Standing, StopWords, bearer,
    text,
};

const STOP: StopWords =
    StopWords { natural: "stop", tool: "tool_calls", length: "length", filter: "content_filter" };

impl Chat {
    /// The error next to a choice that stops for it.
    fn error_chunk(&self, words: &ErrorWords) -> Event {
        let mut error = (self.error)(StatusCode::BAD_GATEWAY, words)["error"].take();
        // Here the code may be a word.
        if let Some(word) = words.code.as_deref().filter(|code| code.parse::<u16>().is_err()) {
            error["code"] = json!(word);
        }
        let mut chunk = chunk("gen-000000", "scripted-model", last_choice("error"));
        chunk["error"] = error;
        Event::data(&chunk)
    }

    fn thought(&self, text: &str) -> Value {
        match self.reasoning {
            Reasoning::Field(field) => json!({"content": null, field: text}),
            Reasoning::Parts => json!({"content": [thought_part(text)]}),
        }
    }
}

impl Dialect for Chat {
    fn base(&self) -> &'static str {
        self.bases[0]
    }

    fn chat_path(&self, _: &str, _: bool) -> String {
        format!("{}/chat/completions", self.base())
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        let (path, _) = self.below(request.uri().path())?;
        match (request.method().as_str(), path) {
            ("POST", "/chat/completions") => Some(Endpoint::Chat),
            ("POST", "/embeddings") => Some(Endpoint::Embeddings),
            ("GET", "/models") => Some(Endpoint::Models),
            _ => None,
        }
    }

    fn read_path(&self, request: &Request<()>, question: &mut Question) {
        let model = self.below(request.uri().path()).and_then(|(_, model)| model);
        if question.model.is_none() {
            question.model = model.map(str::to_owned);
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

    fn limit_headers(&self, standing: &Standing, _: SystemTime) -> Vec<(&'static str, String)> {
        (self.limits)(standing)
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, _: &str) -> Value {
        (self.error)(status, words)
    }

    fn error_event(&self, words: &ErrorWords, _: &str) -> Event {
        match self.failing {
            Failing::ErrorChunk => self.error_chunk(words),
            _ => Event::data(&(self.error)(StatusCode::INTERNAL_SERVER_ERROR, words)),
        }
    }

    fn failed_event(&self, words: &ErrorWords, request_id: &str) -> Event {
        let nothing = || chunk("chatcmpl-000000", "scripted-model", json!([]));
        match self.failing {
            Failing::Event | Failing::ErrorChunk => self.error_event(words, request_id),
            Failing::Reason(usual) => {
                let mut chunk = nothing();
                chunk["choices"] = last_choice(words.code.as_deref().unwrap_or(usual));
                Event::data(&chunk)
            }
            Failing::XGroq => {
                let mut chunk = nothing();
                let message = words.message.as_deref().unwrap_or("the model is at capacity, try again later");
                let error = words.code.as_deref().unwrap_or(message);
                chunk["x_groq"] = json!({"id": request_id, "error": error});
                Event::data(&chunk)
            }
        }
    }

    fn ping(&self) -> Event {
        match self.ping {
            Ping::Comment(text) => Event::Comment(text),
            Ping::Name(name) => Event::Said { name: name.to_owned(), data: String::new() },
            Ping::EmptyDelta => {
                Event::data(&chunk("chatcmpl-000000", "scripted-model", choice(json!({"content": ""}), None)))
            }
        }
    }

    fn malformed_event(&self) -> Event {
        Event::text(r#"{"choices":[{"delta":{"content":"#)
    }

    fn models(&self, models: &[String]) -> Value {
        let model =
            |id: &String| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "testkit"});
        json!({"object": "list", "data": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut message = json!({"role": "assistant", "content": answer.text(), "refusal": null});
        if let Some(tool) = answer.tool {
            let function = json!({"name": tool, "arguments": answer.text()});
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{"id": "call_1", "type": "function", "function": function}]);
        }
        if !answer.reasoning.is_empty() {
            let thought = answer.reasoning.concat();
            match self.reasoning {
                Reasoning::Field(field) => message[field] = json!(thought),
                Reasoning::Parts => {
                    let text = json!({"type": "text", "text": answer.text()});
                    message["content"] = json!([thought_part(&thought), text]);
                }
            }
        }
        let finish_reason = answer.stop_word(&STOP);
        json!({
            "id": id(answer),
            "object": "chat.completion",
            "created": CREATED,
            "model": answer.model(),
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage(answer),
        })
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let chunk = |choices: Value| chunk(&id(answer), answer.model(), choices);
        let delta = |delta: Value| Event::data(&chunk(choice(delta, None)));

        let mut before = Vec::new();
        match self.opening {
            Opening::Nothing => {}
            Opening::Ping => before.push(self.ping()),
            Opening::PromptFilter => before.push(prompt_filter()),
        }
        before.push(delta(json!({"role": "assistant", "content": ""})));

        let thoughts = answer.reasoning.iter().map(|text| self.thought(text));
        let pieces = answer.tokens.iter().enumerate().map(|(at, text)| match answer.tool {
            None => json!({"content": text}),
            Some(tool) => json!({"tool_calls": [call(at, tool, text)]}),
        });
        let tokens = thoughts.chain(pieces).map(|piece| vec![delta(piece)]).collect();

        let mut last = chunk(last_choice(answer.stop_word(&STOP)));
        let mut extra = chunk(json!([]));
        match self.usage {
            UsageAt::ChunkIfAsked | UsageAt::Chunk => extra["usage"] = usage(answer),
            UsageAt::LastChoice => last["usage"] = usage(answer),
            UsageAt::XGroq => last["x_groq"] = json!({"id": id(answer), "usage": usage(answer)}),
        }
        let has_extra = match self.usage {
            UsageAt::ChunkIfAsked => answer.question.wants_usage,
            UsageAt::Chunk => true,
            UsageAt::LastChoice | UsageAt::XGroq => false,
        };
        let mut after = vec![Event::data(&last)];
        after.extend(has_extra.then(|| Event::data(&extra)));
        after.push(Event::text("[DONE]"));
        Events { before, tokens, after }
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

/// A piece of a call; the first says what is called.
fn call(at: usize, tool: &str, arguments: &str) -> Value {
    match at {
        0 => {
            let function = json!({"name": tool, "arguments": arguments});
            json!({"index": 0, "id": "call_1", "type": "function", "function": function})
        }
        _ => json!({"index": 0, "function": {"arguments": arguments}}),
    }
}

fn thought_part(text: &str) -> Value {
    json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
}

fn prompt_filter() -> Event {
    let results = json!({"hate": {"filtered": false, "severity": "safe"}, "jailbreak": {"detected": false, "filtered": false}});
    let mut chunk = chunk("", "", json!([]));
    chunk["prompt_filter_results"] = json!([{"prompt_index": 0, "content_filter_results": results}]);
    Event::data(&chunk)
}

fn id(answer: &Answer<'_>) -> String {
    format!("chatcmpl-{:06}", answer.number)
}

fn usage(answer: &Answer<'_>) -> Value {
    let (prompt, completion) = (answer.question.prompt_tokens, answer.count());
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
