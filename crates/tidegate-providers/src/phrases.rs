//! What messages say, where no code word says it. Matched as words; see [`crate::words`].

use crate::words::{says, says_any};

/// The prompt does not fit the model.
pub(crate) fn is_too_long(text: &str) -> bool {
    says_any(
        text,
        &[
            "maximum context length",
            "maximum prompt length",
            "prompt is too long",
            "input is too long",
            "context length exceeded",
            "exceed context limit",
            "exceeds the context window",
            "context window exceeds",
            "exceeds the maximum number of tokens",
            "reduce the length of the messages",
            "reduce the length of the prompt",
            "too many tokens",
        ],
    )
}

/// One request is larger than the limit of a whole minute, so no wait will make it pass.
pub(crate) fn is_beyond_the_limit(text: &str) -> bool {
    says_any(text, &["request too large", "must be reduced in order to run"])
}

/// The content was refused.
pub(crate) fn is_refused(text: &str) -> bool {
    says_any(
        text,
        &[
            "content filtering policy",
            "content management policy",
            "content policy",
            "usage policy",
            "usage guidelines",
            "safety system",
            "content exists risk",
            "input was flagged",
            "requires moderation",
        ],
    )
}

/// Somebody has to pay first. Said of nothing else, whatever the status.
pub(crate) fn is_unpaid(text: &str) -> bool {
    says_any(
        text,
        &[
            "insufficient balance",
            "insufficient quota",
            "insufficient credits",
            "insufficient credit",
            "insufficient funds",
            "credit balance is too low",
            "out of credits",
            "spend limit",
            "spending limit",
        ],
    )
}

/// A word of money next to a bare 429. Providers say "quota" of a minute as well; then it is no purse.
pub(crate) fn hints_at_money(text: &str) -> bool {
    says_any(text, &["quota", "billing", "plan", "credits"]) && !names_a_minute(text)
}

/// A word of money next to a 403. A "plan" may be short of a feature there; a quota can only be used up.
pub(crate) fn names_a_purse(text: &str) -> bool {
    says_any(text, &["quota", "billing"]) && !names_a_minute(text)
}

/// A limit per day or longer.
pub(crate) fn is_daily(text: &str) -> bool {
    let names_a_day = says_any(
        text,
        &[
            "per day",
            "per week",
            "per month",
            "daily",
            "weekly",
            "monthly",
            "rpd",
            "tpd",
            "calls day",
            "calls month",
            "requests day",
            "requests month",
            "tokens day",
            "tokens month",
        ],
    );
    names_a_day && !names_a_minute(text)
}

fn names_a_minute(text: &str) -> bool {
    says_any(
        text,
        &[
            "per second",
            "per minute",
            "per min",
            "per hour",
            "rps",
            "rpm",
            "tpm",
            "calls minute",
            "requests minute",
            "tokens minute",
        ],
    )
}

/// The provider has no room; the limit of the account has nothing to do with it.
pub(crate) fn is_full(text: &str) -> bool {
    says_any(
        text,
        &[
            "tier capacity exceeded",
            "resource exhausted please try again later",
            "overloaded",
            "over capacity",
            "at capacity",
            "out of capacity",
        ],
    )
}

/// OpenRouter's 402 that passes: the credit is there, but calls in flight have it reserved.
pub(crate) fn is_reserved(text: &str) -> bool {
    says(text, "in flight budget exhausted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_money_are_matched_as_words() {
        assert!(hints_at_money("You exceeded your current quota, check your plan and billing details"));
        assert!(!hints_at_money("Too many requests, see the explanation"));
        assert!(!hints_at_money("Slow down. https://example.com/settings/billing?plan=pro"));
        assert!(!hints_at_money("Go to aka.ms/quotaincrease to raise the rate limit"));
        assert!(!hints_at_money("Quota of 60 requests per minute reached, upgrade your plan"));
    }

    #[test]
    fn a_day_is_a_day_and_a_minute_is_not() {
        assert!(is_daily("free-models-per-day"));
        assert!(is_daily("limited to 1000 API calls / month"));
        assert!(!is_daily("limited to 40 API calls / minute; the monthly limit is higher"));
        assert!(!is_daily("holiday"));
    }
}
