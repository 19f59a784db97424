//! The capabilities that the project began with, items 1 to 91, and the test of each. Most tests are beside
//! the code that they test. Tests that need all parts together are here. Where the behaviour differs from the
//! seed on purpose, the comment of the test has the difference.

#![cfg(all(feature = "config", feature = "providers", feature = "translate"))]

mod chain;
mod client;
mod lesson;
mod reference;

use std::path::Path;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tidegate::{Payload, Resilience, ResilienceBuilder};
use tidegate_testkit::strict::{self, Handle, Strict};

const BREAKER: &str = "src/circuit_breaker/tests/mod.rs";
const HANDLE: &str = "src/circuit_breaker/tests/handle.rs";
const LAST_RESORTS: &str = "src/fallback/tests/last_resorts.rs";
const PER_CALL: &str = "src/retry/tests/per_call.rs";
const RETRY: &str = "src/retry/tests/mod.rs";
const RUN: &str = "src/retry/tests/run.rs";
const STATE: &str = "src/circuit_breaker/tests/state.rs";
const WINDOW: &str = "src/circuit_breaker/tests/window.rs";
const CHAIN: &str = "tests/seeds/chain.rs";
const CLIENT: &str = "tests/seeds/client.rs";
const LESSON: &str = "tests/seeds/lesson.rs";
const REFERENCE: &str = "tests/seeds/reference.rs";

/// Item, file, test.
const TESTS: &[(u32, &str, &str)] = &[
    (1, REFERENCE, "one_configuration_builds_the_client_of_a_model"),
    (2, REFERENCE, "by_default_three_retries_wait_one_two_and_four_seconds"),
    (3, REFERENCE, "a_burst_of_twenty_passes_at_once_and_then_ten_a_second"),
    (4, REFERENCE, "five_failures_open_the_circuit_for_thirty_seconds"),
    (5, REFERENCE, "at_most_fifty_calls_are_in_flight"),
    (6, REFERENCE, "one_configuration_builds_the_client_of_a_model"),
    (7, REFERENCE, "each_layer_works_alone"),
    (8, REFERENCE, "five_failures_open_the_circuit_for_thirty_seconds"),
    (9, REFERENCE, "a_burst_of_twenty_passes_at_once_and_then_ten_a_second"),
    (10, REFERENCE, "at_most_fifty_calls_are_in_flight"),
    (11, REFERENCE, "a_chain_of_three_models_answers_while_one_of_them_does"),
    (12, REFERENCE, "preflight_and_snapshot_show_circuit_rate_and_calls_in_flight"),
    (13, REFERENCE, "preflight_and_snapshot_show_circuit_rate_and_calls_in_flight"),
    (14, "src/config/tests/environment.rs", "every_variable_turns_its_part_on_and_overrides_the_file"),
    (16, "src/classify/tests/streams.rs", "broken_streams_open_the_circuit_and_cancelled_calls_do_not"),
    (17, "src/fallback/policy.rs", "the_code_decides_and_two_failure_kinds_can_be_added"),
    (18, LESSON, "a_call_of_more_than_a_minute_times_out_and_falls_back"),
    (19, REFERENCE, "by_default_three_retries_wait_one_two_and_four_seconds"),
    (20, "src/backpressure/tests/mod.rs", "each_key_has_a_limit_and_a_queue_of_its_own"),
    (21, LESSON, "service_degrades_step_by_step"),
    (22, STATE, "closes_after_enough_probes_in_a_row_and_any_failure_opens_again"),
    (23, LESSON, "the_breaker_of_the_lesson_can_be_configured"),
    (24, "tests/events.rs", "the_events_of_a_breaker_have_its_name_as_a_field"),
    (25, HANDLE, "a_listener_receives_the_result_of_every_attempt"),
    (26, LAST_RESORTS, "the_answer_of_a_call_is_its_last_resort_in_any_chain_and_is_given_once"),
    (27, HANDLE, "the_metrics_count_every_call"),
    (28, LESSON, "a_call_of_more_than_a_minute_times_out_and_falls_back"),
    (29, LESSON, "a_rejection_of_an_open_circuit_has_its_time_and_the_snapshot_the_last_failure"),
    (30, CLIENT, "without_a_last_resort_the_last_response_or_error_is_returned"),
    (31, STATE, "a_success_resets_the_count_and_neutral_changes_nothing"),
    (32, STATE, "opens_at_the_threshold_and_returns_for_how_long"),
    (33, BREAKER, "half_open_admits_only_its_probes_of_a_thousand_callers"),
    (34, STATE, "closes_after_enough_probes_in_a_row_and_any_failure_opens_again"),
    (35, BREAKER, "opens_on_slow_calls_alone_and_recovers"),
    (35, LESSON, "slow_calls_open_the_circuit_after_many_fast_ones"),
    (36, WINDOW, "a_window_equals_one_that_keeps_every_call"),
    (37, HANDLE, "the_metrics_count_every_call"),
    (38, HANDLE, "the_metrics_count_every_call"),
    (39, BREAKER, "reset_closes_the_circuit_and_clears_its_statistics"),
    (40, "tests/regressions/errors.rs", "a_rejection_is_found_at_any_depth"),
    (41, "tests/events.rs", "the_events_of_a_breaker_have_its_name_as_a_field"),
    (42, CHAIN, "targets_are_tried_in_the_order_of_their_priority"),
    (43, CHAIN, "the_next_target_gets_the_same_request_and_the_trail_has_the_reason"),
    (44, "src/fallback/last_resort/cache/word_set.rs", "words_are_compared_as_sets_in_lower_case"),
    (44, LAST_RESORTS, "a_cached_answer_is_returned_when_all_targets_fail"),
    (45, CHAIN, "another_model_gets_the_same_request_and_is_named"),
    (46, "src/fallback/last_resort/simplified.rs", "drops_long_lines_keeps_three_and_truncates"),
    (46, LAST_RESORTS, "a_simplified_prompt_goes_to_the_first_target_and_then_to_the_others"),
    (47, "src/fallback/last_resort/static_answers.rs", "a_prompt_has_the_first_kind_with_a_matching_keyword"),
    (48, CHAIN, "an_empty_cache_is_skipped_and_failures_are_counted"),
    (49, LAST_RESORTS, "a_static_answer_is_in_the_callers_dialect_buffered_or_streamed_and_marked"),
    (50, "src/fallback/statistics.rs", "only_the_last_hundred_are_recent"),
    (51, LAST_RESORTS, "the_emergency_answer_is_last_and_works_past_the_deadline"),
    (52, LAST_RESORTS, "a_cached_answer_is_returned_when_all_targets_fail"),
    (52, "src/fallback/statistics.rs", "only_the_last_hundred_are_recent"),
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
    (69, CLIENT, "three_failures_of_ten_are_hidden_by_retries"),
    (70, "src/circuit_breaker/tests/rates.rs", "opens_at_the_failure_rate_but_not_on_a_handful_of_calls"),
    (71, WINDOW, "a_window_equals_one_that_keeps_every_call"),
    (72, "src/circuit_breaker/tests/ramp_up.rs", "begins_with_a_tenth_and_ends_with_all_calls"),
    (73, "tests/metrics/main.rs", "the_page_lists_every_metric_as_it_is_recorded"),
    (74, LESSON, "service_degrades_step_by_step"),
    (75, LAST_RESORTS, "a_static_answer_is_in_the_callers_dialect_buffered_or_streamed_and_marked"),
    (76, LAST_RESORTS, "a_cached_answer_is_returned_when_all_targets_fail"),
    (77, CHAIN, "targets_are_tried_in_the_order_of_their_priority"),
    (78, "src/retry/jitter.rs", "every_jitter_stays_in_its_range"),
    (79, "src/retry/tests/promises.rs", "every_call_ends_once_in_time_and_within_its_attempts"),
    (80, RETRY, "an_error_code_is_retried_if_it_is_retryable"),
    (81, "src/retry/tests/adaptive.rs", "the_error_rate_is_measured_and_expires"),
    (82, "tests/metrics/main.rs", "the_page_lists_every_metric_as_it_is_recorded"),
    (83, "src/alerts/tests.rs", "each_threshold_raises_its_alert_and_clears_it"),
    (84, "../../tests/docs.rs", "the_dashboard_shows_every_metric_and_no_other"),
    (85, "tests/events.rs", "the_events_of_a_breaker_have_its_name_as_a_field"),
    (86, REFERENCE, "preflight_and_snapshot_show_circuit_rate_and_calls_in_flight"),
    (87, HANDLE, "a_snapshot_contains_the_rates_and_the_last_failure"),
    (88, HANDLE, "the_metrics_count_every_call"),
    (89, CHAIN, "an_empty_cache_is_skipped_and_failures_are_counted"),
    (90, "src/retry/tests/statistics.rs", "calls_with_one_attempt_are_not_operations"),
];

