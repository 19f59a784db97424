//! What an answer is at each endpoint, as the wire judges it: by the first bytes of a body, and at its end.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response};
use proptest::prelude::*;
use tidegate_core::{BodyProbe, Classifier, ErrorCode, ExpectedAnswer, FailureKind, Scan, StopReason};
use tidegate_providers::ProviderClassifier;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/m:generateContent";
const COHERE: &str = "/v2/chat";
const CONVERSE: &str = "/model/m/converse";
const EMBEDDINGS: &str = "/v1/embeddings";
const EMBED: &str = "/v2/embed";

const ENDPOINTS: [&str; 9] =
    [CHAT, COMPLETIONS, RESPONSES, MESSAGES, GEMINI, COHERE, CONVERSE, EMBEDDINGS, EMBED];

/// The answers of the endpoints. Some servers differ from the dialect that they have in details.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str)] = &[
    (CHAT, r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#),
    (CHAT, r#"{"error":null,"code":0,"base_resp":{"status_code":0},"choices":[{"message":{"content":"Hi"}}]}"#),
    (CHAT, r#"{"error":[],"choices":[{"message":{"content":"{\"error\":1}"}}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":"","reasoning_content":"hm"},"finish_reason":"length"}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":null}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":[{"type":"text","text":"Hi"}]}}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":null,"images":[{"image_url":{"url":"data:"}}]}}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#),
    (CHAT, r#"{"choices":[{"message":{"content":""},"finish_reason":""}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#),
    (CHAT, r#"{"usage":{},"object":"","created":0,"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant"}}]}"#),
    (COMPLETIONS, r#"{"object":"text_completion","choices":[{"text":"Hi","index":0,"logprobs":null,"finish_reason":null}]}"#),
    (COMPLETIONS, r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#),
    (RESPONSES, r#"{"id":"r","object":"response","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}"#),
    (RESPONSES, r#"{"object":"response","status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[]}]}"#),
    (RESPONSES, r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}"#),
    (RESPONSES, r#"{"id":"r","object":"response","status":"queued","error":null,"output":[]}"#),
    (RESPONSES, r#"{"status":"in_progress","object":"response"}"#),
    (MESSAGES, r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#),
    (MESSAGES, r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#),
    (MESSAGES, r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":null}"#),
    (MESSAGES, r#"{"content":[{"type":"text","text":""}],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":2}}"#),
    (GEMINI, r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]}}]}"#),
    (GEMINI, r#"{"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}]}"#),
    (GEMINI, r#"{"candidates":[{"index":0}],"usageMetadata":{"promptTokenCount":3,"thoughtsTokenCount":9}}"#),
    (COHERE, r#"{"id":"k","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"finish_reason":"COMPLETE"}"#),
    (COHERE, r#"{"message":{"role":"assistant","tool_plan":"f","tool_calls":[{"id":"t"}]}}"#),
    (COHERE, r#"{"response_id":"k","text":"Hi","generation_id":"g","finish_reason":"COMPLETE"}"#),
    (COHERE, r#"{"choices":[{"message":{"content":"Hi"}}]}"#),
    (CONVERSE, r#"{"metrics":{"latencyMs":1},"output":{"message":{"content":[{"text":"Hi"}],"role":"assistant"}},"stopReason":"end_turn"}"#),
    (EMBEDDINGS, r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2]}],"model":"m"}"#),
    (EMBEDDINGS, r#"{"data":[{"embedding":[0,1]}]}"#),
    (EMBEDDINGS, r#"{"data":[{"embedding":"AACAPw=="}]}"#),
    (EMBEDDINGS, r#"{"data":[{"embeddings":[[0.1],[0.2]]}]}"#),
    (EMBEDDINGS, r#"{"embedding":[0.1]}"#),
    (EMBEDDINGS, r#"{"embedding":{"values":[0.1]}}"#),
    (EMBEDDINGS, r#"[{"index":0,"embedding":[[0.1]]}]"#),
    (EMBEDDINGS, "[[0.1,0.2]]"),
    (EMBED, r#"{"id":"e","embeddings":[[0.1]],"texts":["a"]}"#),
    (EMBED, r#"{"id":"e","embeddings":{"float":[[0.1]],"int8":[[1]]},"response_type":"embeddings_by_type"}"#),
    (EMBED, r#"{"embeddings":{"base64":["AACAPw=="]}}"#),
];

/// What is an answer at no endpoint.
const FAILURES: &[&str] = &[
    "",
    " \n",
    "{}",
    "[]",
    "[{}]",
    "null",
    "true",
    "42",
    "\"busy\"",
    "busy",
    "<html></html>",
    r#"{"error":"busy"}"#,
    r#"{"error":{"message":null,"code":null}}"#,
    r#"{"errors":[{"code":7,"message":"busy"}]}"#,
    r#"{"detail":"busy"}"#,
    r#"{"message":"busy"}"#,
    r#"{"message":{"error":"busy"}}"#,
    r#"{"message":{"text":"busy","code":503}}"#,
    r#"{"code":1001,"msg":"busy","data":{}}"#,
    r#"{"code":1001,"msg":"busy","data":{"reason":"quota"}}"#,
    r#"{"code":503,"data":"please wait"}"#,
    r#"{"code":503,"data":["please wait"]}"#,
    r#"{"code":503,"data":[{"reason":"quota"}]}"#,
    r#"{"content":"service unavailable"}"#,
    r#"{"content":{"message":"service unavailable"}}"#,
    r#"{"content":[{"error":"busy"}]}"#,
    r#"{"response":"busy"}"#,
    r#"{"output":"busy"}"#,
    r#"{"output":{}}"#,
    r#"{"output":{"message":{}}}"#,
    r#"{"output":{"message":"busy"}}"#,
    r#"{"output":{"error":{"message":"busy"}}}"#,
    r#"{"generated_text":"busy"}"#,
    r#"{"completion":"busy"}"#,
    r#"{"results":[]}"#,
    r#"{"code":500,"message":"x","results":[[]]}"#,
    r#"{"results":[{"status":503}]}"#,
    r#"{"predictions":[[]]}"#,
    r#"{"predictions":[{"status":503}]}"#,
    r#"{"embeddings":[]}"#,
    r#"{"embeddings":[[]]}"#,
    r#"{"embeddings":"busy"}"#,
    r#"{"embeddings":{"status":503}}"#,
    r#"{"embedding":[]}"#,
    r#"{"embedding":7}"#,
    r#"{"embedding":{"values":[]}}"#,
    r#"{"object":"list","data":{}}"#,
    r#"{"object":"list","data":[]}"#,
    r#"{"object":"list","data":[{}]}"#,
    r#"{"object":"list","data":[{"id":"gpt-4o","object":"model"}]}"#,
    r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[]}],"usage":{"prompt_tokens":3}}"#,
    r#"{"data":[{"embedding":null}]}"#,
    r#"{"data":[{"embedding":""}]}"#,
    r#"{"id":"job_1","status":"queued"}"#,
    r#"{"status":"queued","message":"model is loading"}"#,
    r#"{"status":"completed","object":"response","output":[]}"#,
    r#"{"finish_reason":"error"}"#,
    r#"{"done":true}"#,
    r#"{"usage":{"completion_tokens":7,"output_tokens":7}}"#,
    r#"{"choices":{}}"#,
    r#"{"choices":{"message":{"content":"busy"}}}"#,
    r#"{"choices":[null]}"#,
    r#"{"choices":[{}]}"#,
    r#"{"choices":[],"content":"busy"}"#,
    r#"{"choices":["busy"]}"#,
    r#"{"choices":[{"index":0,"message":null,"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":null},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":""}]}"#,
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"text","text":""}]}}]}"#,
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"abort"}]}"#,
    r#"{"choices":[{"index":0,"error":{"message":"x"}}]}"#,
    r#"{"choices":[{"index":0,"message":{"role":"assistant","error":"busy"}}]}"#,
    r#"{"type":"message","content":[],"stop_reason":null}"#,
    r#"{"type":"message","content":{},"stop_reason":""}"#,
    r#"{"type":"message","content":[{"type":"text","text":""}],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":0}}"#,
    r#"{"candidates":[]}"#,
    r#"{"candidates":[{}]}"#,
    r#"{"finish_reason":"ERROR","message":{"role":"assistant","content":[]}}"#,
    r#"{"object":"response","status":"cancelled","output":[]}"#,
    r#"{"object":"response","output":[{"type":"reasoning","id":"rs_1"}],"status":"cancelled","usage":{"output_tokens":7}}"#,
    r#"{"object":"response","output":[{"type":"reasoning","id":"rs_1"}],"status":"failed","error":{"code":"server_error"}}"#,
    r#"{"output":{"type":"error"}}"#,
    "[[]]",
    r#"[[""]]"#,
];

fn head(headers: &[(http::HeaderName, &'static str)]) -> Parts {
    let mut head = Response::new(()).into_parts().0;
    head.headers =
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
    head
}

fn expected(path: &str) -> ExpectedAnswer {
    let version = (path == MESSAGES).then_some((VERSION, "2023-06-01"));
    expected_with(path, &head(version.as_slice()).headers)
}

fn expected_with(path: &str, headers: &HeaderMap) -> ExpectedAnswer {
    let classifier = ProviderClassifier::default();
    let request = Some(&br#"{"model":"m","messages":[]}"#[..]);
    classifier.expected_answer(&path.parse().unwrap(), headers, request).unwrap()
}

/// The header that every request of Anthropic's dialect has.
const VERSION: http::HeaderName = http::HeaderName::from_static("anthropic-version");

#[test]
fn a_sentence_about_a_rate_limit_is_one_whatever_its_status_is() {
    for body in [
        "Rate limit reached, try again in 5s",
        r#""Rate limit reached, try again in 5s""#,
        r#"{"message":"Rate limit reached, try again in 5s"}"#,
    ] {
        let head = head(&[(CONTENT_TYPE, "text/plain")]);
        assert_ne!(probe(CHAT, body.as_bytes()), BodyProbe::Success, "{body}");
        let outcome = ProviderClassifier::default().classify(&head, body.as_bytes(), SystemTime::UNIX_EPOCH);
        let failure = outcome.failure().expect(body);
        let wait = Some(Duration::from_secs(5));
        assert_eq!((failure.code, failure.wait()), (ErrorCode::RateLimited, wait), "{body}");
    }
}

/// Regression: below any other path a web page or an empty body was a success.
#[test]
fn the_endpoint_of_messages_is_known_below_any_path_by_the_version_of_the_request() {
    let versioned = head(&[(VERSION, "2023-06-01")]).headers;
    let classifier = ProviderClassifier::default();
    let of = |path: &str, headers: &HeaderMap| {
        classifier.expected_answer(&path.parse().unwrap(), headers, Some(br#"{"model":"m"}"#))
    };
    for path in ["/messages", "/api/messages", "/v1beta/proxy/messages/", "/anthropic/v1/messages"] {
        assert_eq!(of(path, &versioned), of(MESSAGES, &versioned), "{path}");
    }
    for path in ["/v1/threads/t/messages", "/v1/messages/batches", "/api/messages/count_tokens"] {
        assert_eq!(of(path, &versioned), None, "{path}");
    }
    // Without the version any list of messages may be meant.
    for (path, is_known) in
        [("/v1/messages", true), ("/anthropic/messages", true), ("/rooms/7/messages", false)]
    {
        assert_eq!(of(path, &HeaderMap::new()).is_some(), is_known, "{path}");
    }
}

/// The address of its target is set behind the classification.
#[test]
fn a_translated_request_has_the_path_of_the_caller_and_the_headers_of_the_target() {
    let message = br#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    let chat =
        br#"{"object":"chat.completion","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let versioned = head(&[(VERSION, "2023-06-01")]).headers;
    for (path, headers, accepts_message, accepts_chat) in [
        (CHAT, &versioned, true, false),
        (CHAT, &HeaderMap::new(), false, true),
        (MESSAGES, &versioned, true, false),
        (MESSAGES, &HeaderMap::new(), true, true),
    ] {
        let expected = expected_with(path, headers);
        let is_answer = |body: &[u8]| {
            let head = head(&[(CONTENT_TYPE, "application/json")]);
            ProviderClassifier::default().probe_answer(&head, expected, body) == BodyProbe::Success
        };
        assert_eq!(
            (is_answer(message), is_answer(chat)),
            (accepts_message, accepts_chat),
            "{path} {headers:?}"
        );
    }
}

fn probe(path: &str, body: &[u8]) -> BodyProbe {
    let head = head(&[(CONTENT_TYPE, "application/json")]);
    ProviderClassifier::default().probe_answer(&head, expected(path), body)
}

fn is_answer(path: &str, body: &[u8]) -> bool {
    match probe(path, body) {
        BodyProbe::Success => true,
        BodyProbe::Unclear => ProviderClassifier::default().is_answer(expected(path), body),
        BodyProbe::Error | BodyProbe::Events => false,
    }
}

#[test]
fn an_answer_is_one_at_its_own_endpoint_only() {
    // Cohere's path is also that of servers with OpenAI's dialect; the two of OpenAI, and of embeddings, have
    // one form. Servers that know chat completions only answer with one to a request for a response.
    let is_shared = |one, other| {
        let is_either = |a, b| (one == a && other == b) || (one == b && other == a);
        one == other
            || is_either(CHAT, COMPLETIONS)
            || is_either(EMBEDDINGS, EMBED)
            || (matches!(one, CHAT | COMPLETIONS) && other == COHERE)
    };
    for &(own, body) in ANSWERS {
        for endpoint in ENDPOINTS {
            let is_dialect_of_other = own == COHERE && body.contains("choices") && endpoint != COHERE;
            let is_chat_for_a_response = matches!(own, CHAT | COMPLETIONS) && endpoint == RESPONSES;
            if is_dialect_of_other || is_chat_for_a_response {
                continue;
            }
            assert_eq!(is_answer(endpoint, body.as_bytes()), is_shared(own, endpoint), "{endpoint}: {body}");
        }
    }
}

#[test]
fn a_chat_completion_may_answer_a_request_for_a_response() {
    let body =
        br#"{"object":"chat.completion","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    assert!(is_answer(RESPONSES, body) && !is_answer(MESSAGES, body) && !is_answer(EMBEDDINGS, body));
}

#[test]
fn what_is_no_answer_is_a_failure_at_every_endpoint() {
    for endpoint in ENDPOINTS {
        for body in FAILURES {
            assert!(!is_answer(endpoint, body.as_bytes()), "{endpoint}: {body}");
            let padded = format!("\u{feff}\n {body} ");
            assert!(!is_answer(endpoint, padded.as_bytes()), "{endpoint}: {padded}");
        }
    }
}

#[test]
fn a_list_of_one_document_is_no_answer() {
    for (endpoint, body) in ANSWERS.iter().filter(|(_, body)| body.starts_with('{')) {
        let is_native = body.starts_with(r#"{"embedding""#);
        assert_eq!(is_answer(endpoint, format!("[{body}]").as_bytes()), is_native, "{endpoint}: [{body}]");
    }
}

#[test]
fn a_server_of_an_unknown_endpoint_may_answer_in_any_dialect() {
    for path in ["/completions", "/v1/models/m:rawPredict"] {
        for (_, body) in ANSWERS {
            assert!(is_answer(path, body.as_bytes()), "{path}: {body}");
        }
        for body in [r#"{"content":"Hi","stop":true}"#, r#"{"generated_text":"Hi"}"#, r#"{"response":"Hi"}"#]
        {
            assert!(is_answer(path, body.as_bytes()), "{path}: {body}");
        }
        for body in [
            "{}",
            "[]",
            r#"{"error":"busy"}"#,
            r#"{"message":"busy"}"#,
            r#"{"choices":[]}"#,
            r#"{"code":429,"message":"x","data":{}}"#,
            r#"{"data":{}}"#,
            r#"{"data":[{}]}"#,
        ] {
            assert!(!is_answer(path, body.as_bytes()), "{path}: {body}");
        }
    }
}

#[test]
fn every_prefix_is_unclear_or_has_the_result_of_the_whole() {
    for endpoint in ENDPOINTS {
        for body in ANSWERS.iter().map(|(_, body)| body).chain(FAILURES) {
            let whole = probe(endpoint, body.as_bytes());
            for cut in 0..body.len() {
                let result = probe(endpoint, &body.as_bytes()[..cut]);
                assert!(result == BodyProbe::Unclear || result == whole, "{endpoint}: {cut} of {body}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_result_of_a_prefix_holds_for_any_body(
        endpoint in prop::sample::select(ENDPOINTS.to_vec()),
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", " ", "null", "4", "4.5", "-1", "\"", "\\", "\"error\":", "\"choices\":",
            "\"finish_reason\":", "\"message\":", "\"content\":", "\"output\":", "\"text\":", "\"type\":", "\"status\":",
            "\"queued\"", "\"object\":", "\"response\"", "\"x\"", "\"\"", "\"data\":", "\"embedding\":", "\"values\":", "[{",
        ]), 0..24),
    ) {
        let body = tokens.concat();
        let whole = probe(endpoint, body.as_bytes());
        for cut in 0..body.len() {
            let result = probe(endpoint, &body.as_bytes()[..cut]);
            prop_assert!(result == BodyProbe::Unclear || result == whole, "{}: {} of {:?}", endpoint, cut, body);
        }
    }
}

#[test]
fn events_that_are_labelled_as_packed_lose_the_label() {
    let mut head = head(&[(CONTENT_TYPE, "text/event-stream"), (CONTENT_ENCODING, "aws-chunked")]);
    let scanner = ProviderClassifier::default().scan_answer(&mut head, expected(CHAT), b"data: {}\n\n");
    assert!(scanner.is_some() && !head.headers.contains_key(CONTENT_ENCODING));
    assert_eq!(head.headers[CONTENT_TYPE], "text/event-stream");
}

fn scan(path: &str, events: &[u8]) -> Box<dyn Scan> {
    let mut head = head(&[(CONTENT_TYPE, "text/event-stream")]);
    let mut scanner =
        ProviderClassifier::default().scan_answer(&mut head, expected(path), events).expect("a stream");
    scanner.push(events);
    scanner.finish();
    scanner
}

/// The state at the end of a stream at `path`: whether it has finished, and its failure.
fn scanned(path: &str, events: &[u8]) -> (bool, Option<(ErrorCode, FailureKind)>) {
    let scanner = scan(path, events);
    let state = scanner.state();
    (state.has_finished, state.failure.as_ref().map(|failure| (failure.code, failure.kind)))
}

#[test]
fn a_stream_is_an_answer_at_the_endpoint_of_its_dialect() {
    const STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";
    let endpoints = [CHAT, RESPONSES, MESSAGES, STREAM, COHERE];
    for (fixture, own) in [
        ("openai_plain", CHAT),
        ("azure_plain", CHAT),
        ("openai_responses_plain", RESPONSES),
        ("anthropic_plain", MESSAGES),
        ("deepseek_anthropic_plain", MESSAGES),
        ("gemini_plain", STREAM),
        ("cohere_plain", COHERE),
    ] {
        let path = format!("{}/fixtures/streams/{fixture}.sse", env!("CARGO_MANIFEST_DIR"));
        let events = std::fs::read(path).unwrap();
        for endpoint in endpoints {
            let is_accepted = own == endpoint || (own == CHAT && matches!(endpoint, COHERE | RESPONSES));
            let no_answer = (ErrorCode::ServerError, FailureKind::NoAnswer);
            let expected = (is_accepted, (!is_accepted).then_some(no_answer));
            assert_eq!(scanned(endpoint, &events), expected, "{fixture} at {endpoint}");
        }
    }
}

/// Regression: counts of tokens and the pages of a document were no answers, although the path is that of any
/// model.
#[test]
fn at_the_path_of_any_payload_only_a_request_with_a_prompt_expects_an_answer() {
    let of = |path: &str, body: Option<&str>| {
        let body = body.map(str::as_bytes);
        ProviderClassifier::default().expected_answer(&path.parse().unwrap(), &HeaderMap::new(), body)
    };
    const MODELS: &str = "/v1/projects/p/locations/l/publishers";
    for (model, body, is_expected) in [
        ("anthropic/models/claude-sonnet-4", r#"{"anthropic_version":"v","messages":[]}"#, true),
        ("mistralai/models/codestral-2501", r#"{"prompt":"fn ","suffix":"}"}"#, true),
        ("anthropic/models/count-tokens", r#"{"model":"claude-sonnet-4","messages":[]}"#, false),
        ("mistralai/models/mistral-ocr-2505", r#"{"model":"m","document":{"messages":[]}}"#, false),
        ("p/models/m", r#"{"instances":[{"prompt":"a"}]}"#, false),
        ("p/models/m", "", false),
    ] {
        let path = format!("{MODELS}/{model}:rawPredict");
        assert_eq!(of(&path, Some(body)).is_some(), is_expected, "{path}: {body}");
        assert_eq!(of(&path, None), None, "{path}");
        assert!(of(&format!("{MODELS}/{model}:streamRawPredict"), Some(body)).is_some(), "{path}: {body}");
    }
}

/// Regression: the same answer was a success as a document, and truncated as a stream.
#[test]
fn a_server_of_an_unknown_endpoint_may_stream_in_a_dialect_of_its_own() {
    // llama.cpp, text-generation-inference, and dialects in which no event is marked as the last one.
    let streams: &[(&[&str], bool)] = &[
        (
            &[
                r#"{"index":0,"content":"Hi","stop":false}"#,
                r#"{"index":0,"content":" there","stop":false}"#,
                r#"{"index":0,"content":"","stop":true,"stop_type":"eos","tokens_predicted":2}"#,
            ],
            true,
        ),
        (
            &[
                r#"{"index":1,"token":{"id":7,"text":"Hi","special":false},"generated_text":null}"#,
                r#"{"index":2,"token":{"id":8,"text":"!","special":false},"generated_text":"Hi!"}"#,
            ],
            true,
        ),
        (&[r#"{"response":"Hi","done":false}"#, r#"{"response":"","done":true}"#], true),
        (&[r#"{"text":"Hi"}"#, r#"{"text":"!"}"#, r#"{"timings":{"ms":7}}"#], false),
        (&[r#"{"completion":"Hi"}"#], false),
        (&[r#"{"code":0,"data":{"choices":[{"delta":{"content":"Hi"}}]}}"#], false),
        (
            &[
                r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#,
                r#"{"message":{"role":"assistant","content":""},"done":true}"#,
            ],
            true,
        ),
        (&[r#"{"message":{"role":"assistant","content":"","thinking":"hm"}}"#], false),
        (&[r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]}}"#], false),
        (&[r#"{"output":"Hi"}"#, "[DONE]"], false),
        (&[r#"{"code":0,"message":"","data":{"answer":"Hi"}}"#, r#"{"code":0,"data":true}"#], false),
        (&[r#"{"code":20000,"data":{"text":"Hi"}}"#], false),
        (&[r#"{"data":"Hi"}"#], false),
        (&[r#"{"data":{"delta":"Hi"}}"#], false),
        (&[r#"{"content":{"parts":["Hi"]}}"#], false),
        (&[r#"{"message":{"content":"","reasoning_content":"hm"}}"#], false),
    ];
    for path in ["/completions", "/v1/models/m:streamRawPredict"] {
        for &(events, is_marked) in streams {
            for count in 1..=events.len() {
                let data: String = events[..count].iter().map(|data| format!("data: {data}\n\n")).collect();
                let scanner = scan(path, data.as_bytes());
                let state = scanner.state();
                let is_complete = !is_marked || count == events.len();
                assert_eq!((state.has_started, state.has_finished), (true, is_complete), "{path}: {data}");
                assert!(state.failure.is_none(), "{path}: {data}");
            }
        }
        let others = [
            // A document with this status is a response that is generated later.
            r#"{"status":"queued"}"#,
            r#"{"id":"r","status":"in_progress"}"#,
            r#"{"message":{"role":"assistant","content":""}}"#,
            r#"{"message":{"role":"assistant"},"done":false}"#,
            r#"{"message":{"role":"assistant","content":"busy","code":503}}"#,
            r#"{"code":503,"content":"please wait"}"#,
            r#"{"content":"please wait","code":"1001"}"#,
            r#"{"code":-1,"data":{"text":"please wait"}}"#,
            r#"{"code":"overloaded","response":"please wait"}"#,
            r#"{"status":503,"output":"please wait"}"#,
            r#"{"status":"error","data":{}}"#,
            r#"{"code":429,"message":"x","data":{}}"#,
        ];
        // A text in one of these fields cannot be distinguished from an answer.
        let texts = ["content", "response", "output", "generated_text", "completion"];
        let has_text =
            |event: &&&str| texts.iter().any(|text| event.starts_with(&format!("{{\"{text}\":\"")));
        for event in FAILURES.iter().filter(|event| !has_text(event)).chain(&others) {
            let scanner = scan(path, format!("data: {event}\n\n").as_bytes());
            let state = scanner.state();
            assert_eq!((state.has_started, state.has_finished), (false, false), "{path}: {event}");
        }
    }
    for event in streams.iter().flat_map(|(events, _)| *events) {
        let scanner = scan(CHAT, format!("data: {event}\n\n").as_bytes());
        assert!(!scanner.state().has_started && !scanner.state().has_finished, "{event}");
    }
}

#[test]
fn an_error_in_an_event_is_classified_at_every_endpoint() {
    for endpoint in [CHAT, RESPONSES, MESSAGES, COHERE] {
        for (event, code) in [
            (r#"data: {"object":"error","message":"x","code":503}"#, ErrorCode::Overloaded),
            (r#"data: {"error":{"message":"x","code":"insufficient_quota"}}"#, ErrorCode::QuotaExhausted),
            (r#"data: {"error":"busy"}"#, ErrorCode::ServerError),
            (r#"data: {"errors":[{"message":"x"}]}"#, ErrorCode::ServerError),
            ("event: error\ndata: busy", ErrorCode::ServerError),
            ("error: busy", ErrorCode::ServerError),
        ] {
            let (has_finished, failure) =
                scanned(endpoint, format!("{event}\n\ndata: [DONE]\n\n").as_bytes());
            assert_eq!((has_finished, failure.map(|it| it.0)), (false, Some(code)), "{endpoint}: {event}");
        }
    }
}

/// The events of a stream at `path` before its first token, and one with a token.
const BEGINNINGS: [(&str, &str, &str); 4] = [
    (
        CHAT,
        r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"delta":{"content":"Hi"}}]}"#,
    ),
    (
        RESPONSES,
        r#"{"type":"response.created","response":{"status":"in_progress","output":[]}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
    ),
    (
        MESSAGES,
        r#"{"type":"message_start","message":{"content":[]}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#,
    ),
    (
        COHERE,
        r#"{"type":"message-start","delta":{"message":{"role":"assistant"}}}"#,
        r#"{"type":"content-delta","delta":{"message":{"content":{"text":"Hi"}}}}"#,
    ),
];

fn stream(events: &[&str]) -> String {
    events.iter().filter(|data| !data.is_empty()).map(|data| format!("data: {data}\n\n")).collect()
}

/// Regression: once the dialect was known, half a text with `[DONE]` behind an error in another form was a success.
#[test]
fn an_error_in_another_form_is_one_at_every_place_of_a_stream() {
    for (event, code) in [
        (r#"{"errors":[{"message":"x"}]}"#, ErrorCode::ServerError),
        (r#"{"type":"error","message":"x"}"#, ErrorCode::ServerError),
        (r#"{"error":"busy"}"#, ErrorCode::ServerError),
        (r#"{"code":429,"message":"Request rate too high"}"#, ErrorCode::RateLimited),
        (r#"{"code":"insufficient_quota","message":"x"}"#, ErrorCode::QuotaExhausted),
        (r#"{"code":401,"message":"x"}"#, ErrorCode::Authentication),
        ("Rate limit reached, try again in 5s", ErrorCode::RateLimited),
        (r#"{"base_resp":{"status_code":1002,"status_msg":"x"}}"#, ErrorCode::RateLimited),
    ] {
        for (path, start, token) in BEGINNINGS {
            for before in [["", ""], [start, ""], [start, token]] {
                for end in ["", "[DONE]"] {
                    let events = stream(&[before[0], before[1], event, end]);
                    let (has_finished, failure) = scanned(path, events.as_bytes());
                    assert_eq!(
                        (has_finished, failure.map(|it| it.0)),
                        (false, Some(code)),
                        "{path}: {events}"
                    );
                }
            }
        }
    }
}

/// MiniMax sends its status beside the fields of a chunk.
#[test]
fn the_status_of_minimax_is_read_in_every_chunk() {
    use FailureKind::{ContentFilter, Response};

    for (status_code, code, kind) in [
        (1002, ErrorCode::RateLimited, Response),
        (1008, ErrorCode::QuotaExhausted, Response),
        (1013, ErrorCode::ServerError, Response),
        (1027, ErrorCode::InvalidRequest, ContentFilter),
    ] {
        let chunk = format!(
            r#"{{"id":"","choices":[],"base_resp":{{"status_code":{status_code},"status_msg":"x"}}}}"#
        );
        let (_, start, token) = BEGINNINGS[0];
        for before in [["", ""], [start, ""], [start, token]] {
            let events = stream(&[before[0], before[1], &chunk, "[DONE]"]);
            assert_eq!(scanned(CHAT, events.as_bytes()), (false, Some((code, kind))), "{events}");
        }
    }
    let chunk = r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}],"base_resp":{"status_code":0,"status_msg":""}}"#;
    assert_eq!(scanned(CHAT, stream(&[chunk, "[DONE]"]).as_bytes()), (true, None));
}

/// Regression: FastChat ends a stream that has failed with `[DONE]`.
#[test]
fn a_stream_without_a_stop_reason_does_not_end_cleanly_after_what_reads_like_an_error() {
    let (_, start, token) = BEGINNINGS[0];
    let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    for (event, resembles_error) in [
        (r#"{"text":"**NETWORK ERROR DUE TO HIGH TRAFFIC**","error_code":50001}"#, true),
        (r#"{"code":"InvalidParameter","message":"Preprocessor error","request_id":"r"}"#, true),
        (r#"{"detail":"x"}"#, true),
        (r#"{"code":503,"message":"x"}"#, true),
        ("Internal Server Error", true),
        ("ping", false),
        ("{}", false),
        (r#"{"type":"ping"}"#, false),
        (r#"{"type":"metrics","ms":7}"#, false),
        (r#"{"code":0,"ms":7}"#, false),
        (r#"{"text":"x","error_code":336501}"#, true),
        (r#"{"tool":"http_get","code":429}"#, true),
        (r#"{"type":"tool.completed","details":{"reason":"unauthorized"}}"#, false),
        (r#"{"code":0,"message":"success"}"#, false),
        (r#"{"code":"0","message":"success"}"#, false),
        (r#"{"code":200,"msg":"ok"}"#, false),
        (r#"{"error":{}}"#, false),
        (r#"{"type":"summary","errors":{}}"#, false),
        (r#"{"error":{"code":0,"message":""}}"#, false),
    ] {
        let of = |events: &[&str]| {
            let (has_finished, failure) = scanned(CHAT, stream(events).as_bytes());
            (has_finished, failure.map(|it| it.0))
        };
        let failed = (false, Some(ErrorCode::ServerError));
        assert_eq!(
            of(&[start, token, event, "[DONE]"]),
            if resembles_error { failed } else { (true, None) },
            "{event}"
        );
        assert_eq!(of(&[start, event, "[DONE]"]), failed, "{event}");
        assert_eq!(of(&[start, token, event]), (false, None), "{event}");
        // The model went on, or had ended.
        assert_eq!(of(&[start, event, token, "[DONE]"]), (true, None), "{event}");
        assert_eq!(of(&[start, token, event, stop, "[DONE]"]), (true, None), "{event}");
        assert_eq!(of(&[start, token, stop, event, "[DONE]"]), (true, None), "{event}");
    }
}

/// Regression: an invalid request was counted against the provider.
#[test]
fn a_status_in_the_frame_of_an_error_is_that_of_the_error() {
    const ERROR: &str = r#"{"code":"CODE","message":"Preprocessor error","request_id":"r"}"#;
    let (_, start, token) = BEGINNINGS[0];
    for (comment, error_code, code) in [
        (":HTTP_STATUS/400\n", "InvalidParameter", ErrorCode::InvalidRequest),
        (": HTTP_STATUS/400\n", "InvalidParameter", ErrorCode::InvalidRequest),
        (":HTTP_STATUS/403\n", "AccessDenied", ErrorCode::PermissionDenied),
        (":HTTP_STATUS/404\n", "ModelNotFound", ErrorCode::NotFound),
        (":HTTP_STATUS/429\n", "Throttling.New", ErrorCode::RateLimited),
        (":HTTP_STATUS/500\n", "InternalError", ErrorCode::ServerError),
        (":HTTP_STATUS/400\n", "Arrearage", ErrorCode::QuotaExhausted),
        (":HTTP_STATUS/200\n", "InvalidParameter", ErrorCode::ServerError),
        (":HTTP_STATUS/70000\n", "InvalidParameter", ErrorCode::ServerError),
        ("", "InvalidParameter", ErrorCode::ServerError),
    ] {
        let data = ERROR.replace("CODE", error_code);
        for before in [String::new(), stream(&[start]), stream(&[start, token])] {
            for event in [
                format!("id:1\nevent:error\n{comment}data:{data}\n\n"),
                format!("{comment}event: error\ndata: {data}\n\n"),
            ] {
                let events = format!("{before}{event}");
                let failure = scanned(CHAT, events.as_bytes()).1;
                assert_eq!(failure.map(|it| it.0), Some(code), "{events}");
            }
        }
    }
    // That of another event.
    let other = format!(":HTTP_STATUS/400\n\nevent: error\ndata: {ERROR}\n\n");
    assert_eq!(scanned(CHAT, other.as_bytes()).1.map(|it| it.0), Some(ErrorCode::ServerError));
}

/// Regression: such a limit was tried again at once.
#[test]
fn a_point_in_time_in_an_event_is_compared_with_the_date_of_the_response() {
    let date = [(http::header::DATE, "Thu, 05 Nov 2026 12:00:00 GMT")];
    let (_, start, token) = BEGINNINGS[0];
    for error in [
        r#"{"error":{"message":"x","code":429,"metadata":{"headers":{"X-RateLimit-Reset":"1793880042000"}}}}"#,
        r#"{"error":{"message":"x","code":"rate_limit_exceeded","resets_at":1793880042}}"#,
        r#"{"error":{"message":"Rate limit reached, try again at 2026-11-05T12:00:42Z"}}"#,
    ] {
        for before in [stream(&[]), stream(&[start]), stream(&[start, token])] {
            for (headers, secs) in [(&date[..], 30..=42), (&date[..0], 0..=0)] {
                let events = format!("{before}data: {error}\n\n");
                let head = || head(headers);
                let answer =
                    ProviderClassifier::default().scan_answer(&mut head(), expected(CHAT), events.as_bytes());
                let mut of_any = head();
                of_any.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                for mut scanner in [answer, ProviderClassifier::default().scan(&of_any)].into_iter().flatten()
                {
                    scanner.push(events.as_bytes());
                    let failure = scanner.state().failure.as_ref().expect(&events);
                    let wait = failure.wait().unwrap_or_default();
                    assert!(secs.contains(&wait.as_secs()), "{wait:?} {events}");
                }
            }
        }
    }
}

#[test]
fn a_compressed_body_counts_only_where_the_request_accepts_one() {
    const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00";
    let plain = br#"{"choices":[{"message":{"content":"Hi"}}]}"#;
    let classifier = ProviderClassifier::default();
    let probe = |accepted: Option<&'static str>, coding: &'static str, body: &[u8]| {
        let headers = accepted.map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)));
        let request = Some(&b"{\"model\":\"m\"}"[..]);
        let expected = classifier
            .expected_answer(&CHAT.parse().unwrap(), &headers.into_iter().collect(), request)
            .unwrap();
        classifier.probe_answer(&head(&[(CONTENT_ENCODING, coding)]), expected, body)
    };
    for coding in ["gzip", "GZIP", "x-gzip", "deflate", "gzip, gzip", "snappy"] {
        for accepted in [None, Some("identity"), Some(""), Some("gzip;q=0"), Some("gzip;q=0.0, identity;q=1")]
        {
            assert_eq!(probe(accepted, coding, b""), BodyProbe::Unclear, "{coding} {accepted:?}");
            assert_eq!(probe(accepted, coding, PACKED), BodyProbe::Error, "{coding} {accepted:?}");
            // The label is wrong.
            assert_eq!(probe(accepted, coding, plain), BodyProbe::Success, "{coding} {accepted:?}");
            assert_eq!(
                probe(accepted, coding, br#"{"error":"busy"}"#),
                BodyProbe::Error,
                "{coding} {accepted:?}"
            );
            assert_eq!(probe(accepted, coding, b"data: x\n\n"), BodyProbe::Events, "{coding} {accepted:?}");
        }
        for accepted in ["gzip", "br;q=0.5, gzip;q=1.0", "*", "identity;q=0.5, zstd"] {
            assert_eq!(probe(Some(accepted), coding, b""), BodyProbe::Success, "{coding} {accepted}");
            assert_eq!(probe(Some(accepted), coding, PACKED), BodyProbe::Success, "{coding} {accepted}");
        }
    }
}

/// The failure of a document at `path`, as the wire classifies it.
fn failure_of_document(path: &str, body: &[u8]) -> Option<(ErrorCode, FailureKind)> {
    let head = head(&[(CONTENT_TYPE, "application/json")]);
    let classify = || ProviderClassifier::default().classify(&head, body, SystemTime::UNIX_EPOCH);
    (!is_answer(path, body)).then(|| {
        classify().failure().map_or((ErrorCode::ServerError, FailureKind::NoAnswer), |it| (it.code, it.kind))
    })
}

/// Regression: a limit of the account was counted against the health of the provider.
#[test]
fn a_limit_and_a_refused_key_are_known_by_their_code_in_a_body_that_has_not_the_shape_of_an_error() {
    let no_answer = ErrorCode::ServerError;
    for (body, code) in [
        (r#"{"errors":[{"code":"rate_limit_exceeded","message":"x"}]}"#, ErrorCode::RateLimited),
        (r#"{"code":429,"message":"Request rate too high"}"#, ErrorCode::RateLimited),
        (r#"{"code":"429","msg":"busy"}"#, ErrorCode::RateLimited),
        (r#"{"error_code":"too_many_requests"}"#, ErrorCode::RateLimited),
        (r#"{"code":"insufficient_quota","message":"x"}"#, ErrorCode::QuotaExhausted),
        (r#"{"code":402,"message":"x"}"#, ErrorCode::QuotaExhausted),
        (r#"[{"code":"billing_not_active"}]"#, ErrorCode::QuotaExhausted),
        (r#"{"code":401,"message":"x"}"#, ErrorCode::Authentication),
        (r#"{"type":"authentication_error","detail":"x"}"#, ErrorCode::Authentication),
        // MiniMax's.
        (
            r#"{"id":"x","choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit exceeded(RPM)"}}"#,
            ErrorCode::RateLimited,
        ),
        (r#"{"base_resp":{"status_code":1039,"status_msg":"x"}}"#, ErrorCode::RateLimited),
        (
            r#"{"base_resp":{"status_msg":"insufficient balance","status_code":1008}}"#,
            ErrorCode::QuotaExhausted,
        ),
        (r#"{"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#, ErrorCode::Authentication),
        (r#"{"base_resp":{"status_code":2049,"status_msg":"invalid api key"}}"#, ErrorCode::Authentication),
        (r#"{"base_resp":{"status_code":1013,"status_msg":"internal error"}}"#, no_answer),
        (r#"{"base_resp":{"status_code":0,"status_msg":""}}"#, no_answer),
        (r#"{"status_code":1008,"base":{"status_code":1002}}"#, no_answer),
        // Another provider may answer the same request.
        (r#"{"code":400,"message":"x"}"#, no_answer),
        (r#"{"code":"context_length_exceeded"}"#, no_answer),
        (r#"{"code":404,"message":"x"}"#, no_answer),
        (r#"{"code":503,"message":"x"}"#, no_answer),
        (r#"{"code":1001,"message":"x"}"#, no_answer),
        (r#"{"code":"new"}"#, no_answer),
        // Words that are codes of a limit in an error only.
        (r#"{"type":"tokens","prompt":5,"completion":9}"#, no_answer),
        (r#"{"type":"requests","count":1}"#, no_answer),
        (r#"{"message":"the code is rate_limit_exceeded"}"#, no_answer),
        (r#"{"id":429}"#, no_answer),
    ] {
        for endpoint in ENDPOINTS {
            let failure = failure_of_document(endpoint, body.as_bytes());
            assert_eq!(failure.map(|it| it.0), Some(code), "{endpoint}: {body}");
        }
        for endpoint in [CHAT, RESPONSES, MESSAGES, COHERE] {
            let (has_finished, failure) = scanned(endpoint, format!("data: {body}\n\n").as_bytes());
            let code = (code != no_answer).then_some(code);
            assert_eq!((has_finished, failure.map(|it| it.0)), (false, code), "{endpoint}: {body}");
        }
    }
}

/// Regression: a prompt that MiniMax's filter refused was repeated, and counted against the provider.
#[test]
fn the_codes_of_minimax_are_known_in_a_body_that_has_not_the_shape_of_an_error() {
    use FailureKind::{ContentFilter, ContextLength, NoAnswer, Response};

    for (status_code, message, code, kind) in [
        (1001, "request timeout", ErrorCode::Timeout, Response),
        (1013, "internal error", ErrorCode::ServerError, NoAnswer),
        (1026, "input new_sensitive", ErrorCode::InvalidRequest, ContentFilter),
        (1027, "output new_sensitive", ErrorCode::InvalidRequest, ContentFilter),
        (1041, "conn limit", ErrorCode::RateLimited, Response),
        (1042, "invisible character ratio limit", ErrorCode::InvalidRequest, Response),
        (2013, "invalid params", ErrorCode::InvalidRequest, Response),
        (2013, "invalid params, context window exceeds limit", ErrorCode::RequestTooLarge, ContextLength),
        (2045, "rate growth limit", ErrorCode::RateLimited, Response),
        (2056, "usage limit exceeded", ErrorCode::QuotaExhausted, Response),
    ] {
        let body = format!(r#"{{"base_resp":{{"status_code":{status_code},"status_msg":"{message}"}}}}"#);
        for endpoint in ENDPOINTS {
            let failure = failure_of_document(endpoint, body.as_bytes());
            assert_eq!(failure, Some((code, kind)), "{endpoint}: {body}");
        }
        for endpoint in [CHAT, RESPONSES, MESSAGES, COHERE] {
            let (has_finished, failure) = scanned(endpoint, format!("data: {body}\n\n").as_bytes());
            let expected = (kind != NoAnswer).then_some((code, kind));
            assert_eq!((has_finished, failure), (false, expected), "{endpoint}: {body}");
        }
    }
}

/// An answer and a resource may have any field.
#[test]
fn a_code_beside_content_is_no_failure() {
    let with_code = |body: &str| body.replacen('{', r#"{"code":"insufficient_quota","#, 1);
    for (endpoint, body) in ANSWERS.iter().filter(|(_, body)| body.starts_with('{')) {
        let body = with_code(body);
        assert!(is_answer(endpoint, body.as_bytes()), "{endpoint}: {body}");
    }
    for body in [r#"{"data":{"id":7}}"#, r#"{"object":"job"}"#] {
        assert_eq!(failure_of_resource(&with_code(body)), None, "{body}");
    }
}

/// Regression: beside the data of an envelope an error had the class of any other response without an answer,
/// so that a limit opened the circuit.
#[test]
fn the_fields_of_an_envelope_do_not_hide_the_failure_beside_them() {
    for (error, code) in [
        (r#""code":429,"message":"Request rate too high""#, ErrorCode::RateLimited),
        (r#""code":"402","msg":"x""#, ErrorCode::QuotaExhausted),
        (r#""code":401,"message":"x""#, ErrorCode::Authentication),
        (r#""message":{"text":"x","code":429}"#, ErrorCode::RateLimited),
        (r#""message":"Rate limit reached, try again in 5s""#, ErrorCode::RateLimited),
        (r#""error":{"code":"rate_limit_exceeded","message":"x"}"#, ErrorCode::RateLimited),
        (r#""error":{"code":"context_length_exceeded"}"#, ErrorCode::RequestTooLarge),
        (r#""jsonrpc":"2.0","error":{"code":429}"#, ErrorCode::RateLimited),
        (r#""code":503,"message":"x""#, ErrorCode::ServerError),
    ] {
        for field in [
            r#""data":{}"#,
            r#""data":{"reason":"x"}"#,
            r#""data":[{"id":"x"}]"#,
            r#""data":"x""#,
            r#""data":null"#,
            r#""status":"queued""#,
            r#""object":"list""#,
            r#""results":[]"#,
        ] {
            for body in [format!("{{{error},{field}}}"), format!("{{{field},{error}}}")] {
                for endpoint in ENDPOINTS {
                    let failure = failure_of_document(endpoint, body.as_bytes());
                    assert_eq!(failure.map(|it| it.0), Some(code), "{endpoint}: {body}");
                }
                for endpoint in [CHAT, RESPONSES, MESSAGES, COHERE, "/completions"] {
                    let scanner = scan(endpoint, format!("data: {body}\n\n").as_bytes());
                    let (state, is_known) = (scanner.state(), code != ErrorCode::ServerError);
                    let failure = state.failure.as_ref().map(|failure| failure.code);
                    assert_eq!(failure, is_known.then_some(code), "{endpoint}: {body}");
                    assert!(!state.has_started && !state.has_finished, "{endpoint}: {body}");
                }
            }
        }
    }
}

#[test]
fn a_response_that_failed_is_a_failure_in_every_form_and_at_every_place_of_its_status() {
    const DELTA: &str = r#"{"type":"response.output_text.delta","delta":"a"}"#;
    for error in [r#""error":{"code":"server_error","message":"x"}"#, r#""error":null"#] {
        for status in [r#""status":"failed""#, r#""status":"cancelled""#] {
            for item in ["", r#"{"id":"rs_1","type":"reasoning","summary":[],"status":"completed"}"#] {
                let output = format!(r#""output":[{item}]"#);
                let fields = [r#""object":"response""#, status, error, &output];
                for order in [[0, 1, 2, 3], [3, 2, 1, 0], [3, 1, 0, 2]] {
                    let document = format!("{{{}}}", order.map(|at| fields[at]).join(","));
                    let code = failure_of_document(RESPONSES, document.as_bytes()).map(|it| it.0);
                    assert_eq!(code, Some(ErrorCode::ServerError), "{document}");
                    for (before, kind) in
                        [("", "completed"), (DELTA, "completed"), ("", "done"), (DELTA, "done")]
                    {
                        let end = format!(r#"{{"type":"response.{kind}","response":{document}}}"#);
                        let stream = format!("data: {before}\n\ndata: {end}\n\n");
                        let (has_finished, failure) = scanned(RESPONSES, stream.as_bytes());
                        let code = failure.map(|it| it.0);
                        assert_eq!((has_finished, code), (false, Some(ErrorCode::ServerError)), "{stream}");
                    }
                }
            }
        }
    }
}

/// Where a request cancels a response, the response to it has that status.
#[test]
fn a_cancelled_resource_is_no_error() {
    let body = br#"{"object":"response","status":"cancelled","error":null,"output":[]}"#;
    let head = head(&[(CONTENT_TYPE, "application/json")]);
    assert_ne!(ProviderClassifier::default().probe_body(&head, body), BodyProbe::Error);
}

#[test]
fn a_response_that_is_incomplete_has_the_stop_reason_of_its_details() {
    for (details, stop) in [
        (r#"{"reason":"max_output_tokens"}"#, StopReason::Length),
        (r#"{"reason":"content_filter"}"#, StopReason::ContentFilter),
        ("null", StopReason::Other),
    ] {
        for kind in ["response.completed", "response.incomplete", "response.done"] {
            let data = format!(
                "data: {{\"type\":\"{kind}\",\"response\":{{\"status\":\"incomplete\",\"incomplete_details\":{details}}}}}\n\n"
            );
            // Regression: a second end had another reason, so that a filter was no failure.
            for end in ["", r#"{"type":"response.done"}"#, r#"{"type":"response.completed","response":{}}"#] {
                let data = format!("{data}data: {end}\n\n");
                let scanner = scan(RESPONSES, data.as_bytes());
                let state = scanner.state();
                assert_eq!((state.stop, state.has_finished), (Some(stop), true), "{data}");
            }
        }
    }
}

/// The answers that a content filter stopped: without content, and with the content that came before. In the
/// second column are the documents, in the third the events of a stream.
#[rustfmt::skip]
const FILTERED: &[(&str, &[&str], &[&str], bool)] = &[
    (CHAT, &[
        r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#,
        r#"{"choices":[{"finish_reason":"content_filter","index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[]}}]}"#,
    ], &[r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#], false),
    (CHAT, &[
        r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"content_filter"}]}"#,
        r#"{"choices":[{"finish_reason":"content_filter","message":{"content":"Hi"}}]}"#,
        r#"{"choices":[{"finish_reason":"content_filter","message":{"content":null,"tool_calls":[{"function":{"name":"f"}}]}}]}"#,
    ], &[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#], true),
    (COMPLETIONS, &[r#"{"choices":[{"text":"","finish_reason":"content_filter"}]}"#], &[r#"{"choices":[{"text":"","finish_reason":"content_filter"}]}"#], false),
    (RESPONSES, &[
        r#"{"object":"response","status":"incomplete","error":null,"incomplete_details":{"reason":"content_filter"},"output":[]}"#,
        r#"{"object":"response","output":[{"id":"i","type":"message","role":"assistant","content":[]}],"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#,
    ], &[r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}}"#], false),
    (RESPONSES, &[r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}"#],
        &[r#"{"type":"response.output_text.delta","delta":"Hi"}"#, r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}}"#], true),
    (MESSAGES, &[
        r#"{"id":"m","type":"message","role":"assistant","content":[],"stop_reason":"refusal","usage":{"input_tokens":3,"output_tokens":1}}"#,
        r#"{"type":"message","stop_reason":"refusal","content":[{"type":"text","text":""}]}"#,
    ], &[r#"{"type":"message_start","message":{"content":[]}}"#, r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#, r#"{"type":"message_stop"}"#], false),
    (MESSAGES, &[r#"{"type":"message","stop_reason":"refusal","content":[{"type":"text","text":"Hi"}]}"#],
        &[r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#, r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#, r#"{"type":"message_stop"}"#], true),
    (GEMINI, &[r#"{"candidates":[{"finishReason":"SAFETY","index":0,"safetyRatings":[{"category":"C","probability":"HIGH"}]}]}"#, r#"{"candidates":[{"content":{"role":"model"},"finishReason":"SAFETY"}],"usageMetadata":{"thoughtsTokenCount":3}}"#],
        &[r#"{"candidates":[{"finishReason":"SAFETY"}]}"#], false),
    (GEMINI, &[r#"{"candidates":[{"finishReason":"IMAGE_PROHIBITED_CONTENT"}]}"#], &[r#"{"candidates":[{"finishReason":"IMAGE_PROHIBITED_CONTENT"}]}"#], false),
    (GEMINI, &[r#"{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}"#], &[r#"{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}"#], false),
    (GEMINI, &[r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#], &[r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#], false),
    (GEMINI, &[r#"{"candidates":[{"finishReason":"SAFETY","content":{"parts":[{"text":"Hi"}]}}]}"#], &[r#"{"candidates":[{"finishReason":"SAFETY","content":{"parts":[{"text":"Hi"}]}}]}"#], true),
    (COHERE, &[r#"{"id":"k","finish_reason":"ERROR_TOXIC","message":{"role":"assistant","content":[]}}"#], &[r#"{"type":"message-end","delta":{"finish_reason":"ERROR_TOXIC"}}"#], false),
    (COHERE, &[r#"{"id":"k","finish_reason":"ERROR_TOXIC","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]}}"#],
        &[r#"{"type":"content-delta","delta":{"message":{"content":{"text":"Hi"}}}}"#, r#"{"type":"message-end","delta":{"finish_reason":"ERROR_TOXIC"}}"#], true),
];

/// The failure in a complete document from a path at which no model is known to answer, as the wire judges
/// it.
fn failure_of_resource(document: &str) -> Option<(ErrorCode, FailureKind)> {
    let (classifier, head) = (ProviderClassifier::default(), head(&[(CONTENT_TYPE, "application/json")]));
    let is_failure = match classifier.probe_body(&head, document.as_bytes()) {
        BodyProbe::Unclear => classifier.is_filtered(document.as_bytes()),
        probe => probe == BodyProbe::Error,
    };
    let outcome = classifier.classify(&head, document.as_bytes(), SystemTime::UNIX_EPOCH);
    is_failure.then(|| outcome.failure().map(|failure| (failure.code, failure.kind)))?
}

#[test]
fn what_only_resembles_a_filtered_answer_is_none_at_an_unknown_path() {
    let text = r#"{"type":"message","content":[{"type":"text","text":"\"stop_reason\":\"refusal\""}],"stop_reason":"end_turn"}"#;
    // Servers with a dialect of their own, and resources.
    let others = [
        r#"{"generation":"Hi","stop_reason":"refusal"}"#,
        r#"{"outputs":[{"text":"Hi"}],"finish_reason":"ERROR_TOXIC"}"#,
        r#"{"stop_reason":"refusal"}"#,
        r#"{"reason":"content_filter","status":"incomplete"}"#,
        r#"{"object":"list","data":[{"finish_reason":"content_filter"}],"finish_reason":"ERROR_TOXIC"}"#,
        r#"{"object":"fine_tuning.job","choices":[{"finish_reason":"content_filter"}]}"#,
    ];
    for document in ANSWERS.iter().map(|(_, document)| document).chain([&text]).chain(&others) {
        assert_eq!(failure_of_resource(document), None, "{document}");
    }
    for document in FILTERED.iter().flat_map(|(_, documents, ..)| *documents) {
        for cut in 0..document.len() {
            assert_eq!(failure_of_resource(&document[..cut]), None, "{cut} of {document}");
        }
    }
}

#[test]
fn a_content_filter_has_the_same_outcome_in_a_document_and_in_a_stream() {
    let filter = Some((ErrorCode::InvalidRequest, FailureKind::ContentFilter));
    for (path, documents, events, has_content) in FILTERED {
        for document in *documents {
            let expected = if *has_content { None } else { filter };
            assert_eq!(failure_of_document(path, document.as_bytes()), expected, "{document}");
            assert_eq!(failure_of_resource(document), expected, "{document}");
            for cut in 0..document.len() {
                let result = probe(path, &document.as_bytes()[..cut]);
                assert!(result == BodyProbe::Unclear || *has_content, "{cut} of {document}");
            }
        }
        let stream: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        let path = path.replace(":generateContent", ":streamGenerateContent?alt=sse");
        let scanner = scan(&path, stream.as_bytes());
        let state = scanner.state();
        assert_eq!(
            (state.has_started, state.stop),
            (*has_content, Some(StopReason::ContentFilter)),
            "{stream}"
        );
    }
    // Amazon's events are binary: their fixture is read elsewhere.
    for reason in ["guardrail_intervened", "content_filtered"] {
        for (content, expected) in [("", filter), (r#"{"text":"Hi"}"#, None)] {
            let output = format!(r#""output":{{"message":{{"role":"assistant","content":[{content}]}}}}"#);
            let stop = format!(r#""stopReason":"{reason}""#);
            for document in [format!("{{{output},{stop}}}"), format!("{{{stop},{output}}}")] {
                assert_eq!(failure_of_document(CONVERSE, document.as_bytes()), expected, "{document}");
                assert_eq!(failure_of_resource(&document), expected, "{document}");
            }
        }
    }
}
