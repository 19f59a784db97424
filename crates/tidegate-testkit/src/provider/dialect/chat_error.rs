//! The error bodies of the providers of OpenAI's chat. They share little but the field `error`.

use http::StatusCode;
use serde_json::{Value, json};

use super::ErrorSpec;
use super::limits::seconds;

/// `{"error":{message,type,param,code}}`.
pub(super) fn openai(status: StatusCode, spec: &ErrorSpec) -> Value {
    let (usual_code, usual_message) = usual(status);
    let code = spec.code.as_deref().or(usual_code);
    let kind = spec.kind.as_deref().unwrap_or_else(|| kind_of(status, code));
    error(spec.message.as_deref().unwrap_or(usual_message), kind, code)
}

/// OpenAI's error body, with the retry delay in the message and a status of its own for overload.
pub(super) fn groq(status: StatusCode, spec: &ErrorSpec) -> Value {
    let (usual_code, usual_message) = match status.as_u16() {
        498 => (Some("capacity_exceeded"), "The flex tier has no capacity for this request."),
        _ => usual(status),
    };
    let code = spec.code.as_deref().or(usual_code);
    let kind = spec.kind.as_deref().unwrap_or_else(|| kind_of(status, code));
    let mut message = spec.message.clone().unwrap_or_else(|| usual_message.to_owned());
    if let Some(wait) = spec.wait {
        message += &format!(" Please try again in {}s.", wait.as_secs_f64());
    }
    error(&message, kind, code)
}

/// OpenAI's error body, with fewer codes and with other ones.
pub(super) fn deepseek(status: StatusCode, spec: &ErrorSpec) -> Value {
    let (kind, code, message) = match status.as_u16() {
        401 => ("authentication_error", Some("invalid_request_error"), "The API key is not valid."),
        402 => ("unknown_error", Some("invalid_request_error"), "Insufficient Balance"),
        429 => ("rate_limit_reached_error", None, "Requests come too fast."),
        503 => ("service_unavailable_error", None, "The server is overloaded."),
        400..500 => {
            ("invalid_request_error", Some("invalid_request_error"), "The request is not a good one.")
        }
        _ => ("server_error", None, "The server had an error."),
    };
    let message = spec.message.as_deref().unwrap_or(message);
    error(message, spec.kind.as_deref().unwrap_or(kind), spec.code.as_deref().or(code))
}

/// `{"error":{code,message}}`, where the code of a rejection is its status, and the retry delay is in the
/// message.
pub(super) fn azure(status: StatusCode, spec: &ErrorSpec) -> Value {
    let (code, message) = match status.as_u16() {
        401 => ("401", "Access denied due to an invalid subscription key."),
        404 => ("DeploymentNotFound", "The deployment does not exist."),
        408 => ("Timeout", "The operation was timeout."),
        429 => ("429", "Requests have exceeded the call rate limit of your tier."),
        400..500 => ("BadRequest", "The request could not be processed as it is."),
        503 => ("ServiceUnavailable", "The service is temporarily unable to process your request."),
        _ => ("InternalServerError", "The server had an error."),
    };
    let mut message = spec.message.clone().unwrap_or_else(|| message.to_owned());
    if let Some(wait) = spec.wait {
        message += &format!(" Please retry after {} seconds.", seconds(wait));
    }
    let mut body = json!({"error": {"code": spec.code.as_deref().unwrap_or(code), "message": message}});
    if let Some(kind) = &spec.kind {
        body["error"]["type"] = json!(kind);
    }
    body
}

/// A flat body that contains the status. A code of digits is a code, and any other code is a type.
pub(super) fn mistral(status: StatusCode, spec: &ErrorSpec) -> Value {
    if status == StatusCode::UNAUTHORIZED && spec.code.is_none() {
        return json!({"detail": "Unauthorized"});
    }
    let (kind, code, message) = match status.as_u16() {
        429 => ("rate_limited", Some("1300"), "Rate limit exceeded"),
        503 => ("service_unavailable", Some("3000"), "Service unavailable."),
        400..500 => ("invalid_request_error", None, "The request is not a good one."),
        _ => ("internal_server_error", Some("3000"), "The server had an error."),
    };
    let (digits, name) = match &spec.code {
        Some(code) if code.bytes().all(|b| b.is_ascii_digit()) => (Some(code.as_str()), None),
        name => (None, name.as_deref()),
    };
    json!({
        "object": "error",
        "message": spec.message.as_deref().unwrap_or(message),
        "type": spec.kind.as_deref().or(name).unwrap_or(kind),
        "param": null,
        "code": digits.or(if name.is_some() { None } else { code }),
        "raw_status_code": status.as_u16(),
    })
}

/// `{"error":{code,message,metadata}}`, where the code is a number. A code that is not a number goes into the
/// metadata.
pub(super) fn openrouter(status: StatusCode, spec: &ErrorSpec) -> Value {
    let message = match status.as_u16() {
        401 => "No auth credentials found",
        402 => "Not enough credits left.",
        404 => "No endpoints found.",
        429 => "Rate limit exceeded",
        502 => "Provider returned error",
        503 => "No provider meets the needs of the request.",
        400..500 => "The request is not a good one.",
        _ => "Internal Server Error",
    };
    let number = spec.code.as_deref().and_then(|code| code.parse().ok()).unwrap_or(status.as_u16());
    let mut error = json!({"code": number, "message": spec.message.as_deref().unwrap_or(message)});
    let reason = spec.code.as_deref().filter(|code| code.parse::<u16>().is_err()).or(spec.kind.as_deref());
    if let Some(reason) = reason {
        error["metadata"] = json!({"reason": reason});
    }
    json!({"error": error})
}

fn error(message: &str, kind: &str, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The default code and message for a status.
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

/// The default type for a code, or else for a status.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(code: Option<&str>) -> ErrorSpec {
        ErrorSpec { code: code.map(str::to_owned), ..ErrorSpec::default() }
    }

    fn status(status: u16) -> StatusCode {
        StatusCode::from_u16(status).unwrap()
    }

    #[test]
    fn an_error_has_the_default_type_of_its_code() {
        for (number, code, expected) in [
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
            let body = openai(status(number), &spec(code));
            let error = &body["error"];
            assert_eq!((error["type"].as_str().unwrap(), error["code"].as_str()), expected, "{number}");
        }
    }

    #[test]
    fn a_code_is_in_the_field_that_the_provider_uses() {
        let reason = openrouter(status(402), &spec(Some("in_flight_budget_exhausted")));
        assert_eq!(reason["error"]["metadata"]["reason"], "in_flight_budget_exhausted");
        assert_eq!(openrouter(status(500), &spec(Some("502")))["error"]["code"], 502);
        let error = mistral(status(429), &spec(Some("rate_limited")));
        assert_eq!((&error["type"], &error["code"]), (&json!("rate_limited"), &Value::Null));
        assert_eq!(mistral(status(429), &spec(Some("3505")))["code"], "3505");
    }

    #[test]
    fn a_retry_delay_is_in_the_message_of_groq_and_azure() {
        let spec = ErrorSpec { wait: Some(std::time::Duration::from_millis(5289)), ..ErrorSpec::default() };
        let message = |body: Value| body["error"]["message"].as_str().unwrap().to_owned();
        assert!(message(groq(status(429), &spec)).ends_with("try again in 5.289s."));
        assert!(message(azure(status(429), &spec)).ends_with("retry after 6 seconds."));
    }
}
