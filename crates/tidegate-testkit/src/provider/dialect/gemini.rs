use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{
    ApiEndpoint, Completion, ErrorSpec, Framing, RequestInfo, StopReasons, StreamEvents, TestDialect,
    WireEvent, bearer, text,
};

/// Google's Gemini. Each model has its own path, and a stream is a sequence of events or one JSON array.
pub(in crate::provider) struct Gemini;

const BASE: &str = "/v1beta";

const STOP: StopReasons =
    StopReasons { natural: "STOP", tool: "STOP", length: "MAX_TOKENS", filter: "SAFETY" };

impl TestDialect for Gemini {
    fn base(&self) -> &'static str {
        BASE
    }

    fn chat_path(&self, model: &str, is_stream: bool) -> String {
        if is_stream {
            format!("{BASE}/models/{model}:streamGenerateContent?alt=sse")
        } else {
            format!("{BASE}/models/{model}:generateContent")
        }
    }

    fn endpoint(&self, request: &Request<()>) -> Option<ApiEndpoint> {
        let models = request.uri().path().strip_prefix(BASE)?.strip_prefix("/models")?;
        match *request.method() {
            Method::GET if models.is_empty() => Some(ApiEndpoint::Models),
            Method::POST => model_and_method(request).map(|_| ApiEndpoint::Chat),
            _ => None,
        }
    }

    fn read_path(&self, request: &Request<()>, info: &mut RequestInfo) {
        let Some((model, method)) = model_and_method(request) else { return };
        info.model = Some(model.to_owned());
        info.is_stream = method == "streamGenerateContent";
        info.framing = match parameter(request, "alt") {
            Some("sse") => Framing::Sse,
            _ => Framing::Array,
        };
    }

    fn has_key(&self, request: &Request<()>, key: &str) -> bool {
        let own = text(request.headers(), "x-goog-api-key").or(parameter(request, "key"));
        own.or(bearer(request.headers())) == Some(key)
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    /// The retry delay is in the body only.
    fn error(&self, status: StatusCode, spec: &ErrorSpec, _: &str) -> Value {
        let name = spec.code.as_deref().unwrap_or(usual(status).0);
        let status = status_of(name).unwrap_or(status);
        let mut message = spec.message.clone().unwrap_or_else(|| usual(status).1.to_owned());
        let mut details = Vec::new();
        if let Some(reason) = &spec.kind {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason, "domain": "googleapis.com",
            }));
        }
        if let Some(wait) = spec.wait {
            let wait = format!("{}s", wait.as_secs_f64());
            message += &format!(" Please retry in {wait}.");
            let violation = json!({"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"});
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation],
            }));
            details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait}));
        }
        let mut error = json!({"code": status.as_u16(), "message": message, "status": name});
        if !details.is_empty() {
            error["details"] = json!(details);
        }
        json!({"error": error})
    }

    fn error_event(&self, spec: &ErrorSpec, request_id: &str) -> WireEvent {
        WireEvent::data(&self.error(StatusCode::INTERNAL_SERVER_ERROR, spec, request_id))
    }

    fn ping(&self) -> WireEvent {
        WireEvent::data(&json!({"candidates": [candidate(&json!({"text": ""}))]}))
    }

    /// The braces are balanced, so that an array can continue after the event.
    fn malformed_event(&self) -> WireEvent {
        WireEvent::text(r#"{"candidates":[{"content":{"parts":[{"text":}]}}]}"#)
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| {
            let methods = ["generateContent", "streamGenerateContent"];
            json!({"name": format!("models/{id}"), "displayName": id, "supportedGenerationMethods": methods})
        };
        json!({"models": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn completion(&self, completion: &Completion<'_>) -> Value {
        let mut parts = Vec::new();
        if !completion.reasoning.is_empty() {
            parts.push(thought(&completion.reasoning.concat()));
        }
        parts.push(part(completion, &completion.text()));
        let mut value = chunk(completion, completion.reasoning.len(), completion.tokens.len(), &json!(parts));
        value["candidates"][0]["finishReason"] = json!(completion.stop_reason(&STOP));
        value
    }

    /// A stream has no preamble, and a call is sent in one piece.
    fn stream(&self, completion: &Completion<'_>) -> StreamEvents {
        let mut events = StreamEvents::default();
        for (at, text) in completion.reasoning.iter().enumerate() {
            let value = chunk(completion, at + 1, 0, &json!([thought(text)]));
            events.tokens.push(vec![WireEvent::data(&value)]);
        }
        let thoughts = completion.reasoning.len();
        let pieces =
            if completion.tool.is_some() { vec![completion.text()] } else { completion.tokens.to_vec() };
        for (at, text) in pieces.iter().enumerate() {
            let count = if completion.tool.is_some() { completion.tokens.len() } else { at + 1 };
            let value = chunk(completion, thoughts, count, &json!([part(completion, text)]));
            events.tokens.push(vec![WireEvent::data(&value)]);
        }
        let mut last = chunk(completion, thoughts, completion.tokens.len(), &json!([{"text": ""}]));
        last["candidates"][0]["finishReason"] = json!(completion.stop_reason(&STOP));
        events.after.push(WireEvent::data(&last));
        events
    }
}

/// The model and the method of the path.
fn model_and_method(request: &Request<()>) -> Option<(&str, &str)> {
    let path = request.uri().path().strip_prefix(BASE)?.strip_prefix("/models/")?;
    let (model, method) = path.rsplit_once(':')?;
    matches!(method, "generateContent" | "streamGenerateContent").then_some((model, method))
}

fn parameter<'a>(request: &'a Request<()>, name: &str) -> Option<&'a str> {
    let query = request.uri().query()?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn chunk(completion: &Completion<'_>, thoughts: usize, output: usize, parts: &Value) -> Value {
    let prompt = completion.info.prompt_tokens;
    let mut usage = json!({"promptTokenCount": prompt, "totalTokenCount": prompt + thoughts + output});
    for (name, count) in [("thoughtsTokenCount", thoughts), ("candidatesTokenCount", output)] {
        if count > 0 {
            usage[name] = json!(count);
        }
    }
    json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": completion.model(),
        "responseId": format!("r{:06}", completion.number),
    })
}

fn candidate(part: &Value) -> Value {
    json!({"content": {"parts": [part], "role": "model"}, "index": 0})
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

fn part(completion: &Completion<'_>, text: &str) -> Value {
    match completion.tool {
        None => json!({"text": text}),
        Some(tool) => {
            let arguments: Value = serde_json::from_str(text).unwrap_or_default();
            json!({"functionCall": {"name": tool, "args": arguments}})
        }
    }
}

/// The default status name and message for a status.
fn usual(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        401 => ("UNAUTHENTICATED", "The request has no valid credentials."),
        403 => ("PERMISSION_DENIED", "The caller does not have permission."),
        404 => ("NOT_FOUND", "The model is not found."),
        429 => ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
        499 => ("CANCELLED", "The operation was cancelled."),
        503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "The deadline expired before the operation could complete."),
        400..500 => ("INVALID_ARGUMENT", "The request is not a good one."),
        _ => ("INTERNAL", "An internal error has occurred."),
    }
}

/// The status of a status name. Inside a stream it is the only source of the status.
fn status_of(name: &str) -> Option<StatusCode> {
    let known = [400, 401, 403, 404, 429, 499, 500, 503, 504].into_iter();
    known.filter_map(|status| StatusCode::from_u16(status).ok()).find(|&status| usual(status).0 == name)
}
