use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Dialect, Endpoint, ErrorWords, Event, Events, Framing, Question, StopWords};

/// Bedrock's Converse, in Amazon's binary events. Keys are those that stand for themselves; nothing is signed.
pub(in crate::provider) struct Bedrock;

const STOP: StopWords =
    StopWords { natural: "end_turn", tool: "tool_use", length: "max_tokens", filter: "guardrail_intervened" };

impl Dialect for Bedrock {
    fn base(&self) -> &'static str {
        ""
    }

    fn chat_path(&self, model: &str, is_stream: bool) -> String {
        format!("/model/{model}/{}", if is_stream { "converse-stream" } else { "converse" })
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        (request.method() == Method::POST && called(request).is_some()).then_some(Endpoint::Chat)
    }

    fn read_path(&self, request: &Request<()>, question: &mut Question) {
        let Some((model, is_stream)) = called(request) else { return };
        question.model = Some(model.to_owned());
        (question.is_stream, question.framing) = (is_stream, Framing::Amazon);
    }

    fn request_id_header(&self) -> &'static str {
        "x-amzn-requestid"
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, _: &str) -> Value {
        let (usual_kind, usual_message) = usual(status);
        let kind = words.code.as_deref().or(words.kind.as_deref()).unwrap_or(usual_kind);
        json!({"__type": kind, "message": words.message.as_deref().unwrap_or(usual_message)})
    }

    fn error_event(&self, words: &ErrorWords, _: &str) -> Event {
        let message = words.message.as_deref().unwrap_or("The system ended the stream.");
        Event::Exception {
            name: words.code.as_deref().unwrap_or("modelStreamErrorException").to_owned(),
            data: json!({"message": message, "originalStatusCode": 500}).to_string(),
        }
    }

    /// There is none, but a delta may be empty.
    fn ping(&self) -> Event {
        delta(0, json!({"text": ""}))
    }

    fn malformed_event(&self) -> Event {
        Event::Said {
            name: "contentBlockDelta".to_owned(),
            data: r#"{"contentBlockIndex":0,"delta":{"text":"#.to_owned(),
        }
    }

    fn models(&self, _: &[String]) -> Value {
        json!({})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            let text = json!({"text": answer.reasoning.concat()});
            content.push(json!({"reasoningContent": {"reasoningText": text}}));
        }
        content.push(match answer.tool {
            None => json!({"text": answer.text()}),
            Some(tool) => {
                let input: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
                json!({"toolUse": {"toolUseId": "call_1", "name": tool, "input": input}})
            }
        });
        json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": answer.stop_word(&STOP),
            "usage": usage(answer),
        })
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let mut events = Events::default();
        events.before.push(Event::named("messageStart", &json!({"role": "assistant"})));
        let mut announced = Vec::new();
        for text in answer.reasoning {
            events.tokens.push(vec![delta(0, json!({"reasoningContent": {"text": text}}))]);
        }
        if !answer.reasoning.is_empty() {
            announced.push(stopped(0));
        }
        let index = usize::from(!answer.reasoning.is_empty());
        if let Some(tool) = answer.tool {
            let start = json!({"toolUse": {"toolUseId": "call_1", "name": tool}});
            let block = json!({"contentBlockIndex": index, "start": start});
            announced.push(Event::named("contentBlockStart", &block));
        }
        for text in answer.tokens {
            announced.push(match answer.tool {
                None => delta(index, json!({"text": text})),
                Some(_) => delta(index, json!({"toolUse": {"input": text}})),
            });
            events.tokens.push(std::mem::take(&mut announced));
        }
        // The usage comes after the stop.
        events.after = vec![
            stopped(index),
            Event::named("messageStop", &json!({"stopReason": answer.stop_word(&STOP)})),
            Event::named("metadata", &json!({"usage": usage(answer), "metrics": {"latencyMs": 1}})),
        ];
        events
    }
}

/// The model, and whether it is to stream.
fn called(request: &Request<()>) -> Option<(&str, bool)> {
    let (model, method) = request.uri().path().strip_prefix("/model/")?.rsplit_once('/')?;
    match method {
        "converse" => Some((model, false)),
        "converse-stream" => Some((model, true)),
        _ => None,
    }
}

fn delta(index: usize, delta: Value) -> Event {
    Event::named("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}))
}

fn stopped(index: usize) -> Event {
    Event::named("contentBlockStop", &json!({"contentBlockIndex": index}))
}

fn usage(answer: &Answer<'_>) -> Value {
    let (input, output) = (answer.question.prompt_tokens, answer.count());
    json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output})
}

/// The exception and the words that usually come with a status.
fn usual(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("UnrecognizedClientException", "The security token is not valid."),
        403 => ("AccessDeniedException", "You do not have access to the model."),
        404 => ("ResourceNotFoundException", "The model is not found."),
        408 => ("ModelTimeoutException", "The model took too long."),
        424 => ("ModelErrorException", "The model had an error."),
        429 => ("ThrottlingException", "Too many requests, please wait before trying again."),
        503 => ("ServiceUnavailableException", "The service is unavailable, come back later."),
        400..500 => ("ValidationException", "The request is not a good one."),
        _ => ("InternalServerException", "The server had an error."),
    }
}
