use proptest::prelude::*;
use tidegate_core::BodyProbe;

use super::*;

const ERRORS: &[&str] = &[
    r#"{"error":{"code":429,"message":"slow down"}}"#,
    " \n\n {\"error\" : {\"message\":\"x\"} }",
    r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
    r#"{"id":"gen-1","error":{"code":502},"choices":[]}"#,
    r#"{"error":"model is loading"}"#,
    r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
    r#"{"message":"too many","object":"error"}"#,
    r#"{"id":"resp_1","object":"response","error":{"code":"server_error"},"output":[]}"#,
    r#"{"id":"resp_1","object":"response","status":"failed","error":null}"#,
    r#"{"object":"response","output":[{"id":"rs_1","type":"reasoning","status":null,"summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"x"}],"status":"failed"}"#,
    r#"{"object":"response","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":""}]}],"error":{"code":"server_error"}}"#,
    r#"{"object":"chat.completion","choices":[{"finish_reason":"error","error":{"code":502}}]}"#,
    r#"{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"error"}]}"#,
    r#"{"choices":[{"message":{"content":null},"finish_reason":"insufficient_system_resource"}]}"#,
    r#"{"choices":[{"finish_reason":"abort","message":{"content":"x"}}]}"#,
    r#"{"choices":[{"index":0,"finish_reason":"network_error","message":{"role":"assistant","content":""}}]}"#,
    r#"{"choices":[{"index":0,"finish_reason":"network_error","message":{"role":"assistant","content":"x"}}]}"#,
    r#"{"choices":[{"message":{"role":"assistant"},"finish_reason":"function_call_filter: MALFORMED_FUNCTION_CALL"}]}"#,
    r#"{"choices":[{"message":{"role":"assistant"},"finish_reason":"malformed_function_call"}]}"#,
    r#"{"candidates":[{"content":{"role":"model"},"finishReason":"MALFORMED_FUNCTION_CALL","index":0}]}"#,
    r#"{"candidates":[{"content":{},"finishReason":"UNEXPECTED_TOOL_CALL"}],"usageMetadata":{"totalTokenCount":9}}"#,
    r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"malformed_model_output"}"#,
    r#"{"choices":[{"index":0,"error":{"message":"upstream"},"message":{"content":"so far"}}]}"#,
];

const SUCCESSES: &[&str] = &[
    r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}],"error":{"code":1}}"#,
    r#"{"error":null,"choices":[{"message":{"content":"\"error\":1"}}]}"#,
    r#"{"choices":[{"finish_reason":"content_filter","message":{"content":"a"}}]}"#,
    r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a"}]}}]}"#,
    r#"{"id":"resp_1","object":"response","status":"completed","error":null,"output":[{"name":"f"}]}"#,
    r#"{"id":"resp_1","object":"response","status":"queued","error":null,"output":[]}"#,
    r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#,
    r#"{"type":"message","role":"assistant","content":[],"stop_reason":"end_turn"}"#,
    r#"{"id":"m","content":[{"type":"text","text":"error"}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
    r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
    r#"{"message":{"role":"assistant","content":""},"done":true}"#,
    r#"{"object":"list","data":[{"embedding":[0.1]}]}"#,
    r#"{"data":[{"embedding":[0.1]}],"error":{"a":"b"}}"#,
    r#"{"embeddings":[[0.1,0.2]],"error":{"a":"b"}}"#,
    // The job failed, but the request for its status succeeded.
    r#"{"object":"fine_tuning.job","status":"failed","error":{"code":"invalid"}}"#,
    // The method failed, which the caller has named.
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}]"#,
    "[[0.1,0.2]]",
    "[0.1]",
    r#""error""#,
    "error",
    "7",
];

