use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{
    ApiEndpoint, Completion, ErrorSpec, Framing, RequestInfo, StopReasons, StreamEvents, TestDialect,
    WireEvent,
};

/// Bedrock's Converse, with Amazon's binary events. API keys are bearer tokens, and nothing is signed.
pub(in crate::provider) struct Bedrock;

const STOP: StopReasons = StopReasons {
    natural: "end_turn",
    tool: "tool_use",
    length: "max_tokens",
    filter: "guardrail_intervened",
};

impl TestDialect for Bedrock {
    fn base(&self) -> &'static str {
        ""
    }

    fn chat_path(&self, model: &str, is_stream: bool) -> String {
        format!("/model/{model}/{}", if is_stream { "converse-stream" } else { "converse" })
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        (request.method() == Method::POST && model_and_mode(request).is_some()).then_some(ApiEndpoint::Chat)
    }

    fn read_path(&self, request: &Request<()>, info: &mut RequestInfo) {
        let Some((model, is_stream)) = model_and_mode(request) else { return };
        info.model = Some(model.to_owned());
        (info.is_stream, info.framing) = (is_stream, Framing::Amazon);
    }

    fn request_id_header(&self) -> &'static str {
        "x-amzn-requestid"
    }

    fn error(&self, status: StatusCode, spec: &ErrorSpec, _: &str) -> Value {
        let (usual_kind, usual_message) = usual(status);
        let kind = spec.code.as_deref().or(spec.kind.as_deref()).unwrap_or(usual_kind);
        json!({"__type": kind, "message": spec.message.as_deref().unwrap_or(usual_message)})
    }

    fn error_event(&self, spec: &ErrorSpec, _: &str) -> WireEvent {
        let message = spec.message.as_deref().unwrap_or("The system ended the stream.");
        WireEvent::Exception {
            name: spec.code.as_deref().unwrap_or("modelStreamErrorException").to_owned(),
            data: json!({"message": message, "originalStatusCode": 500}).to_string(),
        }
    }

    /// Bedrock has no ping event. A delta may be empty.
    fn ping(&self) -> WireEvent {
        delta(0, json!({"text": ""}))
    }

    fn malformed_event(&self) -> WireEvent {
        WireEvent::Message {
            name: "contentBlockDelta".to_owned(),
            data: r#"{"contentBlockIndex":0,"delta":{"text":"#.to_owned(),
        }
    }

    fn models(&self, _: &[String]) -> Value {
        json!({})
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        let mut content = Vec::new();
        if !completion.reasoning.is_empty() {
            let text = json!({"text": completion.reasoning.concat()});
            content.push(json!({"reasoningContent": {"reasoningText": text}}));
        }
        content.push(match completion.tool {
            None => json!({"text": completion.text()}),
            Some(tool) => {
                let input: Value = serde_json::from_str(&completion.text()).unwrap_or_default();
                json!({"toolUse": {"toolUseId": "call_1", "name": tool, "input": input}})
            }
        });
        json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": completion.stop_reason(&STOP),
            "usage": usage(completion),
        })
    }

    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let mut events = StreamEvents::default();
        events.before.push(WireEvent::named("messageStart", &json!({"role": "assistant"})));
        let mut pending = Vec::new();
        for text in completion.reasoning {
            events.tokens.push(vec![delta(0, json!({"reasoningContent": {"text": text}}))]);
        }
        if !completion.reasoning.is_empty() {
            pending.push(stopped(0));
        }
        let index = usize::from(!completion.reasoning.is_empty());
        if let Some(tool) = completion.tool {
            let start = json!({"toolUse": {"toolUseId": "call_1", "name": tool}});
            let block = json!({"contentBlockIndex": index, "start": start});
            pending.push(WireEvent::named("contentBlockStart", &block));
        }
        for text in completion.tokens {
            pending.push(match completion.tool {
                None => delta(index, json!({"text": text})),
                Some(_) => delta(index, json!({"toolUse": {"input": text}})),
            });
            events.tokens.push(std::mem::take(&mut pending));
        }
        // The usage follows the stop reason.
        events.after = vec![
            stopped(index),
            WireEvent::named("messageStop", &json!({"stopReason": completion.stop_reason(&STOP)})),
            WireEvent::named("metadata", &json!({"usage": usage(completion), "metrics": {"latencyMs": 1}})),
        ];
        events
    }
}

/// The model of the path, and whether the path is that of a stream.
fn model_and_mode(request: &Request<()>) -> Option<(&str, bool)> {
    let (model, method) = request.uri().path().strip_prefix("/model/")?.rsplit_once('/')?;
    match method {
        "converse" => Some((model, false)),
        "converse-stream" => Some((model, true)),
        _ => None,
    }
}

fn delta(index: usize, delta: Value) -> WireEvent {
    WireEvent::named("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}))
}

fn stopped(index: usize) -> WireEvent {
    WireEvent::named("contentBlockStop", &json!({"contentBlockIndex": index}))
}

fn usage(completion: &Completion<'_>) -> Value {
    let (input, output) = (completion.info.prompt_tokens, completion.count());
    json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output})
}

/// The default exception and message for a status.
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
