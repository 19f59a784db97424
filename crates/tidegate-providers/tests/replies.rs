//! Recorded replies of providers and their classification.
//!
//! A reply is a body in `fixtures/`, named after its provider, with the status and the headers that it came
//! with.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::response::Parts;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use proptest::prelude::*;
use tidegate_core::FailureKind::{ContentFilter, ContextLength, NotProcessed};
use tidegate_core::LimitScope::{Daily, Momentary, Spend};
use tidegate_core::{
    BodyProbe, Category, Classifier, ErrorCode, Failure, FailureKind, LimitScope, Outcome, RetryHint,
};
use tidegate_providers::{Provider, ProviderClassifier};

/// Fixture, status, headers; then error code, failure kind, scope, wait in milliseconds, and the provider's
/// code.
type Row = (
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
    FailureKind,
    LimitScope,
    Option<u128>,
    Option<&'static str>,
);

#[rustfmt::skip]
const REPLIES: &[Row] = &[
    ("openai_rate_limit", 429, &[], "E2001", FailureKind::Response, Momentary, Some(5289), Some("rate_limit_exceeded")),
    ("openai_rate_limit_headers", 429, &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-tokens", "149"), ("x-ratelimit-reset-tokens", "12ms")], "E2001", FailureKind::Response, Momentary, Some(360_000), Some("rate_limit_exceeded")),
    ("openai_rate_limit_per_day", 429, &[], "E2001", FailureKind::Response, Daily, Some(432_000), Some("rate_limit_exceeded")),
    ("openai_rate_limit_mentions_quota", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("rate_limit_exceeded")),
    ("openai_beyond_the_limit", 429, &[], "E1005", ContextLength, Momentary, None, Some("rate_limit_exceeded")),
    ("openai_slow_down", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("slow_down")),
    ("openai_slow_down_503", 503, &[], "E2001", FailureKind::Response, Momentary, None, Some("slow_down")),
    ("openai_insufficient_quota", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("insufficient_quota")),
    ("openai_credit_balance_exhausted", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("credit_balance_exhausted")),
    ("openai_organization_spend_limit_exceeded", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("organization_spend_limit_exceeded")),
    ("openai_project_spend_limit_exceeded", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("project_spend_limit_exceeded")),
    ("openai_organization_usage_limit_exceeded", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("organization_usage_limit_exceeded")),
    ("openai_quota_by_type", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("insufficient_quota")),
    ("openai_quota_by_message", 429, &[], "E2002", FailureKind::Response, Spend, None, None),
    ("openai_overloaded", 503, &[("retry-after", "3")], "E3002", FailureKind::Response, Momentary, Some(3000), Some("server_is_overloaded")),
    ("openai_overloaded_by_code", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("overloaded")),
    ("openai_server_error_503", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("server_error")),
    ("openai_server_error", 500, &[], "E3001", FailureKind::Response, Momentary, None, Some("server_error")),
    ("openai_server_error_by_code", 503, &[], "E3001", FailureKind::Response, Momentary, None, Some("server_error")),
    ("openai_context_length", 400, &[], "E1005", ContextLength, Momentary, None, Some("context_length_exceeded")),
    ("openai_context_length_no_code", 400, &[], "E1005", ContextLength, Momentary, None, Some("invalid_request_error")),
    ("openai_invalid_key", 401, &[], "E1002", FailureKind::Response, Momentary, None, Some("invalid_api_key")),
    ("openai_invalid_key_400", 400, &[], "E1002", FailureKind::Response, Momentary, None, Some("invalid_api_key")),
    ("openai_unauthorized", 401, &[], "E1002", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("openai_unknown_url", 404, &[], "E1004", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("openai_model_not_found", 404, &[], "E1004", FailureKind::Response, Momentary, None, Some("model_not_found")),
    ("openai_content_policy", 400, &[], "E1001", ContentFilter, Momentary, None, Some("content_policy_violation")),
    ("openai_cyber_policy", 400, &[], "E1001", ContentFilter, Momentary, None, Some("cyber_policy")),
    ("openai_misalignment", 403, &[], "E1001", ContentFilter, Momentary, None, Some("misalignment_policy_violation")),
    ("openai_item_not_found", 404, &[], "E1004", FailureKind::Response, Momentary, None, Some("item_not_found")),
    ("azure_item_not_found", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("item_not_found")),
    ("openai_bad_parameter", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("openai_prompt_quotes_try_later", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_value")),
    ("azure_rate_limit", 429, &[], "E2001", FailureKind::Response, Momentary, Some(12_000), Some("429")),
    ("azure_rate_limit_ms", 429, &[("retry-after-ms", "80"), ("retry-after", "1")], "E2001", FailureKind::Response, Momentary, Some(80), Some("429")),
    ("azure_rate_limit_reset", 429, &[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "17"), ("x-ratelimit-remaining-requests", "-1"), ("x-ratelimit-reset-requests", "0")], "E2001", FailureKind::Response, Momentary, Some(17_000), Some("429")),
    ("azure_content_filter", 400, &[], "E1001", ContentFilter, Momentary, None, Some("content_filter")),
    ("azure_timeout", 408, &[], "E3003", FailureKind::Response, Momentary, None, Some("Timeout")),
    ("azure_unavailable", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("InternalServerError")),
    ("azure_deployment_not_found", 404, &[], "E1004", FailureKind::Response, Momentary, None, Some("DeploymentNotFound")),
    ("anthropic_rate_limit", 429, &[("retry-after", "7"), ("anthropic-ratelimit-input-tokens-remaining", "0"), ("anthropic-ratelimit-input-tokens-reset", "2026-11-05T12:01:00Z")], "E2001", FailureKind::Response, Momentary, Some(7000), Some("rate_limit_error")),
    ("anthropic_rate_limit_reset", 429, &[("anthropic-ratelimit-input-tokens-remaining", "0"), ("anthropic-ratelimit-input-tokens-reset", "2026-11-05T12:01:00Z"), ("anthropic-ratelimit-requests-remaining", "40"), ("anthropic-ratelimit-requests-reset", "2026-11-05T12:09:00Z")], "E2001", FailureKind::Response, Momentary, Some(60_000), Some("rate_limit_error")),
    ("anthropic_long_context", 429, &[], "E1005", ContextLength, Momentary, None, Some("rate_limit_error")),
    ("anthropic_weekly_limit", 429, &[("anthropic-ratelimit-unified-5h-status", "allowed"), ("anthropic-ratelimit-unified-5h-reset", "1793883600"), ("anthropic-ratelimit-unified-7d-status", "rejected"), ("anthropic-ratelimit-unified-7d-reset", "1793887200")], "E2001", FailureKind::Response, Daily, Some(7_200_000), Some("rate_limit_error")),
    ("anthropic_spend_limit", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("rate_limit_error")),
    ("anthropic_spend_limit_details", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("enforced_spend_limit_reached")),
    ("anthropic_overloaded", 529, &[], "E3002", FailureKind::Response, Momentary, None, Some("overloaded_error")),
    ("anthropic_api_error", 500, &[], "E3001", FailureKind::Response, Momentary, None, Some("api_error")),
    ("anthropic_api_error_503", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("api_error")),
    ("anthropic_timeout", 504, &[], "E3003", FailureKind::Response, Momentary, None, Some("timeout_error")),
    ("anthropic_prompt_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("invalid_request_error")),
    ("anthropic_request_too_large", 413, &[], "E1005", ContextLength, Momentary, None, Some("request_too_large")),
    ("anthropic_billing", 402, &[], "E2002", FailureKind::Response, Spend, None, Some("billing_error")),
    ("anthropic_low_credit", 400, &[], "E2002", FailureKind::Response, Spend, None, Some("invalid_request_error")),
    ("anthropic_usage_limit", 400, &[], "E2002", FailureKind::Response, Spend, Some(43_200_000), Some("invalid_request_error")),
    ("anthropic_extra_usage", 400, &[], "E2002", FailureKind::Response, Spend, None, Some("invalid_request_error")),
    ("anthropic_workspace_usage_limit", 400, &[], "E2002", FailureKind::Response, Spend, Some(86_400_000), Some("invalid_request_error")),
    ("anthropic_organization_disabled", 400, &[], "E1002", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("anthropic_authentication", 401, &[], "E1002", FailureKind::Response, Momentary, None, Some("authentication_error")),
    ("anthropic_permission", 403, &[], "E1003", FailureKind::Response, Momentary, None, Some("permission_error")),
    ("anthropic_not_found", 404, &[], "E1004", FailureKind::Response, Momentary, None, Some("not_found_error")),
    ("anthropic_conflict", 409, &[], "E4001", FailureKind::Response, Momentary, None, Some("conflict_error")),
    ("anthropic_output_filtered", 400, &[], "E1001", ContentFilter, Momentary, None, Some("invalid_request_error")),
    ("anthropic_invalid_request", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("gemini_per_minute", 429, &[], "E2001", FailureKind::Response, Momentary, Some(38_410), Some("RESOURCE_EXHAUSTED")),
    ("gemini_per_day", 429, &[], "E2002", FailureKind::Response, Daily, None, Some("RESOURCE_EXHAUSTED")),
    ("gemini_per_day_long_wait", 429, &[], "E2002", FailureKind::Response, Daily, Some(37_025_700), Some("RESOURCE_EXHAUSTED")),
    ("gemini_per_day_short_wait", 429, &[], "E2001", FailureKind::Response, Momentary, Some(2463), Some("RESOURCE_EXHAUSTED")),
    ("gemini_per_day_named_rate", 429, &[], "E2002", FailureKind::Response, Daily, None, Some("RATE_LIMIT_EXCEEDED")),
    ("gemini_quota_exhausted", 429, &[], "E2002", FailureKind::Response, Daily, None, Some("QUOTA_EXHAUSTED")),
    ("gemini_quota_exhausted_short_wait", 429, &[], "E2001", FailureKind::Response, Momentary, Some(3200), Some("QUOTA_EXHAUSTED")),
    ("gemini_zero_limit", 429, &[], "E2002", FailureKind::Response, Spend, Some(38_000), Some("RESOURCE_EXHAUSTED")),
    ("gemini_no_capacity", 429, &[], "E3002", FailureKind::Response, Momentary, Some(9000), Some("MODEL_CAPACITY_EXHAUSTED")),
    ("gemini_unavailable", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("UNAVAILABLE")),
    ("gemini_internal", 500, &[], "E3001", FailureKind::Response, Momentary, None, Some("INTERNAL")),
    ("gemini_deadline", 504, &[], "E3003", FailureKind::Response, Momentary, None, Some("DEADLINE_EXCEEDED")),
    ("gemini_cancelled", 499, &[], "E4002", FailureKind::Response, Momentary, None, Some("CANCELLED")),
    ("gemini_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("INVALID_ARGUMENT")),
    ("gemini_invalid_key", 400, &[], "E1002", FailureKind::Response, Momentary, None, Some("API_KEY_INVALID")),
    ("gemini_permission", 403, &[], "E1003", FailureKind::Response, Momentary, None, Some("PERMISSION_DENIED")),
    ("gemini_array", 429, &[], "E2001", FailureKind::Response, Momentary, Some(12_000), Some("RESOURCE_EXHAUSTED")),
    ("vertex_shared_quota", 429, &[], "E3002", FailureKind::Response, Momentary, None, Some("RESOURCE_EXHAUSTED")),
    ("vertex_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("INVALID_ARGUMENT")),
    ("vertex_per_minute", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("RESOURCE_EXHAUSTED")),
    ("bedrock_throttling", 429, &[("x-amzn-errortype", "ThrottlingException:http://internal.example.com/coral/")], "E2001", FailureKind::Response, Momentary, None, Some("ThrottlingException")),
    ("bedrock_throttling_by_type", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("ThrottlingException")),
    ("bedrock_throttling_400", 400, &[], "E2001", FailureKind::Response, Momentary, None, Some("ThrottlingException")),
    ("bedrock_per_day", 429, &[], "E2002", FailureKind::Response, Daily, None, Some("ThrottlingException")),
    ("bedrock_not_ready", 429, &[], "E3002", FailureKind::Response, Momentary, None, Some("ModelNotReadyException")),
    ("bedrock_model_timeout", 408, &[], "E3003", FailureKind::Response, Momentary, None, Some("ModelTimeoutException")),
    ("bedrock_model_error", 424, &[], "E3002", FailureKind::Response, Momentary, None, Some("ModelErrorException")),
    ("bedrock_service_quota", 400, &[], "E2002", FailureKind::Response, Daily, None, Some("ServiceQuotaExceededException")),
    ("bedrock_unavailable", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("ServiceUnavailableException")),
    ("bedrock_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("ValidationException")),
    ("bedrock_validation", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("ValidationException")),
    ("bedrock_expired_token", 403, &[], "E1002", FailureKind::Response, Momentary, None, Some("ExpiredTokenException")),
    ("bedrock_access_denied", 403, &[], "E1003", FailureKind::Response, Momentary, None, Some("AccessDeniedException")),
    ("mistral_rate_limit", 429, &[("retry-after", "4"), ("x-ratelimit-remaining-req-minute", "0")], "E2001", FailureKind::Response, Momentary, Some(4000), Some("rate_limited")),
    ("mistral_tier_capacity", 429, &[], "E3002", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("mistral_unauthorized", 401, &[], "E1002", FailureKind::Response, Momentary, None, None),
    ("mistral_validation", 422, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("groq_rate_limit", 429, &[("retry-after", "6")], "E2001", FailureKind::Response, Momentary, Some(6000), Some("rate_limit_exceeded")),
    ("groq_requests_per_day", 429, &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2h0m0s"), ("x-ratelimit-remaining-tokens", "5000"), ("x-ratelimit-reset-tokens", "7.66s")], "E2001", FailureKind::Response, Daily, Some(7_200_000), Some("rate_limit_exceeded")),
    ("groq_tokens_headers", 429, &[("x-ratelimit-remaining-requests", "900"), ("x-ratelimit-reset-requests", "2m59.56s"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "7.66s")], "E2001", FailureKind::Response, Momentary, Some(7660), Some("rate_limit_exceeded")),
    ("groq_capacity", 498, &[], "E3002", FailureKind::Response, Momentary, None, Some("capacity_exceeded")),
    ("groq_too_large", 413, &[], "E1005", ContextLength, Momentary, None, Some("rate_limit_exceeded")),
    ("groq_context_length", 400, &[], "E1005", ContextLength, Momentary, None, Some("context_length_exceeded")),
    ("groq_failed_dependency", 424, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("groq_cancelled", 499, &[], "E4002", FailureKind::Response, Momentary, None, Some("request_cancelled")),
    ("groq_tool_use_failed", 400, &[], "E3001", FailureKind::ModelOutput, Momentary, None, Some("tool_use_failed")),
    ("groq_json_validate_failed", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("json_validate_failed")),
    ("groq_json_cut_off", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("json_validate_failed")),
    ("groq_output_parse_failed", 400, &[], "E1001", FailureKind::Response, Momentary, None, Some("output_parse_failed")),
    ("groq_bare_string", 503, &[], "E3002", FailureKind::Response, Momentary, Some(20), None),
    ("groq_string_in_error", 429, &[], "E2001", FailureKind::Response, Momentary, Some(360_000), None),
    ("deepseek_balance", 402, &[], "E2002", FailureKind::Response, Spend, None, Some("invalid_request_error")),
    ("deepseek_authentication", 401, &[], "E1002", FailureKind::Response, Momentary, None, Some("authentication_error")),
    ("deepseek_unprocessable", 422, &[], "E1001", FailureKind::Response, Momentary, None, Some("invalid_request_error")),
    ("deepseek_rate_limit", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("rate_limit_reached")),
    ("deepseek_server_error", 500, &[], "E3001", FailureKind::Response, Momentary, None, Some("server_error")),
    ("deepseek_overloaded", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("service_unavailable_error")),
    ("deepseek_content_risk", 400, &[], "E1001", ContentFilter, Momentary, None, Some("invalid_request_error")),
    ("cohere_per_minute", 429, &[], "E2001", FailureKind::Response, Momentary, None, None),
    ("cohere_trial_minute", 429, &[], "E2001", FailureKind::Response, Momentary, None, None),
    ("cohere_trial_month", 429, &[], "E2002", FailureKind::Response, Daily, None, None),
    ("cohere_payment", 402, &[], "E2002", FailureKind::Response, Spend, None, None),
    ("cohere_too_many_tokens", 400, &[], "E1005", ContextLength, Momentary, None, None),
    ("together_rate_limit", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("rate_limit")),
    ("together_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("invalid_request_error")),
    ("together_capacity", 503, &[], "E3002", FailureKind::Response, Momentary, None, Some("service_unavailable")),
    ("openrouter_no_credit", 402, &[], "E2002", FailureKind::Response, Spend, None, Some("402")),
    ("openrouter_can_afford_less", 402, &[], "E2002", NotProcessed, Spend, None, Some("402")),
    ("openrouter_prompt_limit", 402, &[], "E2002", NotProcessed, Spend, None, Some("402")),
    ("openrouter_key_limit", 403, &[], "E2002", FailureKind::Response, Spend, None, Some("403")),
    ("openrouter_in_flight", 402, &[("retry-after", "2")], "E2001", FailureKind::Response, Momentary, Some(2000), Some("in_flight_budget_exhausted")),
    ("openrouter_in_flight_message", 402, &[], "E2001", FailureKind::Response, Momentary, None, Some("402")),
    ("openrouter_timeout", 408, &[], "E3003", FailureKind::Response, Momentary, None, Some("408")),
    ("openrouter_rate_limit", 429, &[], "E2001", FailureKind::Response, Momentary, Some(5000), Some("429")),
    ("openrouter_free_per_day", 429, &[], "E2002", FailureKind::Response, Daily, None, Some("429")),
    ("openrouter_free_per_minute", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("429")),
    ("openrouter_bad_gateway", 502, &[], "E3001", FailureKind::Response, Momentary, None, Some("502")),
    ("openrouter_no_provider", 503, &[("retry-after", "30")], "E3002", FailureKind::Response, Momentary, Some(30_000), Some("503")),
    ("openrouter_moderation", 403, &[], "E1001", ContentFilter, Momentary, None, Some("403")),
    ("openrouter_upstream_too_long", 400, &[], "E1005", ContextLength, Momentary, None, Some("400")),
    ("openrouter_number_more_specific", 500, &[], "E2001", FailureKind::Response, Momentary, None, Some("429")),
    ("cerebras_rate_limit", 429, &[("x-ratelimit-remaining-requests-day", "1400"), ("x-ratelimit-reset-requests-day", "33011.382867"), ("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-reset-tokens-minute", "11.382867")], "E2001", FailureKind::Response, Momentary, Some(11_382), Some("request_quota_exceeded")),
    ("cerebras_tokens", 429, &[("x-ratelimit-remaining-requests-day", "1400"), ("x-ratelimit-reset-requests-day", "33011.38"), ("x-ratelimit-remaining-tokens-minute", "13616"), ("x-ratelimit-reset-tokens-minute", "42.5")], "E2001", FailureKind::Response, Momentary, Some(42_500), Some("token_quota_exceeded")),
    ("xai_sentence_as_code", 403, &[], "E1003", FailureKind::Response, Momentary, None, None),
    ("xai_no_credits", 403, &[], "E2002", FailureKind::Response, Spend, None, None),
    ("xai_content", 403, &[], "E1001", ContentFilter, Momentary, None, Some("Forbidden")),
    ("other_array_of_strings", 429, &[], "E2001", FailureKind::Response, Momentary, None, None),
    // llama.cpp.
    ("other_batch_size_500", 500, &[], "E1005", ContextLength, Momentary, None, Some("server_error")),
    ("other_context_size_500", 500, &[], "E1005", ContextLength, Momentary, None, Some("server_error")),
    ("other_jinja_500", 500, &[], "E3001", FailureKind::ModelOutput, Momentary, None, Some("server_error")),
    // Ollama.
    ("other_tool_call_500", 500, &[], "E3001", FailureKind::ModelOutput, Momentary, None, None),
    // text-generation-inference.
    ("other_generation_failed", 424, &[], "E3001", FailureKind::Response, Momentary, None, Some("generation")),
    ("other_generation_incomplete", 424, &[], "E3001", FailureKind::Response, Momentary, None, Some("incomplete_generation")),
    ("other_tokens_limit", 413, &[], "E1005", ContextLength, Momentary, None, Some("tokens_limit_reached")),
    ("other_prompt_too_long_by_number", 400, &[], "E1005", ContextLength, Momentary, None, Some("1261")),
    // Novita.
    ("other_server_overload", 429, &[], "E3002", FailureKind::Response, Momentary, None, Some("server_overload")),
    // LiteLLM.
    ("other_budget_exceeded", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("budget_exceeded")),
    ("other_budget_exceeded_400", 400, &[], "E2002", FailureKind::Response, Spend, None, Some("budget_exceeded")),
    ("other_end_user_budget", 400, &[], "E2002", NotProcessed, Spend, None, Some("budget_exceeded")),
    // DashScope.
    ("other_token_limit_link", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("insufficient_quota")),
    ("other_allocation_quota", 429, &[], "E2001", FailureKind::Response, Momentary, None, Some("Throttling.AllocationQuota")),
    ("other_free_allocation_quota", 429, &[], "E2002", FailureKind::Response, Spend, None, Some("Throttling.AllocationQuota")),
    ("other_data_inspection", 400, &[], "E1001", ContentFilter, Momentary, None, Some("DataInspectionFailed")),
    ("other_no_error_at_all", 500, &[], "E3001", FailureKind::Response, Momentary, None, None),
    ("other_quota_403", 403, &[], "E2002", FailureKind::Response, Spend, None, None),
];

fn now() -> SystemTime {
    httpdate::parse_http_date("Thu, 05 Nov 2026 12:00:00 GMT").unwrap()
}

fn body(fixture: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture).with_extension("json");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{fixture}: {error}"))
}

fn head(status: u16, headers: &[(&'static str, &str)]) -> Parts {
    let mut head = Response::builder().status(status).body(()).unwrap().into_parts().0;
    let pairs = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    head.headers = pairs.collect::<HeaderMap>();
    head
}

fn provider(fixture: &str) -> Provider {
    Provider::named(fixture.split('_').next().unwrap())
}

fn classify(provider: Provider, head: &Parts, body: &[u8]) -> Failure {
    let classifier = ProviderClassifier::new(provider);
    assert!(classifier.needs_body(head));
    match classifier.classify(head, body, now()) {
        Outcome::Failure(failure) => failure,
        other => panic!("{} is {other:?}", head.status),
    }
}

/// The failure of a body without headers, for an unnamed provider.
fn classify_plain(status: u16, body: &str) -> Failure {
    classify(Provider::Other, &head(status, &[]), body.as_bytes())
}

#[test]
fn every_reply_is_classified_as_in_the_table() {
    for &(fixture, status, headers, code, cause, scope, wait, provider_code) in REPLIES {
        let failure = classify(provider(fixture), &head(status, headers), &body(fixture));
        let got_wait = failure.wait().map(|wait| wait.as_millis());
        let got_scope = failure.retry_hint.map(|hint| hint.scope).unwrap_or_default();
        let got = (failure.code.code(), failure.kind, got_scope, got_wait, failure.provider_code.as_deref());
        assert_eq!(got, (code, cause, scope, wait, provider_code), "{fixture}");
    }
}

#[test]
fn a_limit_of_tokens_is_recognised_by_its_code_or_its_sentence() {
    let headers =
        [("x-ratelimit-remaining-tokens-minute", "13616"), ("x-ratelimit-reset-tokens-minute", "42.5")];
    for (error, wait) in [
        (r#"{"type":"tokens","message":"x"}"#, Some(42_500)),
        (r#"{"code":"token_quota_exceeded","message":"x"}"#, Some(42_500)),
        (r#"{"message":"Limit of tokens per minute exceeded"}"#, Some(42_500)),
        (r#"{"message":"Token rate limit exceeded"}"#, Some(42_500)),
        (r#"{"type":"requests","message":"x"}"#, None),
        (r#"{"message":"Request rate limit exceeded"}"#, None),
    ] {
        let body = format!(r#"{{"error":{error}}}"#);
        let failure = classify(Provider::Other, &head(429, &headers), body.as_bytes());
        assert_eq!(failure.wait().map(|wait| wait.as_millis()), wait, "{error}");
    }
}

#[test]
fn every_fixture_is_in_the_table_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let there: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(name).filter(|name| name != "streams").collect();
    let listed: BTreeSet<String> = REPLIES.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(there, listed);
    assert_eq!(listed.len(), REPLIES.len());
}

/// Naming the provider is optional: the classification is the same where the body is not ambiguous.
#[test]
fn the_default_classifies_like_the_named_provider() {
    const NEEDS_A_NAME: [&str; 2] = ["azure_rate_limit", "groq_requests_per_day"];
    for &(fixture, status, headers, ..) in REPLIES {
        let (head, body) = (head(status, headers), body(fixture));
        let (named, default) =
            (classify(provider(fixture), &head, &body), classify(Provider::Other, &head, &body));
        assert_eq!(named == default, !NEEDS_A_NAME.contains(&fixture), "{fixture}: {named:?} {default:?}");
    }
}

// Pitfall P24 (docs/pitfalls.md).
#[test]
fn no_exhausted_quota_is_retried_and_no_short_wait_is_taken_for_a_daily_limit() {
    for &(fixture, status, headers, code, _, scope, ..) in REPLIES {
        let failure = classify(provider(fixture), &head(status, headers), &body(fixture));
        if code == "E2002" {
            assert!(!failure.code.is_retryable() && failure.retry_hint.unwrap().forbids_retry(), "{fixture}");
        }
        if fixture.ends_with("_short_wait") {
            assert!(failure.code.is_retryable() && scope == Momentary, "{fixture}");
        }
    }
}

// Pitfall P26 (docs/pitfalls.md).
/// A prompt that was too long, or a limit, once marked the account as bad and moved the breaker.
#[test]
fn errors_of_the_caller_do_not_count_against_health() {
    for &(fixture, status, headers, _, cause, ..) in REPLIES {
        let failure = classify(provider(fixture), &head(status, headers), &body(fixture));
        if cause != FailureKind::Response
            || matches!(failure.code, ErrorCode::RateLimited | ErrorCode::QuotaExhausted)
        {
            assert!(!failure.counts_against_health(), "{fixture}");
        }
    }
}

/// Regression: DashScope's limit of a minute was an exhausted quota if the request was for a stream.
#[test]
fn an_error_in_the_framing_of_events_is_classified_as_without_it() {
    for &(fixture, status, headers, ..) in REPLIES {
        let (head, document) = (head(status, headers), body(fixture));
        let document: Vec<u8> = document.into_iter().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
        if document.first() != Some(&b'{') {
            continue;
        }
        let expected = classify(provider(fixture), &head, &document);
        for (before, after) in [
            ("data: ", ""),
            ("data:", "\n\n"),
            ("event: error\r\ndata: ", "\r\n\r\n"),
            ("id:1\nevent:error\n:HTTP_STATUS/429\ndata:", "\n\n"),
            (": waiting\n\nevent: error\ndata: ", "\n\ndata: [DONE]\n\n"),
        ] {
            let framed = [before.as_bytes(), &document, after.as_bytes()].concat();
            let failure = classify(provider(fixture), &head, &framed);
            assert_eq!(failure, expected, "{fixture} after {before:?}");
        }
    }
}

// Pitfall P13 (docs/pitfalls.md).
#[test]
fn the_body_is_read_and_not_the_status_alone() {
    let code = |status, body| classify_plain(status, body).code.code();
    assert_eq!(code(429, r#"{"error":{"code":"rate_limit_exceeded"}}"#), "E2001");
    assert_eq!(code(429, r#"{"error":{"code":"insufficient_quota"}}"#), "E2002");
    assert_eq!(code(429, r#"{"error":{"code":"server_is_overloaded"}}"#), "E3002");
    assert_eq!(code(503, "no room"), "E3002");
    assert!(classify_plain(503, "").code.counts_against_health());
}

// Pitfall P32 (docs/pitfalls.md).
#[test]
fn a_wait_in_the_message_has_its_unit_and_its_bound() {
    let wait = |text: &str| classify_plain(429, &format!(r#"{{"error":"Try again in {text}."}}"#)).wait();
    assert_eq!(wait("1m"), Some(Duration::from_secs(60)));
    assert_eq!(wait("20ms"), Some(Duration::from_millis(20)));
    assert_eq!(wait("99999999999999999999h"), Some(RetryHint::MAX_WAIT));
    for nonsense in ["-5s", "NaN seconds", "inf", "1e9 seconds", "12", "a while"] {
        assert_eq!(wait(nonsense), None, "{nonsense}");
    }
}

#[test]
fn the_status_decides_where_the_body_has_no_code() {
    let deep = format!("{}1{}", r#"{"error":["#.repeat(10_000), "]}".repeat(10_000));
    let bodies = [
        "",
        "  ",
        "null",
        "0",
        "{}",
        "[]",
        "<html><h1>502 quota plan</h1></html>",
        r#"{"error":{"message":"cut o"#,
        r#"{"error":{"code":{"insufficient_quota":1},"type":7}}"#,
        "\u{feff}{}",
        &deep,
    ];
    for body in bodies {
        for status in (400..1000).map(|status| StatusCode::from_u16(status).unwrap()) {
            let failure = classify_plain(status.as_u16(), body);
            assert_eq!(Some(failure.code), ErrorCode::from_status(status), "{status} {body:.40}");
            // A server that does not answer over this connection, or not yet.
            let kind = match status.as_u16() {
                421 | 425 => FailureKind::NotProcessed,
                _ => FailureKind::Response,
            };
            assert_eq!((failure.kind, failure.provider_code), (kind, None), "{status} {body:.40}");
        }
    }
    let failure =
        classify(Provider::Other, &head(429, &[]), b"\xff\xfe{\"error\":{\"code\":\"insufficient_quota\"}}");
    assert_eq!(failure.code, ErrorCode::RateLimited);
}

/// Some providers send `invalid_request_error` as the code of every error, including their own failures.
#[test]
fn a_vague_code_overrides_no_status_that_is_more_specific() {
    for status in (401..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
        for body in [
            r#"{"error":{"code":"invalid_request_error"}}"#,
            r#"{"error":{"type":"invalid_request_error"}}"#,
            r#"{"error":{"type":"server_error"}}"#,
        ] {
            let failure = classify_plain(status.as_u16(), body);
            assert_eq!(Some(failure.code), ErrorCode::from_status(status), "{status} {body}");
        }
    }
}

/// Together sends 403 for a prompt that does not fit the model.
#[test]
fn a_prompt_that_is_too_long_is_recognised_beside_403() {
    let message = "The input (9000 tokens) is longer than the model's context length (8192 tokens).";
    let failure = classify_plain(403, &format!(r#"{{"error":{{"message":"{message}"}}}}"#));
    assert_eq!((failure.code.code(), failure.kind), ("E1005", ContextLength));
}

/// Regression: llama.cpp sends 500 for it. The text was sent again, and two of them closed the server to all.
#[test]
fn a_prompt_that_is_too_long_is_recognised_beside_500() {
    for (message, code) in [
        ("input is too large to process. increase the physical batch size", "E1005"),
        ("decoding exceeds the available context size", "E1005"),
        ("slot unavailable", "E3001"),
        // Bedrock's limits, sent by a server in front of it.
        ("litellm.InternalServerError: Too many tokens, please wait before trying again.", "E3001"),
        ("Too many tokens per minute", "E3001"),
        ("context deadline exceeded", "E3001"),
        ("the image is too large to process", "E3001"),
    ] {
        for error in [
            format!(r#"{{"error":{{"code":500,"message":"{message}","type":"server_error"}}}}"#),
            format!(r#"{{"error":"{message}"}}"#),
        ] {
            assert_eq!(classify_plain(500, &error).code.code(), code, "{error}");
            let in_band = ProviderClassifier::default().failure_in(error.as_bytes()).unwrap();
            assert_eq!(in_band.code.code(), code, "{error}");
            assert_eq!(in_band.counts_against_health(), code == "E3001", "{error}");
        }
    }
}

/// Regression: a history that a template refuses, sent again by its client, closed the server to all.
#[test]
fn what_a_local_server_cannot_parse_or_render_does_not_count_against_health() {
    use FailureKind::{ModelOutput, Response};

    for (message, kind) in [
        ("error parsing tool call: raw='{', err=unexpected end of JSON input, prompt too long", ModelOutput),
        ("Failed to parse input at pos 184: <tool_call>", ModelOutput),
        ("Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]", ModelOutput),
        (
            "While executing CallExpression at line 85: Error: Jinja Exception: No user query found",
            ModelOutput,
        ),
        ("Error rendering prompt with jinja template: No user query found in messages.", ModelOutput),
        ("failed to parse the model file", Response),
        ("the tool said: error parsing tool call", Response),
    ] {
        for error in [
            format!(r#"{{"error":{{"code":500,"message":"{message}","type":"server_error"}}}}"#),
            format!(r#"{{"error":"{message}"}}"#),
        ] {
            let in_band = ProviderClassifier::default().failure_in(error.as_bytes()).unwrap();
            for failure in [classify_plain(500, &error), in_band] {
                assert_eq!((failure.code.code(), failure.kind), ("E3001", kind), "{error}");
            }
            assert_eq!(classify_plain(503, &error).kind, Response, "{error}");
        }
    }
}

/// xAI has no code for it, and no status of its own.
#[test]
fn a_wrong_key_is_recognised_by_the_sentence_of_xai() {
    let sentence =
        "Incorrect API key provided: xa***YA. You can obtain an API key from https://console.x.ai.";
    for (status, message, code) in [
        (400, sentence.to_owned(), "E1002"),
        (400, format!("'{sentence}' is no role"), "E1001"),
        (400, format!("{sentence} is no role"), "E1001"),
        (400, sentence.replace("xa***YA", "no role"), "E1001"),
        (404, sentence.to_owned(), "E1004"),
    ] {
        let body = format!(r#"{{"code":"Client specified an invalid argument","error":"{message}"}}"#);
        assert_eq!(classify_plain(status, &body).code.code(), code, "{status} {message}");
    }
}

/// A known sentence is one that a provider sends alone, so that it quotes nothing.
#[test]
fn an_exhausted_credit_without_a_code_is_recognised_by_its_whole_sentence() {
    let low = "Your credit balance is too low to access the Claude API. Please go to Plans & Billing to upgrade or \
               purchase credits.";
    let reached = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
    let adjust = "You have reached your specified API usage limits. To continue, please adjust your limits.";
    let extra = "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.";
    let third = "Third-party apps now draw from your extra usage, not your plan limits. Add more at claude.ai/settings/usage \
                 and keep going.";
    let free = r#"The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the \"use free tier only\" mode in the management console."#;
    let disabled = "This organization has been disabled.";
    let used = "Your team 12 has either used all available credits or reached its monthly spending limit.";
    for (status, message, code) in [
        (400, low, "E2002"),
        (400, "Insufficient Balance", "E2002"),
        (400, "Insufficient balance is no role", "E1001"),
        (400, reached, "E2002"),
        (403, reached, "E2002"),
        (429, reached, "E2002"),
        (400, &format!("messages.0.role: '{reached}' is no role"), "E1001"),
        (400, &format!("{disabled} is no role"), "E1001"),
        (400, disabled, "E1002"),
        (400, used, "E1001"),
        (403, used, "E2002"),
        (429, used, "E2002"),
        (402, "anything", "E2002"),
        (403, "Your quota is used up, and you can't go on", "E2002"),
        (412, "The account x is suspended, possibly due to reaching the monthly spending limit", "E2002"),
        (400, adjust, "E2002"),
        (400, &adjust.replace("specified", "specified workspace"), "E2002"),
        (400, &format!("messages.0.role: '{adjust}' is no role"), "E1001"),
        (400, extra, "E2002"),
        (400, &extra.replace("settings", "admin-settings"), "E2002"),
        (400, &format!("{extra} is no role"), "E1001"),
        (400, third, "E2002"),
        (400, &third.replace("Add more", "We've added a $20 credit to get you started. Claim it"), "E2002"),
        (
            400,
            "You have insufficient credits to make this request. Please purchase more credits to continue using the service.",
            "E2002",
        ),
        (403, free, "E2002"),
        (
            403,
            "The selected model requires paid balance. Your paid balance is insufficient. Please top up and try again.",
            "E2002",
        ),
        (403, "Sorry, your account balance is insufficient", "E2002"),
        (
            403,
            "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
            "E2002",
        ),
        (
            403,
            "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys",
            "E2002",
        ),
        (403, "Key limit exceeded. Manage it using https://openrouter.ai/keys", "E2002"),
        (
            403,
            "Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/1.",
            "E2002",
        ),
        (403, "This key has no access to the model `any credits`", "E1003"),
        (
            429,
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.",
            "E2002",
        ),
        (500, "insufficient balance (1008)", "E2002"),
        (500, "insufficient balance of the tool", "E3001"),
    ] {
        assert_eq!(
            classify_plain(status, &format!(r#"{{"error":{{"message":"{message}"}}}}"#)).code.code(),
            code,
            "{status} {message}"
        );
    }
    let in_band = format!(r#"{{"error":{{"message":"{low}","type":"invalid_request_error"}}}}"#);
    let failure = ProviderClassifier::default().failure_in(in_band.as_bytes()).unwrap();
    assert_eq!(failure.code, ErrorCode::QuotaExhausted);
}

/// Regression: a chain ended at a budget with status 400, and one with 429 was retried by every call.
#[test]
fn a_budget_of_litellm_is_the_credit_of_the_account_unless_it_is_that_of_one_user() {
    for (message, kind) in [
        ("Budget has been exceeded! Current cost: 10.51, Max budget: 10.00", FailureKind::Response),
        ("Budget has been exceeded! Team=t1 Current cost: 70.004, Max budget: 70.0", FailureKind::Response),
        ("ExceededBudget: User=u1 over budget. Spend=12.0, Budget=10.0", FailureKind::Response),
        ("LiteLLM Virtual Key: tok, key_alias: ka, exceeded budget for model=gpt-4o", FailureKind::Response),
        ("ExceededBudget: End User=e1 over budget. Spend=3.0, Budget=2.0", NotProcessed),
        ("LiteLLM End User: e1, exceeded budget for model=gpt-4o", NotProcessed),
    ] {
        for status in [400, 429] {
            let error = format!(
                r#"{{"error":{{"message":"{message}","type":"budget_exceeded","code":"{status}"}}}}"#
            );
            let failure = classify_plain(status, &error);
            assert_eq!((failure.code.code(), failure.kind), ("E2002", kind), "{error}");
        }
    }
}

/// Regression: its limit of tokens per minute closed the provider to all callers.
#[test]
fn the_limits_of_dashscope_are_distinguished() {
    let free = "Free allocated quota exceeded.";
    let link = "see: https://www.alibabacloud.com/help/en/model-studio/error-code#token-limit";
    let current = "You exceeded your current quota, please check your plan and billing details";
    for (status, provider_code, message, code) in [
        (429, "insufficient_quota", format!("{current}. For details, {link}"), "E2001"),
        (429, "insufficient_quota", format!("{current}."), "E2002"),
        (429, "insufficient_quota", free.to_owned(), "E2002"),
        (429, "insufficient_quota", format!("{free} For details, {link}"), "E2002"),
        (429, "RequestLimitTriggered", format!("Allocated quota exceeded, {link}"), "E2001"),
        (429, "Throttling", "Requests throttling triggered.".to_owned(), "E2001"),
        (429, "Throttling.RateQuota", "Requests rate limit exceeded, check your quota.".to_owned(), "E2001"),
        (429, "Throttling.BurstRate", "Request rate increased too quickly.".to_owned(), "E2001"),
        (429, "Throttling.AllocationQuota", "Allocated quota exceeded.".to_owned(), "E2001"),
        (429, "Throttling.AllocationQuota", free.to_owned(), "E2002"),
        (429, "LimitRequests", "You exceeded your current quota of requests.".to_owned(), "E2001"),
        (429, "limit_requests", "You exceeded your current quota of requests.".to_owned(), "E2001"),
        (429, "limit_burst_rate", "Request rate increased too quickly for your quota.".to_owned(), "E2001"),
        (429, "CommodityNotPurchased", "Commodity has not purchased yet.".to_owned(), "E2002"),
        (429, "PrepaidBillOverdue", "The prepaid bill is overdue.".to_owned(), "E2002"),
        (429, "PostpaidBillOverdue", "The postpaid bill is overdue.".to_owned(), "E2002"),
    ] {
        for error in [
            format!(
                r#"{{"error":{{"code":"{provider_code}","type":"{provider_code}","message":"{message}"}}}}"#
            ),
            format!(r#"{{"code":"{provider_code}","message":"{message}"}}"#),
        ] {
            assert_eq!(classify_plain(status, &error).code.code(), code, "{error}");
        }
    }
}

/// Regression: a limit of five hours was retried by every call, and counted against the provider in a stream.
#[test]
fn the_limit_of_a_plan_is_no_limit_of_a_minute() {
    let glm = "Usage limit reached for 5 hour. Your limit will reset at 2026-09-09 05:38:28";
    let chinese = "已达到 5 小时的使用上限。您的限额将在 2026-09-09 05:38:28 重置";
    let chatgpt = "The usage limit has been reached";
    let ark = "You have exceeded the 5-hour usage quota. It will reset at 2026-09-09 05:38:28 +0800 CST.";
    for (error, code) in [
        (format!(r#"{{"code":"1308","message":"{glm}"}}"#), "E2002"),
        (format!(r#"{{"code":"1308","message":"{chinese}"}}"#), "E2002"),
        (format!(r#"{{"type":"rate_limit_error","code":"1310","message":"{chinese}"}}"#), "E2002"),
        (r#"{"code":"1321","message":"x"}"#.to_owned(), "E2002"),
        (r#"{"code":"1302","message":"High concurrency usage of this API"}"#.to_owned(), "E2001"),
        (r#"{"code":"1305","message":"The service may be temporarily overloaded"}"#.to_owned(), "E3002"),
        (
            format!(r#"{{"code":"usage_limit_reached","message":"{chatgpt}","resets_in_seconds":9000}}"#),
            "E2002",
        ),
        (format!(r#"{{"type":"usage_limit_reached","message":"{chatgpt}","plan_type":"pro"}}"#), "E2002"),
        (
            format!(r#"{{"type":"usage_limit_reached","message":"{chatgpt}","resets_in_seconds":60}}"#),
            "E2001",
        ),
        (format!(r#"{{"code":"QuotaExceeded","message":"{ark}","type":"TooManyRequests"}}"#), "E2002"),
    ] {
        let body =
            format!(r#"{{"type":"response.failed","response":{{"status":"failed","error":{error}}}}}"#);
        let in_band = ProviderClassifier::default().failure_in(body.as_bytes()).unwrap();
        for failure in [classify_plain(429, &format!(r#"{{"error":{error}}}"#)), in_band] {
            assert_eq!(failure.code.code(), code, "{error}");
            assert_eq!(
                failure.retry_hint.is_some_and(|hint| hint.scope == Daily),
                code == "E2002",
                "{error}"
            );
        }
    }
}

/// Regression: five prompts that a filter refused in a stream opened the circuit for all callers.
#[test]
fn the_filters_of_every_provider_are_known_in_a_stream_as_well() {
    let limited = "Invalid prompt: we've limited access to this content for safety reasons.";
    let sensitive =
        "input new_sensitive, messages[13]'s content[2] image is sensitive, please check your input (1026)";
    for (status, error) in [
        (500, format!(r#"{{"type":"api_error","message":"{sensitive}"}}"#)),
        (400, r#"{"message":"<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content."}"#.to_owned()),
        (400, format!(r#"{{"code":"invalid_prompt","message":"{limited}"}}"#)),
        (400, r#"{"code":"1301","message":"系统检测到输入或生成内容可能包含不安全或敏感内容"}"#.to_owned()),
        (400, r#"{"code":"sensitive_words_detected","type":"new_api_error","message":"input contains sensitive words: [test]"}"#.to_owned()),
        (400, r#"{"code":"OutputTextSensitiveContentDetected","message":"x","type":"BadRequest"}"#.to_owned()),
        (400, r#"{"code":"InputImageSensitiveContentDetected.PrivacyInformation","message":"x"}"#.to_owned()),
        (400, r#"{"code":"InputTextRiskDetection","message":"x"}"#.to_owned()),
    ] {
        let body = format!(r#"{{"error":{error}}}"#);
        let in_band = ProviderClassifier::default().failure_in(body.as_bytes()).unwrap();
        for failure in [classify_plain(status, &body), in_band] {
            assert_eq!((failure.code.code(), failure.kind), ("E1001", ContentFilter), "{error}");
        }
    }
}

/// The message may be in any language, and need not mention money.
#[test]
fn an_exhausted_credit_is_recognised_by_its_code() {
    for (status, body) in [
        (
            403,
            r#"{"error":{"message":"用户额度不足","type":"new_api_error","code":"insufficient_user_quota"}}"#,
        ),
        (
            403,
            r#"{"error":{"message":"令牌额度不足","type":"one_api_error","code":"pre_consume_token_quota_failed"}}"#,
        ),
        (
            403,
            r#"{"error":{"code":"AccountOverdueError","message":"The request failed","type":"Forbidden"}}"#,
        ),
        (
            400,
            r#"{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."}"#,
        ),
        (403, r#"{"error":{"code":"AllocationQuota.FreeTierOnly","message":"x"}}"#),
        (429, r#"{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}"#),
        (429, r#"{"type":"error","error":{"type":"rate_limit_error","code":"1113","message":"x"}}"#),
        (429, r#"{"error":{"http_code":"429","message":"x","type":"insufficient_balance_error"}}"#),
        (500, r#"{"type":"error","error":{"type":"api_error","message":"insufficient balance (1008)"}}"#),
    ] {
        let failure = classify_plain(status, body);
        assert_eq!(
            (failure.code.code(), failure.retry_hint.map(|hint| hint.scope)),
            ("E2002", Some(Spend)),
            "{body}"
        );
    }
}

#[test]
fn phrases_are_matched_by_whole_words() {
    let code = |text: &str| classify_plain(429, &format!(r#"{{"message":"{text}"}}"#)).code.code();
    assert_eq!(code("an explanation follows"), "E2001");
    assert_eq!(code("quotation marks are missing"), "E2001");
    assert_eq!(code("too fast; see https://example.com/billing/plan"), "E2001");
    assert_eq!(code("nothing is left of your PLAN"), "E2002");
}

#[test]
fn below_400_no_body_is_needed_and_only_that_of_a_2xx_may_be_an_error() {
    for (status, expected) in [(100, None), (200, Some("E2001")), (204, None), (302, None), (399, None)] {
        let (classifier, head) = (ProviderClassifier::default(), head(status, &[("retry-after", "5")]));
        assert!(!classifier.needs_body(&head));
        assert_eq!(classifier.classify(&head, b"", now()), Outcome::Success);
        assert_eq!(classifier.classify(&head, br#"{"choices":[]}"#, now()), Outcome::Success);
        let body: &[u8] = if status == 204 { b"" } else { br#"{"error":{"code":429}}"# };
        let outcome = classifier.classify(&head, body, now());
        let failure = outcome.failure().map(|failure| (failure.code.code(), failure.wait()));
        assert_eq!(failure, expected.map(|code| (code, Some(Duration::from_secs(5)))), "{status}");
    }
}

#[test]
fn no_recorded_answer_contains_a_failure() {
    let mut seen = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams")).unwrap() {
        let path = file.unwrap().path();
        if !path.to_str().unwrap().ends_with("plain.sse") {
            continue;
        }
        let stream = std::fs::read(&path).unwrap();
        if let Some(answer) = ProviderClassifier::default().events_to_document(&stream) {
            assert_eq!(ProviderClassifier::default().failure_in(&answer), None, "{path:?}");
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen}");
}

/// A server that sends status 200 before an error does so before any error.
#[test]
fn every_recorded_error_is_detected_by_the_probe() {
    let mut head = head(200, &[]);
    head.headers.insert("content-type", "application/json".parse().unwrap());
    let classifier = ProviderClassifier::default();
    assert_eq!(classifier.probe_body(&head, b""), BodyProbe::Unclear);
    let (mut named, mut seen) = (0, 0);
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")).unwrap() {
        let path = file.unwrap().path();
        let Ok(body) = std::fs::read(&path) else { continue };
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&body) else { continue };
        seen += 1;
        // Some bodies contain only `message`, or are a string, and so may a successful response.
        let json = json.get(0).unwrap_or(&json);
        let is_named =
            json.get("error").is_some() || json.get("object").is_some_and(|object| object == "error");
        named += u32::from(is_named);
        assert_eq!(classifier.probe_body(&head, &body) == BodyProbe::Error, is_named, "{path:?}");
    }
    assert!(named > 70 && seen > 90, "{named} of {seen}");
}

#[test]
fn an_error_without_a_status_is_classified_by_its_body() {
    let code = |body: &str| {
        ProviderClassifier::default().failure_in(body.as_bytes()).map(|failure| failure.code.code())
    };
    for (body, expected) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "E3002"),
        (r#"{"error":{"message":"it broke","type":"server_error","code":null}}"#, "E3001"),
        (r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}"#, "E2001"),
        (r#"{"type":"error","code":"insufficient_quota","message":"empty","sequence_number":3}"#, "E2002"),
        (r#"{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}"#, "E2001"),
        (r#"{"error":{"code":502,"message":"upstream"},"choices":[{"finish_reason":"error"}]}"#, "E3001"),
        (r#"{"error":{"type":"invalid_request_error","message":"prompt is too long"}}"#, "E1005"),
        (r#"{"error":{"type":"invalid_request_error","message":"no"}}"#, "E1001"),
        (r#"{"error":"something"}"#, "E3001"),
        (r#"{"object":"error","message":{"detail":[{"msg":"no"}]},"type":"invalid_request_error"}"#, "E1001"),
        (r#"{"choices":[{"error":{"code":429}}]}"#, "E2001"),
        (r#"{"error":{}}"#, "E3001"),
    ] {
        assert_eq!(code(body), Some(expected), "{body}");
    }
    for body in [
        r#"{"choices":[{"delta":{"content":"error"}}]}"#,
        r#"{"choices":[{"message":{"role":"assistant","content":"Ebb."},"finish_reason":"stop"}]}"#,
        r#"{"message":{"role":"assistant","content":[{"type":"text","text":"Ebb."}]},"finish_reason":"COMPLETE"}"#,
        r#"{"error":"","message":{"content":"Ebb."}}"#,
        r#"{"error":" "}"#,
        r#"{"id":"resp_1","error":null,"status":"completed"}"#,
        r#"{"type":"content_block_delta","delta":{"text":"{\"error\":1}"}}"#,
        "[DONE]",
        "",
    ] {
        assert_eq!(code(body), None, "{body}");
    }
}

/// Regression: a failure for an image or a prompt of the caller was retried, and counted against the provider.
#[test]
fn every_code_of_a_failed_response_is_known() {
    let message = "The image could not be processed.";
    let flagged = "Invalid prompt: your prompt was flagged as potentially violating our usage policy.";
    let cyber = "This content was flagged for possible cybersecurity risk.";
    for (provider_code, message, code, kind) in [
        ("server_error", message, "E3001", FailureKind::Response),
        ("rate_limit_exceeded", message, "E2001", FailureKind::Response),
        ("vector_store_timeout", message, "E3003", FailureKind::Response),
        ("invalid_prompt", message, "E1001", FailureKind::Response),
        ("invalid_prompt", flagged, "E1001", ContentFilter),
        ("invalid_prompt", "Your input exceeds the context window of this model.", "E1005", ContextLength),
        ("cyber_policy", cyber, "E1001", ContentFilter),
        ("bio_policy", message, "E1001", ContentFilter),
        ("misalignment_policy_violation", message, "E1001", ContentFilter),
        ("image_content_policy_violation", message, "E1001", ContentFilter),
        ("data_residency_mismatch", message, "E1001", FailureKind::Response),
        ("invalid_image", message, "E1001", FailureKind::Response),
        ("invalid_image_format", message, "E1001", FailureKind::Response),
        ("invalid_base64_image", message, "E1001", FailureKind::Response),
        ("invalid_image_url", message, "E1001", FailureKind::Response),
        ("image_too_large", message, "E1001", FailureKind::Response),
        ("image_too_small", message, "E1001", FailureKind::Response),
        ("image_parse_error", message, "E1001", FailureKind::Response),
        ("invalid_image_mode", message, "E1001", FailureKind::Response),
        ("image_file_too_large", message, "E1001", FailureKind::Response),
        ("unsupported_image_media_type", message, "E1001", FailureKind::Response),
        ("empty_image_file", message, "E1001", FailureKind::Response),
        ("failed_to_download_image", message, "E1001", FailureKind::Response),
        ("image_file_not_found", message, "E1001", FailureKind::Response),
    ] {
        let error = format!(r#"{{"code":"{provider_code}","message":"{message}"}}"#);
        for body in [
            format!(r#"{{"type":"response.failed","response":{{"status":"failed","error":{error}}}}}"#),
            format!(r#"{{"status":"failed","error":{error}}}"#),
            format!(r#"{{"type":"error","code":"{provider_code}","message":"{message}","param":null}}"#),
        ] {
            let failure = ProviderClassifier::default().failure_in(body.as_bytes()).unwrap();
            assert_eq!((failure.code.code(), failure.kind), (code, kind), "{body}");
            assert_eq!(failure.provider_code.as_deref(), Some(provider_code));
        }
    }
}

#[test]
fn only_a_plain_code_of_the_provider_is_passed_on() {
    let provider_code =
        |code: &str| classify_plain(400, &format!(r#"{{"error":{{"code":"{code}"}}}}"#)).provider_code;
    assert_eq!(provider_code("some_code-1.2").as_deref(), Some("some_code-1.2"));
    assert_eq!(provider_code(&"x".repeat(64)).map(|provider_code| provider_code.len()), Some(64));
    let too_long = "x".repeat(65);
    for odd in ["", "two words", "é", "line\\nbreak", "<b>", "key=1", &too_long] {
        assert_eq!(provider_code(odd), None, "{odd}");
    }
}

// Pitfall P24 (docs/pitfalls.md).
/// A gateway that adds `retry-after: 0` to every 429 made a daily limit look like a short one.
#[test]
fn a_wait_of_zero_makes_no_limit_short() {
    let failure = classify(Provider::Gemini, &head(429, &[("retry-after", "0")]), &body("gemini_per_day"));
    assert_eq!(failure.code, ErrorCode::QuotaExhausted);
    let headers =
        [("retry-after", "0"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "3s")];
    let failure = classify(Provider::OpenAi, &head(429, &headers), b"");
    assert_eq!(failure.wait(), Some(Duration::from_secs(3)));
}

#[test]
fn should_retry_is_kept_for_every_source_of_the_wait() {
    let headers = [("x-should-retry", "false")];
    let failure = classify(Provider::OpenAi, &head(429, &headers), &body("openai_rate_limit"));
    let hint = failure.retry_hint.unwrap();
    assert_eq!((hint.should_retry, hint.wait), (Some(false), Some(Duration::from_millis(5_289))));
}

/// A truncated body gives the code of the complete body, or that of its status or headers; never another one.
#[test]
fn a_truncated_reply_gets_the_code_of_the_whole_or_of_its_status() {
    for &(fixture, status, headers, code, ..) in REPLIES {
        let (head, body) = (head(status, headers), body(fixture));
        let plain = ErrorCode::from_status(head.status).unwrap().code();
        // Without its body, a reply may still have a more specific header.
        let bare = classify(provider(fixture), &head, b"").code.code();
        for end in 0..body.len() {
            let got = classify(provider(fixture), &head, &body[..end]).code.code();
            assert!(got == code || got == plain || got == bare, "{fixture} cut at {end}: {got}");
        }
    }
}

fn any_provider() -> impl Strategy<Value = Provider> {
    let names = ["openai", "azure", "anthropic", "gemini", "bedrock", "groq", "openrouter", "cerebras", ""];
    prop::sample::select(names.to_vec()).prop_map(Provider::named)
}

/// Text of a caller that reads like the message of a provider.
fn any_quotation() -> impl Strategy<Value = String> {
    let claims = [
        "insufficient balance",
        "Your credit balance is too low",
        "get_spending_limit",
        "Key limit exceeded",
        "any credits",
        "insufficient balance (1008)",
        "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.",
        "in_flight_budget_exhausted",
        "spend limit reached",
        "quota and billing",
        "daily limit of requests per day",
        "service tier capacity exceeded",
        "overloaded",
        "free allocated quota exceeded",
        "see https://x/error-code#token-limit",
        "but can only afford 30104",
        "Jinja Exception",
        "You have reached your specified API usage limits. You will regain access on 2099-01-01 at 00:00 UTC",
    ];
    let wait = prop_oneof![Just(""), Just(", try again in 24h"), Just(" retry after 3600 seconds")];
    (prop::sample::select(claims.to_vec()), wait).prop_map(|(claim, wait)| format!("{claim}{wait}"))
}

type Quoting = fn(&str) -> String;

/// Messages that quote the name of a model.
const QUOTING_MODEL: &[Quoting] = &[
    |text| format!("The model `{text}` does not exist"),
    |text| format!("This key has no access to model {text}"),
];

/// Messages that quote another part of a request.
const QUOTING_REQUEST: &[Quoting] = &[
    |text| format!("Unknown value for messages[0].role: '{text}'."),
    |text| format!("Unrecognized request argument supplied: {text}"),
    |text| format!("{text}: Extra inputs are not permitted"),
    |text| format!("tools.0.name: {text} is not defined"),
];

/// A status with which a provider quotes a request, and its message.
fn any_quoting() -> impl Strategy<Value = (u16, Quoting)> {
    let of_request = prop::sample::select(vec![400, 404, 405, 413, 415, 422, 424]);
    prop_oneof![
        (of_request.clone(), prop::sample::select(QUOTING_REQUEST)),
        (prop_oneof![Just(403), of_request], prop::sample::select(QUOTING_MODEL)),
    ]
}

/// The headers that are read, with values from valid to absurd.
fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let names = [
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-amzn-errortype",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-unified-7d-status",
        "anthropic-ratelimit-unified-7d-reset",
    ];
    let value = prop_oneof![
        Just("0".to_owned()),
        Just("rejected".to_owned()),
        "[0-9]{1,30}(ms|s|m|h|\\.[0-9]{1,20})?",
        "-?[0-9]{1,12}",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:00:00(Z|\\+14:00)",
        "[ -~]{0,30}",
    ];
    let pair = (prop::sample::select(names.to_vec()), value);
    prop::collection::vec(pair, 0..8).prop_map(|pairs| {
        let header =
            |(name, value): (&'static str, String)| (HeaderName::from_static(name), value.parse().unwrap());
        pairs.into_iter().map(header).collect()
    })
}

/// Random bytes, random text in the shape of JSON, and replies of which a part is overwritten.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let fixture = (prop::sample::select(REPLIES), any::<prop::sample::Index>(), "[ -~é]{0,12}");
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}\",:a-z0-9\\\\ ]{0,200}".prop_map(String::into_bytes),
        "(try again in|retry after|wait) [-0-9.]{1,40}(h|m|s|ms| seconds| days|é){1,3}"
            .prop_map(String::into_bytes),
        fixture.prop_map(|(row, at, noise)| {
            let mut body = body(row.0);
            let at = at.index(body.len());
            let end = (at + noise.len()).min(body.len());
            body.splice(at..end, noise.bytes());
            body
        }),
    ]
}

proptest! {
    /// Regression: a role named "insufficient balance, try again in 24h" closed the provider for a day, for
    /// every caller.
    #[test]
    fn what_a_message_quotes_from_the_request_closes_no_provider(
        provider in any_provider(),
        (status, quoting) in any_quoting(),
        text in any_quotation(),
        (kind, code) in prop::sample::select(vec![
            ("null", "null"),
            ("\"invalid_request_error\"", "null"),
            ("\"invalid_request_error\"", "\"invalid_value\""),
        ]),
    ) {
        let message = quoting(&text);
        let body = format!(r#"{{"error":{{"message":"{message}","type":{kind},"code":{code}}}}}"#);
        let failure = classify(provider, &head(status, &[]), body.as_bytes());
        prop_assert_eq!(failure.code.category(), Category::Client, "{} {}", status, body);
        prop_assert_eq!(failure.wait(), None, "{} {}", status, body);
        // In an error without a status, it does not look like a limit, and sets no wait.
        let failure = ProviderClassifier::new(provider).failure_in(body.as_bytes()).unwrap();
        prop_assert_ne!(failure.code.category(), Category::Rate, "{}", body);
        prop_assert_eq!(failure.wait(), None, "{}", body);
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn no_reply_panics_or_waits_longer_than_a_day(
        provider in any_provider(),
        status in 400_u16..1000,
        headers in any_headers(),
        body in any_body(),
    ) {
        let mut head = head(status, &[]);
        head.headers = headers;
        let failure = classify(provider, &head, &body);
        prop_assert!(failure.wait().is_none_or(|wait| wait <= RetryHint::MAX_WAIT));
        if let Some(provider_code) = &failure.provider_code {
            prop_assert!(provider_code.len() <= 64 && provider_code.bytes().all(|b| b.is_ascii_graphic()));
        }
        let _ = ProviderClassifier::new(provider).failure_in(&body);
    }
}
