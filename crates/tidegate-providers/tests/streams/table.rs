//! The table of streams and their outcomes.

use std::collections::BTreeSet;

use tidegate_core::Scan;
use tidegate_core::StopReason::{self, ContentFilter, Length, Natural};

use crate::fixture::{bytes, folder, play, scanner};

/// Whether it has started, whether it has finished, its failure code, its stop reason, the tokens of prompt
/// and response; the number of events, and of those with content.
type Row = (
    &'static str,
    bool,
    bool,
    Option<&'static str>,
    Option<StopReason>,
    (Option<u64>, Option<u64>),
    (u32, u32),
);

const NONE: (Option<u64>, Option<u64>) = (None, None);

const fn usage(input: u64, output: u64) -> (Option<u64>, Option<u64>) {
    (Some(input), Some(output))
}

#[rustfmt::skip]
pub(crate) const STREAMS: &[Row] = &[
    ("openai_completion.sse", true, true, None, Some(Length), usage(3, 1), (4, 1)),
    ("openai_content_filter.sse", true, true, None, Some(ContentFilter), NONE, (4, 1)),
    ("openai_cut_in_an_event.sse", true, false, None, None, NONE, (2, 1)),
    ("openai_cut_in_the_first_token.sse", false, false, None, None, NONE, (1, 0)),
    ("openai_error_after_role.sse", false, false, Some("E2002"), None, NONE, (3, 0)),
    ("openai_error_first.sse", false, false, Some("E3001"), None, NONE, (1, 0)),
    ("openai_error_midway.sse", true, false, Some("E3002"), None, NONE, (6, 2)),
    ("openai_length.sse", true, true, None, Some(Length), NONE, (5, 2)),
    ("openai_malformed_first.sse", true, true, None, Some(Natural), NONE, (5, 1)),
    ("openai_malformed_midway.sse", true, true, None, Some(Natural), NONE, (8, 2)),
    ("openai_no_empty_line_at_the_end.sse", true, true, None, Some(Natural), NONE, (4, 1)),
    ("openai_odd_lines.sse", true, true, None, Some(Natural), NONE, (7, 2)),
    ("openai_plain.sse", true, true, None, Some(Natural), NONE, (7, 4)),
    ("openai_refusal.sse", true, true, None, Some(Natural), NONE, (4, 1)),
    ("openai_spaced.sse", true, true, None, Some(Natural), usage(11, 4), (5, 2)),
    ("openai_keywords_in_text.sse", true, true, None, Some(Natural), NONE, (14, 11)),
    ("openai_tool_call.sse", true, true, None, Some(Natural), NONE, (6, 3)),
    ("openai_truncated.sse", true, false, None, None, NONE, (3, 2)),
    ("openai_two_choices.sse", true, true, None, Some(Natural), NONE, (7, 2)),
    ("openai_usage.sse", true, true, None, Some(Natural), usage(11, 4), (6, 2)),
    ("openai_usage_cut_off.sse", true, false, None, Some(Natural), NONE, (3, 1)),
    ("openai_error_after_the_end.sse", true, true, None, Some(Natural), NONE, (5, 1)),
    ("openai_nameless_tool_call.sse", true, true, None, Some(Natural), NONE, (5, 1)),
    ("azure_content_filter.sse", true, true, None, Some(ContentFilter), NONE, (5, 1)),
    ("azure_error_after_filter_results.sse", false, false, Some("E2001"), None, NONE, (2, 0)),
    ("azure_plain.sse", true, true, None, Some(Natural), NONE, (9, 2)),
    ("mistral_error.sse", true, false, Some("E3001"), None, NONE, (4, 1)),
    ("mistral_reasoning.sse", true, true, None, Some(Natural), NONE, (6, 2)),
    ("mistral_usage.sse", true, true, None, Some(Length), usage(9, 12), (4, 1)),
    ("groq_error.sse", true, false, Some("E3002"), None, NONE, (4, 1)),
    ("groq_tool_use_failed.sse", false, false, Some("E3001"), None, NONE, (2, 0)),
    ("groq_reasoning.sse", true, true, None, Some(Natural), NONE, (5, 2)),
    ("groq_usage.sse", true, true, None, Some(Natural), usage(18, 2), (4, 1)),
    ("deepseek_no_resource.sse", true, false, Some("E3002"), None, NONE, (5, 1)),
    ("deepseek_only_comments.sse", false, false, None, None, NONE, (5, 0)),
    ("deepseek_reasoning.sse", true, true, None, Some(Natural), usage(6, 9), (9, 3)),
    ("openrouter_error_first.sse", false, false, Some("E2001"), None, NONE, (3, 0)),
    ("openrouter_error_midway.sse", true, false, Some("E3001"), None, NONE, (4, 1)),
    ("openrouter_plain.sse", true, true, None, Some(Natural), usage(5, 1), (8, 1)),
    ("openrouter_reasoning.sse", true, true, None, Some(Natural), NONE, (5, 2)),
    ("xai_reasoning_apart.sse", true, true, None, Some(Natural), usage(12, 43), (4, 2)),
    ("xai_usage_early.sse", true, true, None, Some(Natural), usage(12, 3), (4, 1)),
    ("openai_responses_content_filter.sse", true, true, None, Some(ContentFilter), usage(21, 8), (5, 1)),
    ("openai_responses_error_first.sse", false, false, Some("E2002"), None, NONE, (3, 0)),
    ("openai_responses_failed_first.sse", false, false, Some("E2001"), None, NONE, (3, 0)),
    ("openai_responses_failed_midway.sse", true, false, Some("E3001"), None, usage(21, 8), (6, 1)),
    ("openai_responses_length.sse", true, true, None, Some(Length), usage(21, 8), (5, 1)),
    ("openai_responses_plain.sse", true, true, None, Some(Natural), usage(21, 8), (9, 2)),
    ("openai_responses_reasoning.sse", true, true, None, Some(Natural), usage(21, 8), (6, 2)),
    ("openai_responses_keywords_in_text.sse", true, true, None, Some(Natural), usage(21, 8), (9, 4)),
    ("openai_responses_tool_call.sse", true, true, None, Some(Natural), usage(21, 8), (7, 2)),
    ("openai_responses_truncated.sse", true, false, None, None, NONE, (6, 2)),
    ("anthropic_error_after_start.sse", false, false, Some("E3002"), None, usage(30, 1), (4, 0)),
    ("anthropic_error_first.sse", false, false, Some("E3002"), None, NONE, (1, 0)),
    ("anthropic_error_midway.sse", true, false, Some("E3001"), None, usage(30, 1), (4, 1)),
    ("anthropic_length.sse", true, true, None, Some(Length), usage(30, 15), (6, 1)),
    ("anthropic_only_pings.sse", false, false, None, None, usage(30, 1), (5, 0)),
    ("anthropic_plain.sse", true, true, None, Some(Natural), usage(30, 15), (8, 2)),
    ("anthropic_refusal.sse", true, true, None, Some(ContentFilter), usage(30, 15), (6, 1)),
    ("anthropic_keywords_in_text.sse", true, true, None, Some(Natural), usage(30, 15), (10, 5)),
    ("anthropic_thinking.sse", true, true, None, Some(Natural), usage(30, 15), (11, 2)),
    ("anthropic_tool_call.sse", true, true, None, Some(Natural), usage(30, 15), (7, 2)),
    ("anthropic_truncated.sse", true, false, None, Some(Natural), usage(30, 15), (6, 2)),
    ("anthropic_usage_at_the_end.sse", true, true, None, Some(Natural), usage(31, 2), (6, 1)),
    ("anthropic_without_names.sse", true, true, None, Some(Natural), usage(30, 15), (7, 1)),
    ("deepseek_anthropic_plain.sse", true, true, None, Some(Natural), usage(30, 15), (7, 1)),
    ("gemini_blocked_prompt.sse", false, true, None, Some(ContentFilter), (Some(7), None), (1, 0)),
    ("gemini_error_first.sse", false, false, Some("E3002"), None, NONE, (1, 0)),
    ("gemini_error_midway.sse", true, false, Some("E2001"), None, usage(7, 1), (2, 1)),
    ("gemini_error_outside_of_events.sse", true, false, Some("E2001"), None, usage(7, 1), (2, 1)),
    ("gemini_length.sse", true, true, None, Some(Length), usage(7, 2), (2, 2)),
    ("gemini_plain.sse", true, true, None, Some(Natural), usage(7, 4), (3, 2)),
    ("gemini_safety.sse", true, true, None, Some(ContentFilter), usage(7, 1), (2, 1)),
    ("gemini_signature_before_text.sse", true, false, Some("E3002"), None, (Some(7), None), (3, 1)),
    ("gemini_keywords_in_text.sse", true, true, None, Some(Natural), usage(7, 4), (3, 2)),
    ("gemini_thinking.sse", true, true, None, Some(Natural), usage(7, 23), (2, 2)),
    ("gemini_tool_call.sse", true, true, None, Some(Natural), usage(7, 5), (1, 1)),
    ("gemini_truncated.sse", true, false, None, None, usage(7, 2), (2, 2)),
    ("gemini_array_braces_in_text.json", true, true, None, Some(Natural), usage(7, 4), (4, 3)),
    ("gemini_array_error_first.json", false, false, Some("E3002"), None, NONE, (1, 0)),
    ("gemini_array_error_midway.json", true, false, Some("E3002"), None, usage(7, 1), (2, 1)),
    ("gemini_array_plain.json", true, true, None, Some(Natural), usage(7, 4), (3, 2)),
    ("gemini_array_truncated.json", true, false, None, None, usage(7, 1), (1, 1)),
    ("cohere_error_first.sse", false, false, Some("E3001"), None, usage(70, 4), (2, 0)),
    ("cohere_error_midway.sse", true, false, Some("E3003"), None, usage(70, 4), (4, 1)),
    ("cohere_length.sse", true, true, None, Some(Length), usage(70, 4), (4, 1)),
    ("cohere_plain.sse", true, true, None, Some(Natural), usage(70, 4), (6, 2)),
    ("cohere_reasoning.sse", true, true, None, Some(Natural), usage(70, 4), (5, 2)),
    ("cohere_keywords_in_text.sse", true, true, None, Some(Natural), usage(70, 4), (6, 3)),
    ("cohere_tool_call.sse", true, true, None, Some(Natural), usage(70, 4), (6, 3)),
    ("cohere_v1.sse", true, true, None, None, NONE, (4, 4)),
    ("cohere_truncated.sse", true, false, None, None, NONE, (4, 2)),
    ("bedrock_error_after_start.events", false, false, Some("E2001"), None, NONE, (2, 0)),
    ("bedrock_error_first.events", false, false, Some("E3002"), None, NONE, (1, 0)),
    ("bedrock_error_midway.events", true, false, Some("E3001"), None, NONE, (3, 1)),
    ("bedrock_guardrail.events", true, true, None, Some(ContentFilter), usage(14, 6), (5, 1)),
    ("bedrock_internal_midway.events", true, false, Some("E3001"), None, NONE, (3, 1)),
    ("bedrock_invoke_error_after_start.events", false, false, Some("E3003"), None, usage(30, 1), (3, 0)),
    ("bedrock_invoke_plain.events", true, true, None, Some(Natural), usage(30, 15), (7, 2)),
    ("bedrock_invoke_unknown_dialect.events", true, true, None, None, NONE, (2, 2)),
    ("bedrock_length.events", true, true, None, Some(Length), usage(14, 6), (5, 1)),
    ("bedrock_malformed_output.events", false, false, Some("E3001"), None, NONE, (4, 0)),
    ("bedrock_no_metadata.events", true, true, None, Some(Natural), NONE, (4, 1)),
    ("bedrock_per_day.events", false, false, Some("E2002"), None, NONE, (1, 0)),
    ("bedrock_plain.events", true, true, None, Some(Natural), usage(14, 6), (6, 2)),
    ("bedrock_reasoning.events", true, true, None, Some(Natural), usage(14, 6), (7, 2)),
    ("bedrock_keywords_in_text.events", true, true, None, Some(Natural), usage(14, 6), (6, 2)),
    ("bedrock_tool_call.events", true, true, None, Some(Natural), usage(14, 6), (6, 2)),
    ("bedrock_truncated.events", true, false, None, None, NONE, (3, 2)),
    ("other_empty_reasons.sse", true, true, None, Some(Length), NONE, (5, 1)),
    ("other_error_as_text.sse", false, false, Some("E3001"), None, NONE, (1, 0)),
    ("other_error_then_done.sse", true, false, Some("E3001"), None, NONE, (4, 1)),
    ("other_status_in_a_comment.sse", false, false, Some("E1001"), None, NONE, (2, 0)),
    ("other_error_object.sse", false, false, Some("E3002"), None, NONE, (2, 0)),
    ("other_usage_in_a_choice.sse", true, true, None, Some(Natural), usage(2989, 2), (5, 2)),
    ("other_unknown_dialect.sse", true, true, None, None, NONE, (3, 3)),
    ("other_unknown_dialect_error.sse", true, false, Some("E3001"), None, NONE, (2, 1)),
];

#[test]
fn every_stream_has_the_outcome_in_the_table() {
    for &(fixture, started, finished, code, stop, usage, progress) in STREAMS {
        let (scanner, got) = play(scanner(fixture), &bytes(fixture), &[]);
        let state = scanner.state();
        let got_usage = state.usage.map_or(NONE, |usage| (usage.input, usage.output));
        let got_code = state.failure.as_ref().map(|failure| failure.code.code());
        let got = (
            state.has_started,
            state.has_finished,
            got_code,
            state.stop,
            got_usage,
            (got.events, got.tokens),
        );
        assert_eq!(got, (started, finished, code, stop, usage, progress), "{fixture}");
    }
}

#[test]
fn every_stream_is_in_the_table_once() {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let there: BTreeSet<String> = std::fs::read_dir(folder()).unwrap().map(name).collect();
    let listed: BTreeSet<String> = STREAMS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(there, listed);
    assert_eq!(listed.len(), STREAMS.len());
}