#[test]
fn every_field_of_vectors_has_an_answer() {
    let names = "embedding embeddings values float int8 uint8 binary ubinary base64 dense";
    for name in names.split(' ') {
        for body in
            [format!(r#"{{"embeddings":{{"{name}":[[1]]}}}}"#), format!(r#"{{"data":[{{"{name}":[1]}}]}}"#)]
        {
            let result = read(body.as_bytes(), Expected::Answer(Endpoint::Embeddings));
            assert_eq!(result, ProbeResult::Success, "{body}");
        }
    }
    assert_eq!(VECTORS.join(" "), names);
}

/// Undecided to the end of the body.
const UNDECIDED: &[&str] = &[
    r#"{"output":{"message":{"role":"assistant"}}}"#,
    r#"{"id":"resp_1","object":"response","status":"completed","error":null,"output":[]}"#,
    r#"{"type":"message","role":"assistant","content":[]}"#,
    r#"{"embeddings":[]}"#,
    "",
    " \n",
    "{}",
    "[]",
    r#"{"error":null}"#,
    r#"{"error":{}}"#,
    r#"{"error":{"code":null,"message":"","param":0}}"#,
    r#"{"error":""}"#,
    r#"{"errors":["x"]}"#,
    r#"{"object":"chat.completion","choices":[]}"#,
    r#"{"status":"fail"}"#,
    r#"{"usage":{"error":{"code":1}},"x":{"status":"failed"}}"#,
    r#"{"prompt_filter_results":[{"error":{"code":"content_filter_error"}}]}"#,
    r#"{"choices":[{"content_filter_result":{"error":{"code":"content_filter_error"}}}]}"#,
    r#"{"message":"hello"}"#,
];

fn probe(json: &[u8]) -> BodyProbe {
    read(json, Expected::Resource).into()
}

fn probe_answer(json: &str) -> BodyProbe {
    read(json.as_bytes(), Expected::Answer(Endpoint::Unknown)).into()
}

fn all() -> impl Iterator<Item = (&'static str, BodyProbe)> {
    let of = |bodies: &'static [&'static str], probe| bodies.iter().map(move |body| (*body, probe));
    of(ERRORS, BodyProbe::Error)
        .chain(of(SUCCESSES, BodyProbe::Success))
        .chain(of(UNDECIDED, BodyProbe::Unclear))
}

#[test]
fn errors_are_distinguished_from_successful_responses() {
    for (body, expected) in all() {
        assert_eq!(probe(body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn only_an_answer_is_a_success_where_one_is_expected() {
    let others = [
        r#"{"object":"list","data":[]}"#,
        r#"{"object":"fine_tuning.job","status":"running","error":null}"#,
        r#"["busy"]"#,
        "[1]",
    ];
    for body in others {
        assert_eq!(probe_answer(body), BodyProbe::Unclear, "{body}");
    }
    for body in ERRORS {
        assert_eq!(probe_answer(body), BodyProbe::Error, "{body}");
    }
    for body in others.iter().chain(UNDECIDED) {
        let has_item = [r#""choices":[{"#, r#""output":{"#].iter().any(|item| body.contains(item));
        assert_eq!(is_answer(body.as_bytes(), Endpoint::Unknown), has_item, "{body}");
    }
    for body in SUCCESSES.iter().filter(|body| probe_answer(body) == BodyProbe::Success) {
        for cut in 0..body.len() {
            let result = probe_answer(&body[..cut]);
            assert!(result == BodyProbe::Unclear || result == BodyProbe::Success, "{cut} of {body}");
        }
    }
}

/// The order of the fields means nothing. Regression: half an answer was a success.
#[test]
fn an_error_behind_the_content_of_an_answer_is_found() {
    let chat = |rest: &str| format!(r#"{{"choices":[{{"message":{{"content":"part"}}{rest}"#);
    let gemini = |reason: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"part"}}]}},"finishReason":"{reason}"}}]}}"#
        )
    };
    let converse = |reason: &str| {
        format!(r#"{{"output":{{"message":{{"content":[{{"text":"part"}}]}}}},"stopReason":"{reason}"}}"#)
    };
    for (endpoint, body) in [
        (Endpoint::Chat, chat(r#","finish_reason":"error"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason" : "abort"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"insufficient_system_resource"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"network_error"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"network-error"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"malformed_function_call"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"function_call_filter: MALFORMED_FUNCTION_CALL"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":"function_call_filter: UNEXPECTED_TOOL_CALL"}]}"#)),
        (Endpoint::Chat, chat(r#","finish_reason":null,"error":{"code":502}}]}"#)),
        (Endpoint::Chat, chat(r#"}],"error":{"message":"died"}}"#)),
        (Endpoint::Chat, chat(r#"},{"finish_reason":"error","message":{"content":null}}]}"#)),
        (Endpoint::Responses, r#"{"output":[{"content":[{"text":"part"}]}],"status":"failed"}"#.into()),
        (Endpoint::Responses, r#"{"output":[{"content":[{"text":"part"}]}],"status":"cancelled"}"#.into()),
        (
            Endpoint::Responses,
            r#"{"output":[{"content":[{"text":"part"}]}],"error":{"code":"server_error"}}"#.into(),
        ),
        (Endpoint::Messages, r#"{"content":[{"text":"part"}],"error":{"type":"api_error"}}"#.into()),
        (
            Endpoint::Gemini,
            r#"{"candidates":[{"content":{"parts":[{"text":"part"}]}}],"error":{"code":503}}"#.into(),
        ),
        (Endpoint::Gemini, gemini("MALFORMED_FUNCTION_CALL")),
        (Endpoint::Gemini, gemini("MALFORMED_RESPONSE")),
        (Endpoint::Gemini, gemini("UNEXPECTED_TOOL_CALL")),
        (Endpoint::Converse, converse("malformed_model_output")),
        (Endpoint::Converse, converse("malformed_tool_use")),
        (Endpoint::Cohere, r#"{"message":{"content":[{"text":"part"}]},"finish_reason":"ERROR"}"#.into()),
        (Endpoint::Cohere, r#"{"message":{"content":[{"text":"part"}]},"finish_reason":"TIMEOUT"}"#.into()),
    ] {
        assert_eq!(read(body.as_bytes(), Expected::Answer(endpoint)), ProbeResult::Success, "{body}");
        assert!(late_error(body.as_bytes(), endpoint).is_some(), "{body}");
        assert!(late_error(body.as_bytes(), Endpoint::Unknown).is_some(), "{body}");
    }
}

#[test]
fn an_answer_about_errors_reports_none() {
    for body in [
        r#"{"choices":[{"message":{"content":"the \"error\" has \"failed\""},"finish_reason":"stop"}],"error" : null}"#,
        r#"{"choices":[{"message":{"content":"error"},"finish_reason":"stop"}],"error":{"code":null}}"#,
        r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"error","arguments":"{\"status\":\"failed\"}"}}]}}]}"#,
        r#"{"output":[{"type":"mcp_call","status":"failed","error":"gone"}],"status":"completed","error":null}"#,
        r#"{"content":[{"type":"tool_use","input":{"error":"x","status":"failed"}}],"stop_reason":"tool_use"}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"error":"abort"}}}]}}]}"#,
        r#"{"message":{"tool_calls":[{"function":{"name":"ERROR"}}]},"finish_reason":"TOOL_CALL"}"#,
    ] {
        assert_eq!(late_error(body.as_bytes(), Endpoint::Unknown), None, "{body}");
    }
}

#[test]
fn every_prefix_is_unclear_or_gives_the_final_result() {
    for (body, expected) in all() {
        for cut in 0..body.len() {
            let result = probe(&body.as_bytes()[..cut]);
            assert!(result == BodyProbe::Unclear || result == expected, "{cut} of {body}");
        }
    }
}

#[test]
fn a_long_response_is_decided_at_its_first_content() {
    let long = format!(r#"{{"id":"a","choices":[{{"message":{{"content":"{}"}}}}"#, "x".repeat(1 << 20));
    let first = long.find("xx").unwrap() + 1;
    assert_eq!(probe(&long.as_bytes()[..first]), BodyProbe::Success);
}

#[test]
fn the_fast_path_agrees_with_the_full_walk() {
    let is_short = |body: &str| is_success(body.as_bytes(), Expected::Answer(Endpoint::Chat));
    for body in ERRORS.iter().chain(UNDECIDED) {
        assert!(!is_short(body), "{body}");
    }
    assert!(is_short(r#"{"id":"a","choices":[{"message":{"content":"Hi"}}],"error":{"code":1}}"#));
    assert!(!is_short(r#"{"choices":[],"content":"busy"}"#));
    assert!(!is_short(r#"{"choices":null,"content":"busy"}"#));
    assert!(!is_short(r#"[{"choices":[{"message":{"content":"Hi"}}]}]"#));
    assert!(!is_short(r#"{"error":{"choices":[{"content":"Hi"}]}}"#));
    assert!(!is_short(r#"{"prompt":[{"content":"Hi"}],"error":{"code":1}}"#));
    // Regression: choices within another field, or a value of that name, hid the error that follows.
    for error in [
        r#"{"request":{"choices":[{"message":{"content":"Hi"}}]},"error":{"code":"rate_limit_exceeded"}}"#,
        r#"{"note":"choices","x":[{"content":"Hi"}],"error":{"code":"rate_limit_exceeded"}}"#,
    ] {
        assert!(!is_short(error) && matches!(probe(error.as_bytes()), BodyProbe::Error), "{error}");
    }
    assert!(!is_short(r#"{"code":0,"data":{"choices":[{"message":{"content":"Hi"}}]}}"#));
}

proptest! {
    #[test]
    fn the_search_for_words_misses_no_error(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", " ", "null", "4", "\"x\"", "[{", "\"error\":", "\"error\"", "\"choices\":",
            "\"finish_reason\":", "\"finishReason\":", "\"content\":", "\"message\":", "\"object\":", "\"type\":",
            "\"status\":", "\"failed\"", "\"cancelled\"", "\"abort\"", "\"insufficient_system_resource\"",
            "\"ERROR\"", "\"TIMEOUT\"", "\"network_error\"", "\"network-error\"", "\"malformed_function_call\"",
            "\"function_call_filter: MALFORMED_FUNCTION_CALL\"", "\"UNEXPECTED_TOOL_CALL\"", "\"MALFORMED_RESPONSE\"",
            "\"candidates\":", "\"stopReason\":", "\"malformed_tool_use\"",
        ]), 0..24),
    ) {
        let body = tokens.concat();
        for endpoint in Endpoint::ALL {
            prop_assert_eq!(late_error(body.as_bytes(), endpoint), error_in(body.as_bytes(), endpoint), "{}", body);
        }
    }

    #[test]
    fn the_result_of_a_prefix_holds_for_the_whole_body(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", " ", "null", "4", "4.5", "-1", "\"", "\\", "é", "\"error\":", "\"error\"",
            "\"choices\":", "\"finish_reason\":", "\"message\":", "\"content\":", "\"object\":", "\"type\":",
            "\"chat\"", "\"status\":", "\"failed\"", "\"completed\"", "\"x\"", "\"\"", "\"data\":", "[{",
        ]), 0..24),
        bytes: Vec<u8>,
    ) {
        let mut body = tokens.concat().into_bytes();
        body.extend(bytes);
        let whole = probe(&body);
        for cut in 0..body.len() {
            let result = probe(&body[..cut]);
            prop_assert!(result == BodyProbe::Unclear || result == whole, "{} of {:?}", cut, body);
        }
    }
}
