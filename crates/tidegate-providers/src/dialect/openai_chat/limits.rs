//! The headers about limits: `x-ratelimit-<limit, remaining or reset>-<limit>`. Most providers use them.

use std::time::Duration;

use tidegate_core::LimitUnit;

use crate::dialect::limit_header::{LimitHeader, LimitHeaderKind, ResetFormat, ResetHeaders};
use crate::provider::Provider;

#[rustfmt::skip]
pub(super) const RESET_HEADERS: [ResetHeaders; 18] = [
    // Groq counts requests per day, which the header name does not show.
    ResetHeaders {
        is_daily: |provider| matches!(provider, Provider::Groq),
        ..ResetHeaders::new("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", ResetFormat::Delay)
    },
    ResetHeaders::new("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-requests_usage_based", "x-ratelimit-reset-requests_usage_based", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-tokens_usage_based", "x-ratelimit-reset-tokens_usage_based", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-requests-second", "x-ratelimit-reset-requests-second", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-requests-minute", "x-ratelimit-reset-requests-minute", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-requests-hour", "x-ratelimit-reset-requests-hour", ResetFormat::Delay),
    ResetHeaders::daily("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-tokens-second", "x-ratelimit-reset-tokens-second", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-tokens-hour", "x-ratelimit-reset-tokens-hour", ResetFormat::Delay),
    ResetHeaders::daily("x-ratelimit-remaining-tokens-day", "x-ratelimit-reset-tokens-day", ResetFormat::Delay),
    ResetHeaders::new("x-ratelimit-remaining-req-minute", "x-ratelimit-reset-req-minute", ResetFormat::Delay),
    ResetHeaders::daily("x-ratelimit-remaining-req-day", "x-ratelimit-reset-req-day", ResetFormat::Delay),
    ResetHeaders::new("x-tokenlimit-remaining", "x-tokenlimit-reset", ResetFormat::Delay),
    // Headers of gateways and of servers with one limit.
    ResetHeaders::new("x-ratelimit-remaining", "x-ratelimit-reset", ResetFormat::Delay),
    ResetHeaders::new("x-rate-limit-remaining", "x-rate-limit-reset", ResetFormat::Delay),
    ResetHeaders::new("ratelimit-remaining", "ratelimit-reset", ResetFormat::Delay),
];

pub(super) fn limit_header(provider: Provider, header: &str) -> Option<LimitHeader<'_>> {
    // Together sends `x-tokenlimit-remaining`.
    let (kind, name) = match header.strip_prefix("x-tokenlimit-") {
        Some(kind) => (kind, "tokens"),
        None => header.strip_prefix("x-ratelimit-")?.split_once('-')?,
    };
    Some(LimitHeader {
        name,
        unit: unit(name)?,
        period: period(provider, name),
        // OpenAI and Groq document this. For the other providers it is unknown.
        refills_evenly: matches!(provider, Provider::OpenAi | Provider::Groq),
        kind: LimitHeaderKind::named(kind)?,
    })
}

fn unit(name: &str) -> Option<LimitUnit> {
    Some(match name.strip_suffix("_usage_based").unwrap_or(name) {
        "requests" | "requests-day" | "requests-hour" | "requests-minute" | "requests-second"
        | "req-minute" | "req-day" => LimitUnit::Requests,
        "tokens" | "tokens-day" | "tokens-hour" | "tokens-minute" | "tokens-second" => LimitUnit::Tokens,
        _ => return None,
    })
}

fn period(provider: Provider, name: &str) -> Option<Duration> {
    let seconds = match name.rsplit_once('-') {
        Some((_, "second")) => 1,
        Some((_, "minute")) => 60,
        Some((_, "hour")) => 60 * 60,
        Some((_, "day")) => 24 * 60 * 60,
        _ if provider == Provider::Groq && name == "requests" => 24 * 60 * 60,
        _ if provider == Provider::Groq => 60,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}
