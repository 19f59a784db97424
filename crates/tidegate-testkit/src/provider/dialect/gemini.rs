use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, Dialect, Endpoint, ErrorWords, Event, Events, Framing, Question, StopWords, bearer, text,
};

/// Google's Gemini: a model is asked at an address of its own, and a stream is events or one long array.
pub(in crate::provider) struct Gemini;

const BASE: &str = "/v1beta";

const STOP: StopWords = StopWords { natural: "STOP", tool: "STOP", length: "MAX_TOKENS", filter: "SAFETY" };

impl Dialect for Gemini {
    fn base(&self) -> &'static str {
        BASE
    }

    fn chat_path(&self, model: &str, is_stream: bool) -> String {
        match is_stream {
            true => format!("{BASE}/models/{model}:streamGenerateContent?alt=sse"),
            false => format!("{BASE}/models/{model}:generateContent"),
        }
    }

    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        let models = request.uri().path().strip_prefix(BASE)?.strip_prefix("/models")?;
        match *request.method() {
            Method::GET if models.is_empty() => Some(Endpoint::Models),
            Method::POST => called(request).map(|_| Endpoint::Chat),
            _ => None,
        }
    }

    fn read_path(&self, request: &Request<()>, question: &mut Question) {
        let Some((model, method)) = called(request) else { return };
        question.model = Some(model.to_owned());
        question.is_stream = method == "streamGenerateContent";
        question.framing = match parameter(request, "alt") {
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

    /// The body is the only place for a wait.
    fn error(&self, status: StatusCode, words: &ErrorWords, _: &str) -> Value {
        let word = words.code.as_deref().unwrap_or(usual(status).0);
        let status = status_of(word).unwrap_or(status);
        let mut message = words.message.clone().unwrap_or_else(|| usual(status).1.to_owned());
        let mut details = Vec::new();
        if let Some(reason) = &words.kind {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason, "domain": "googleapis.com",
            }));
        }
        if let Some(wait) = words.wait {
            let wait = format!("{}s", wait.as_secs_f64());
            message += &format!(" Please retry in {wait}.");
            let violation = json!({"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"});
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation],
            }));
            details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait}));
        }
        let mut error = json!({"code": status.as_u16(), "message": message, "status": word});
        if !details.is_empty() {
            error["details"] = json!(details);
        }
        json!({"error": error})
    }

    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Event {
        Event::data(&self.error(StatusCode::INTERNAL_SERVER_ERROR, words, request_id))
    }

    fn ping(&self) -> Event {
        Event::data(&json!({"candidates": [candidate(&json!({"text": ""}))]}))
    }

    /// Its braces are in order, so that an array can go on after it.
    fn malformed_event(&self) -> Event {
        Event::text(r#"{"candidates":[{"content":{"parts":[{"text":}]}}]}"#)
    }

    fn models(&self, models: &[String]) -> Value {
        let model = |id: &String| {
            let methods = ["generateContent", "streamGenerateContent"];
            json!({"name": format!("models/{id}"), "displayName": id, "supportedGenerationMethods": methods})
        };
        json!({"models": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        let mut parts = Vec::new();
        if !answer.reasoning.is_empty() {
            parts.push(thought(&answer.reasoning.concat()));
        }
        parts.push(part(answer, &answer.text()));
        let mut value = chunk(answer, answer.reasoning.len(), answer.tokens.len(), &json!(parts));
        value["candidates"][0]["finishReason"] = json!(answer.stop_word(&STOP));
        value
    }

    /// There is no preamble, and a call comes in one piece.
    fn stream(&self, answer: &Answer<'_>) -> Events {
        let mut events = Events::default();
        for (at, text) in answer.reasoning.iter().enumerate() {
            let value = chunk(answer, at + 1, 0, &json!([thought(text)]));
            events.tokens.push(vec![Event::data(&value)]);
        }
        let thoughts = answer.reasoning.len();
        let pieces = if answer.tool.is_some() { vec![answer.text()] } else { answer.tokens.to_vec() };
        for (at, text) in pieces.iter().enumerate() {
            let said = if answer.tool.is_some() { answer.tokens.len() } else { at + 1 };
            let value = chunk(answer, thoughts, said, &json!([part(answer, text)]));
            events.tokens.push(vec![Event::data(&value)]);
        }
        let mut last = chunk(answer, thoughts, answer.tokens.len(), &json!([{"text": ""}]));
        last["candidates"][0]["finishReason"] = json!(answer.stop_word(&STOP));
        events.after.push(Event::data(&last));
        events
    }
}

/// The model and what is asked of it.
fn called(request: &Request<()>) -> Option<(&str, &str)> {
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

fn chunk(answer: &Answer<'_>, thoughts: usize, said: usize, parts: &Value) -> Value {
    let prompt = answer.question.prompt_tokens;
    let mut usage = json!({"promptTokenCount": prompt, "totalTokenCount": prompt + thoughts + said});
    for (name, count) in [("thoughtsTokenCount", thoughts), ("candidatesTokenCount", said)] {
        if count > 0 {
            usage[name] = json!(count);
        }
    }
    json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": answer.model(),
        "responseId": format!("r{:06}", answer.number),
    })
}

fn candidate(part: &Value) -> Value {
    json!({"content": {"parts": [part], "role": "model"}, "index": 0})
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

fn part(answer: &Answer<'_>, text: &str) -> Value {
    match answer.tool {
        None => json!({"text": text}),
        Some(tool) => {
            let arguments: Value = serde_json::from_str(text).unwrap_or_default();
            json!({"functionCall": {"name": tool, "args": arguments}})
        }
    }
}

/// The words that usually come with a status.
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

/// The status that goes with a word: inside a stream there is no other to take it from.
fn status_of(word: &str) -> Option<StatusCode> {
    let known = [400, 401, 403, 404, 429, 499, 500, 503, 504].into_iter();
    known.filter_map(|status| StatusCode::from_u16(status).ok()).find(|&status| usual(status).0 == word)
}
