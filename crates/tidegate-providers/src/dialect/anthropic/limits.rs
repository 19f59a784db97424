//! The headers about limits: `anthropic-ratelimit-<limit>-<limit, remaining or reset>`.

use std::time::Duration;

use tidegate_core::LimitUnit;

use crate::dialect::limit_header::{LimitHeader, LimitHeaderKind, ResetFormat, ResetHeaders};
use crate::provider::Provider;

#[rustfmt::skip]
pub(super) const RESET_HEADERS: [ResetHeaders; 6] = [
    ResetHeaders::new("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", ResetFormat::Moment),
    ResetHeaders::new("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", ResetFormat::Moment),
    ResetHeaders::new("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", ResetFormat::Moment),
    ResetHeaders::new("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", ResetFormat::Moment),
    ResetHeaders::new("anthropic-ratelimit-unified-5h-status", "anthropic-ratelimit-unified-5h-reset", ResetFormat::Moment),
    ResetHeaders::daily("anthropic-ratelimit-unified-7d-status", "anthropic-ratelimit-unified-7d-reset", ResetFormat::Moment),
];

/// All limits are per minute, and the reset is the time until the whole limit is restored.
pub(super) fn limit_header(_: Provider, header: &str) -> Option<LimitHeader<'_>> {
    let (limit, kind) = header.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
    let unit = match limit {
        "requests" => LimitUnit::Requests,
        "tokens" => LimitUnit::Tokens,
        "input-tokens" => LimitUnit::InputTokens,
        "output-tokens" => LimitUnit::OutputTokens,
        _ => return None,
    };
    Some(LimitHeader {
        // With the prefix, so that it differs from the names of OpenAI's limits.
        name: header.strip_suffix(kind)?,
        unit,
        period: Some(Duration::from_secs(60)),
        refills_evenly: true,
        kind: LimitHeaderKind::named(kind)?,
    })
}
