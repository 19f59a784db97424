use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, CREATED, Dialect, Endpoint, ErrorWords, Events, Standing, data};

/// Chat completions, models and embeddings as OpenAI has them.
pub(in crate::provider) struct OpenAi;

impl Dialect for OpenAi {
    fn endpoint(&self, request: &Request<()>) -> Option<Endpoint> {
        Endpoint::find(request.method(), request.uri().path(), "/v1/chat/completions")
    }

    fn has_key(&self, headers: &HeaderMap, key: &str) -> bool {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        value.and_then(|value| value.strip_prefix("Bearer ")) == Some(key)
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    fn overloaded(&self) -> u16 {
        503
    }

    fn limit_headers(&self, standing: &Standing, _: SystemTime) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("x-ratelimit-limit-requests", standing.limit.to_string()),
            ("x-ratelimit-remaining-requests", standing.remaining.to_string()),
            ("x-ratelimit-reset-requests", go_duration(standing.reset)),
        ];
        if let Some(wait) = standing.refused_for {
            headers.push(("retry-after-ms", wait.as_nanos().div_ceil(1_000_000).to_string()));
        }
        headers
    }

    fn error(&self, status: StatusCode, words: &ErrorWords, _: &str) -> Value {
        let (usual_code, usual_message) = usual(status);
        let code = words.code.as_deref().or(usual_code);
        let kind = words.kind.as_deref().unwrap_or_else(|| kind_of(status, code));
        let message = words.message.as_deref().unwrap_or(usual_message);
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
    }

    fn error_event(&self, words: &ErrorWords, request_id: &str) -> Bytes {
        data(&self.error(StatusCode::INTERNAL_SERVER_ERROR, words, request_id))
    }

    fn ping(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }

    fn malformed_event(&self) -> Bytes {
        Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\n\n")
    }

    fn models(&self, models: &[String]) -> Value {
        let model =
            |id: &String| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "testkit"});
        json!({"object": "list", "data": models.iter().map(model).collect::<Vec<_>>()})
    }

    fn answer(&self, answer: &Answer<'_>) -> Value {
        json!({
            "id": id(answer),
            "object": "chat.completion",
            "created": CREATED,
            "model": answer.model(),
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": answer.tokens.concat(), "refusal": null},
                "finish_reason": answer.finish_reason.unwrap_or("stop"),
            }],
            "usage": usage(answer),
        })
    }

    fn stream(&self, answer: &Answer<'_>) -> Events {
        let chunk = |choices: Value| {
            json!({
                "id": id(answer),
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": answer.model(),
                "choices": choices,
            })
        };
        let choice = |delta: Value, finish_reason: Option<&str>| {
            data(&chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}])))
        };
        let mut after = vec![choice(json!({}), answer.finish_reason.or(Some("stop")))];
        if answer.question.wants_usage {
            let mut last = chunk(json!([]));
            last["usage"] = usage(answer);
            after.push(data(&last));
        }
        after.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Events {
            before: vec![choice(json!({"role": "assistant", "content": ""}), None)],
            tokens: answer.tokens.iter().map(|token| choice(json!({"content": token}), None)).collect(),
            after,
        }
    }
}

fn id(answer: &Answer<'_>) -> String {
    format!("chatcmpl-{:06}", answer.number)
}

fn usage(answer: &Answer<'_>) -> Value {
    let (prompt, completion) = (answer.question.prompt_tokens, answer.tokens.len());
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

/// The code and the words that usually come with a status.
fn usual(status: StatusCode) -> (Option<&'static str>, &'static str) {
    match status.as_u16() {
        401 => (Some("invalid_api_key"), "Incorrect API key provided."),
        404 => (Some("model_not_found"), "The model does not exist or you do not have access to it."),
        429 => (Some("rate_limit_exceeded"), "Rate limit reached for requests."),
        503 => (Some("server_is_overloaded"), "The server is currently overloaded."),
        400..500 => (None, "The request could not be processed as it is."),
        _ => (None, "The server had an error while processing your request."),
    }
}

/// The type that usually goes with a code, else with a status.
fn kind_of(status: StatusCode, code: Option<&str>) -> &'static str {
    const QUOTA: [&str; 5] = [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ];
    match (code, status.as_u16()) {
        (Some(code), _) if QUOTA.contains(&code) => "insufficient_quota",
        (Some("slow_down"), _) => "rate_limit_error",
        (Some("rate_limit_exceeded"), _) | (_, 429) => "requests",
        (Some("server_is_overloaded"), _) | (_, 503) => "service_unavailable_error",
        (Some("context_length_exceeded" | "invalid_api_key" | "model_not_found"), _) | (_, 400..500) => {
            "invalid_request_error"
        }
        _ => "server_error",
    }
}

/// A duration as Go prints it, which is how OpenAI tells the time of a reset: `12ms`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match (rest / 1000, rest % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) if millis < 1000 => format!("{millis}ms"),
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_told_as_go_prints_durations() {
        for (millis, text) in [
            (0, "0ms"),
            (12, "12ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (7660, "7.66s"),
            (360_000, "6m0s"),
            (119_560, "1m59.56s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn an_error_has_the_type_that_goes_with_its_code() {
        for (status, code, expected) in [
            (429, Some("insufficient_quota"), ("insufficient_quota", Some("insufficient_quota"))),
            (429, None, ("requests", Some("rate_limit_exceeded"))),
            (503, None, ("service_unavailable_error", Some("server_is_overloaded"))),
            (500, None, ("server_error", None)),
            (401, None, ("invalid_request_error", Some("invalid_api_key"))),
            (
                400,
                Some("context_length_exceeded"),
                ("invalid_request_error", Some("context_length_exceeded")),
            ),
        ] {
            let words = ErrorWords { code: code.map(str::to_owned), ..ErrorWords::default() };
            let body = OpenAi.error(StatusCode::from_u16(status).unwrap(), &words, "");
            let error = &body["error"];
            assert_eq!((error["type"].as_str().unwrap(), error["code"].as_str()), expected, "{status}");
        }
    }
}
