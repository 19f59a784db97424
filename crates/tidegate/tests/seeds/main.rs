//! What was promised about retries, fallbacks and the client of both, item by item (42 to 69 of the capabilities that
//! the project began with), and the tests that keep it. Most stand beside the code that they are about; the rest, which
//! nothing but the whole can show, are here. Where our form is another one on purpose the test states ours.

#![cfg(all(feature = "config", feature = "providers"))]

mod chain;
mod client;

use std::path::Path;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tidegate::Payload;

const RESORTS: &str = "src/fallback/tests/resorts.rs";
const PER_CALL: &str = "src/retry/tests/per_call.rs";
const RUN: &str = "src/retry/tests/run.rs";
const CHAIN: &str = "tests/seeds/chain.rs";
const CLIENT: &str = "tests/seeds/client.rs";

/// Item, file, test.
const TESTS: [(u32, &str, &str); 36] = [
    (42, CHAIN, "item_42_links_are_asked_in_the_order_of_their_priority"),
    (43, CHAIN, "item_43_the_next_link_gets_what_the_caller_asked_and_the_trail_why_it_is_asked"),
    (44, "src/fallback/cache/words.rs", "words_are_compared_as_sets_in_lower_case"),
    (44, RESORTS, "an_answer_that_was_given_is_given_again_when_nobody_else_can"),
    (45, CHAIN, "item_45_another_model_is_asked_for_the_same_and_named"),
    (46, "src/fallback/simplified.rs", "long_lines_go_three_stay_and_the_rest_is_cut"),
    (46, RESORTS, "a_simplified_prompt_goes_to_the_first_target_and_then_to_the_others"),
    (47, "src/fallback/fixed.rs", "a_prompt_is_of_the_first_kind_of_which_it_holds_a_word"),
    (48, CHAIN, "item_48_who_has_nothing_to_say_is_skipped_and_who_fails_is_counted"),
    (49, RESORTS, "a_static_answer_is_in_the_callers_dialect_plain_or_streamed_and_marked"),
    (50, "src/fallback/counts.rs", "only_the_last_hundred_are_recent"),
    (51, RESORTS, "the_emergency_answer_comes_last_and_even_past_the_deadline"),
    (52, RESORTS, "an_answer_that_was_given_is_given_again_when_nobody_else_can"),
    (53, "src/retry/backoff.rs", "item_53_every_strategy_grows_in_its_own_way_up_to_the_cap"),
    (54, "src/retry/backoff.rs", "item_54_adaptive_waits_scale_with_what_is_measured_and_with_nothing_else"),
    (54, "src/retry/tests/adaptive.rs", "item_54_the_error_rate_is_measured_and_forgotten"),
    (54, "src/retry/tests/adaptive.rs", "item_54_the_response_time_is_measured"),
    (54, "src/retry/tests/adaptive.rs", "item_54_in_the_stack_the_load_is_what_is_in_flight"),
    (55, "src/retry/tests/statistics.rs", "item_55_the_numbers_of_the_lesson_can_be_set"),
    (56, "src/retry/jitter.rs", "item_56_every_jitter_has_its_span"),
    (56, "src/retry/backoff.rs", "item_56_no_wait_passes_the_cap_whatever_the_strategy_and_the_jitter"),
    (57, PER_CALL, "item_57_errors_say_themselves_whether_to_ask_again"),
    (57, RUN, "item_57_what_is_known_to_pass_is_retried_and_nothing_else"),
    (58, PER_CALL, "item_58_a_call_may_bring_its_own_policy"),
    (58, PER_CALL, "item_58_a_call_may_bring_the_conditions_that_its_waits_adapt_to"),
    (59, RUN, "item_59_functions_that_wait_and_functions_that_do_not_are_retried_alike"),
    (60, "src/retry/tests/statistics.rs", "item_60_calls_that_needed_one_attempt_are_no_operations"),
    (61, RUN, "item_61_a_function_wrapped_once_is_retried_wherever_it_is_called"),
    (62, CLIENT, "item_62_a_part_is_on_if_it_is_named"),
    (62, CLIENT, "item_62_the_whole_call_takes_thirty_seconds_if_it_is_told_so"),
    (63, CLIENT, "item_63_nothing_is_answered_from_a_cache_that_nobody_gave"),
    (64, CLIENT, "item_64_what_the_caller_asks_arrives_as_it_is"),
    (65, CLIENT, "item_65_an_answer_tells_what_it_took"),
    (66, CLIENT, "item_66_without_a_last_resort_the_last_real_answer_goes_through"),
    (67, CLIENT, "item_67_a_stack_whose_circuit_is_not_closed_is_degraded_and_each_part_is_told"),
    (68, CLIENT, "item_68_a_reset_forgets_what_closed_the_gates"),
];

/// Item 69 is the example, and what it promises.
const EXAMPLE: (u32, &str, &str) =
    (69, CLIENT, "item_69_a_provider_that_fails_three_times_of_ten_is_not_noticed");

#[test]
fn every_item_has_a_test_and_every_test_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = TESTS.into_iter().chain([EXAMPLE]);
    for (item, file, test) in tests.clone() {
        let code = std::fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(code.matches(&format!("fn {test}(")).count(), 1, "{item}: {test} in {file}");
        let number = item.to_string();
        let cites = |line: &str| line.contains("Seed item") && line.contains(&number);
        assert!(test.starts_with(&format!("item_{item}_")) || code.lines().any(cites), "{item}: {test}");
    }
    for item in 42..=69 {
        assert!(tests.clone().any(|test| test.0 == item), "{item}");
    }
}

/// A request for a chat in OpenAI's dialect, as the lesson has its parameters.
fn asking(prompt: &str) -> Request<Payload> {
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