/// What the seeds name as their next step, and do not describe.
const NAMED_ONLY: &[u32] = &[15, 91];

#[test]
fn every_item_has_a_test_and_every_test_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (item, file, test) in TESTS {
        let code = std::fs::read_to_string(folder.join(file)).unwrap();
        let (before, _) = code.split_once(&format!("fn {test}(")).expect(test);
        assert!(cites(before, *item), "{item}: {test} in {file} does not cite it");
    }
    for item in 1..=91 {
        let is_tested = TESTS.iter().any(|test| test.0 == item);
        assert_ne!(is_tested, NAMED_ONLY.contains(&item), "{item}");
    }
}

/// Whether the comment at the end of `code`, in front of a function, cites `item`: `Seed items 44 and 52.`
fn cites(code: &str, item: u32) -> bool {
    let lines = code.lines().rev().map(str::trim).skip(1);
    let comment = lines.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    comment.filter_map(|line| line.split_once("Seed item")).any(|(_, citation)| {
        let citation = citation.split(['.', ':']).next().unwrap_or_default();
        citation.split(|char: char| !char.is_ascii_digit()).any(|number| number.parse() == Ok(item))
    })
}

/// A stack with this configuration, and the provider behind it.
fn configured(text: &str) -> (Resilience<Strict<Payload>>, Handle) {
    let (service, provider) = strict::service();
    let builder = ResilienceBuilder::from_config(&toml::from_str(text).unwrap()).unwrap();
    (builder.name("openai/gpt-4o").service(service), provider)
}

/// A chat completion request in OpenAI's dialect, with the parameters of the lesson.
fn chat_request(prompt: &str) -> Request<Payload> {
    request_to("/v1/chat/completions", prompt)
}

/// The same request to an endpoint that is not known, so that an empty response is a success.
fn any_request() -> Request<Payload> {
    request_to("/v1/any", "Who?")
}

fn request_to(path: &str, prompt: &str) -> Request<Payload> {
    let body = json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 150,
        "temperature": 0.7,
        "user": "u-1",
    });
    Request::post(format!("http://provider{path}")).body(Payload::from(body.to_string())).unwrap()
}

fn text(body: &Bytes) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn completion(text: &str) -> String {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).to_string()
}
