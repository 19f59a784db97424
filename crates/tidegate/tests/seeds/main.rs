//! The capabilities that the project began with, items 42 to 69 (retries, fallbacks and the client of both),
//! and the test of each. Most tests are beside the code that they test. Tests that need all parts together
//! are here. Where the behaviour differs from the seed on purpose, the comment of the test has the
//! difference.

#![cfg(all(feature = "config", feature = "providers", feature = "translate"))]

mod chain;
mod client;

use std::path::Path;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tidegate::Payload;

const LAST_RESORTS: &str = "src/fallback/tests/last_resorts.rs";
const PER_CALL: &str = "src/retry/tests/per_call.rs";
const RUN: &str = "src/retry/tests/run.rs";
const CHAIN: &str = "tests/seeds/chain.rs";
const CLIENT: &str = "tests/seeds/client.rs";

/// Item, file, test.
const TESTS: [(u32, &str, &str); 36] = [
    (42, CHAIN, "targets_are_tried_in_the_order_of_their_priority"),
    (43, CHAIN, "the_next_target_gets_the_same_request_and_the_trail_has_the_reason"),
    (44, "src/fallback/cache/word_set.rs", "words_are_compared_as_sets_in_lower_case"),
    (44, LAST_RESORTS, "a_cached_answer_is_returned_when_all_targets_fail"),
    (45, CHAIN, "another_model_gets_the_same_request_and_is_named"),
    (46, "src/fallback/simplified.rs", "drops_long_lines_keeps_three_and_truncates"),
    (46, LAST_RESORTS, "a_simplified_prompt_goes_to_the_first_target_and_then_to_the_others"),
    (47, "src/fallback/static_answers.rs", "a_prompt_has_the_first_kind_with_a_matching_keyword"),
    (48, CHAIN, "an_empty_cache_is_skipped_and_failures_are_counted"),
    (49, LAST_RESORTS, "a_static_answer_is_in_the_callers_dialect_buffered_or_streamed_and_marked"),
    (50, "src/fallback/statistics.rs", "only_the_last_hundred_are_recent"),
    (51, LAST_RESORTS, "the_emergency_answer_is_last_and_works_past_the_deadline"),
    (52, LAST_RESORTS, "a_cached_answer_is_returned_when_all_targets_fail"),
    (53, "src/retry/backoff.rs", "every_strategy_grows_in_its_own_way_up_to_the_cap"),
    (54, "src/retry/backoff.rs", "adaptive_waits_scale_with_measured_signals_only"),
    (54, "src/retry/tests/adaptive.rs", "the_error_rate_is_measured_and_expires"),
    (54, "src/retry/tests/adaptive.rs", "the_response_time_is_measured"),
    (54, "src/retry/tests/adaptive.rs", "in_the_stack_the_load_is_the_share_in_flight"),
    (55, "src/retry/tests/statistics.rs", "the_settings_of_the_lesson_are_available"),
    (56, "src/retry/jitter.rs", "every_jitter_stays_in_its_range"),
    (56, "src/retry/backoff.rs", "no_wait_exceeds_the_cap_for_any_strategy_and_jitter"),
    (57, PER_CALL, "error_markers_override_the_code"),
    (57, RUN, "only_transient_and_marked_errors_are_retried"),
    (58, PER_CALL, "a_call_may_override_the_policy"),
    (58, PER_CALL, "a_call_may_override_the_load_signals"),
    (59, RUN, "sync_and_async_functions_are_retried_alike"),
    (60, "src/retry/tests/statistics.rs", "calls_with_one_attempt_are_not_operations"),
    (61, RUN, "a_wrapped_function_is_retried_wherever_it_is_called"),
    (62, CLIENT, "a_part_is_on_if_it_is_configured"),
    (62, CLIENT, "a_total_timeout_of_thirty_seconds_is_opt_in"),
    (63, CLIENT, "no_cache_or_fallback_is_used_by_default"),
    (64, CLIENT, "the_request_body_is_forwarded_unchanged"),
    (65, CLIENT, "a_response_carries_its_trail_and_fallback_info"),
    (66, CLIENT, "without_a_last_resort_the_last_response_or_error_is_returned"),
    (67, CLIENT, "a_stack_is_degraded_until_its_circuit_closes_and_reports_each_part"),
    (68, CLIENT, "reset_closes_the_circuit"),
];

/// Item 69 is the example of the seed.
const EXAMPLE: (u32, &str, &str) = (69, CLIENT, "three_failures_of_ten_are_hidden_by_retries");

#[test]
fn every_item_has_a_test_and_every_test_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = TESTS.into_iter().chain([EXAMPLE]);
    for (item, file, test) in tests.clone() {
        let code = std::fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(code.matches(&format!("fn {test}(")).count(), 1, "{item}: {test} in {file}");
        let number = item.to_string();
        let cites = |line: &str| line.contains("Seed item") && line.contains(&number);
        assert!(code.lines().any(cites), "{item}: {test}");
    }
    for item in 42..=69 {
        assert!(tests.clone().any(|test| test.0 == item), "{item}");
    }
}

/// A chat completion request in OpenAI's dialect, with the parameters of the lesson.
fn chat_request(prompt: &str) -> Request<Payload> {
    let body = json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 150,
        "temperature": 0.7,
        "user": "u-1",
    });
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap()
}

fn text(body: &Bytes) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn completion(text: &str) -> String {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).to_string()
}
