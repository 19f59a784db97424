//! Phrases in error messages, for errors without a specific code. They are matched by whole words; see
//! [`crate::text::word_match`].

use std::borrow::Cow;

use crate::text::word_match::{begins_with, contains_any_phrase, contains_phrase, is_phrase};

/// Anthropic's words for a prompt that does not fit the model. Its clients recognise the error by nothing
/// else, and compact the conversation then.
const PROMPT_TOO_LONG: &str = "prompt is too long";

/// The `message` of an error about a prompt that does not fit the model, for clients of Anthropic's API.
#[must_use]
pub fn prompt_too_long(message: &str) -> Cow<'_, str> {
    if contains_phrase(message, PROMPT_TOO_LONG) {
        return message.into();
    }
    format!("{PROMPT_TOO_LONG}: {message}").into()
}

/// The prompt does not fit the model.
pub(crate) fn is_too_long(text: &str) -> bool {
    contains_any_phrase(
        text,
        &[
            "maximum context length",
            "maximum prompt length",
            "maximum input length",
            "maximum model length",
            PROMPT_TOO_LONG,
            "prompt too long",
            "prompt exceeds max length",
            "input is too long",
            "exceeds the maximum number of tokens",
            "reduce the length of the messages",
            "reduce the length of the prompt",
            "exceeded model token limit",
            "inputs tokens max new tokens must be",
            "inputs must have less than",
            "range of input length should be",
            "length of all messages is too long",
            // The most tokens that llama.cpp embeds at once.
            "physical batch size",
        ],
    ) || (names_context(text) && is_exceeded(text))
        || (contains_phrase(text, "too many tokens") && !is_of_period(text))
}

/// A limit of a period. Bedrock's has the words of a prompt that is too long.
fn is_of_period(text: &str) -> bool {
    contains_phrase(text, "please wait") || mentions_short_period(text)
}

/// The context of a model, or what has to fit it. The word alone has other meanings: "context deadline
/// exceeded" is a timeout.
fn names_context(text: &str) -> bool {
    contains_any_phrase(
        text,
        &[
            "context length",
            "context window",
            "context size",
            "context limit",
            "context of",
            "fit the context",
            "fit in the context",
            "fit into the context",
            "token context",
            "n ctx",
            "input length",
            "input token count",
            "prompt token count",
        ],
    )
}

fn is_exceeded(text: &str) -> bool {
    contains_any_phrase(
        text,
        &[
            "exceed",
            "exceeds",
            "exceeded",
            "exceeding",
            "does not fit",
            "doesn t fit",
            "not fit",
            "cannot fit",
            "too long",
            "too large",
            "too big",
            "larger than",
            "longer than",
            "greater than",
            "more than",
            "overflow",
            "overflows",
            "not enough",
            "beyond",
            "tokens but",
            "only supports up to",
        ],
    )
}

/// A single request exceeds the limit per minute, or is too long for the plan, so no wait helps.
pub(crate) fn exceeds_limit_alone(text: &str) -> bool {
    contains_any_phrase(
        text,
        &["request too large", "must be reduced in order to run", "required for long context requests"],
    )
}

/// The content was rejected by a content policy.
pub(crate) fn is_content_refused(text: &str) -> bool {
    contains_any_phrase(
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

/// The output of the model cannot be parsed by Ollama or llama.cpp, or their chat template, or that of LM Studio,
/// refuses the messages.
pub(crate) fn is_unparsable(text: &str) -> bool {
    [
        "error parsing tool call",
        "failed to parse input at pos",
        "failed to parse tool call arguments as json",
        "error rendering prompt with jinja template",
    ]
    .iter()
    .any(|beginning| begins_with(text, beginning))
        || contains_phrase(text, "jinja exception")
}

/// A payment is required, in a message that is nothing but one of these sentences.
pub(crate) fn is_known_credit_error(text: &str) -> bool {
    [
        "your credit balance is too low",
        "your credit balance is too low to access the anthropic api please go to plans billing to upgrade or purchase \
         credits",
        "your credit balance is too low to access the claude api please go to plans billing to upgrade or purchase \
         credits",
        "insufficient balance",
        "insufficient balance #",
        "insufficient account balance",
        "insufficient quota",
        "insufficient credits",
        "insufficient funds",
        "out of credits",
        "you have insufficient credits to make this request please purchase more credits to continue using the service",
        "you have reached your specified api usage limits you will regain access on # # # at # # utc",
        "you have reached your specified workspace api usage limits you will regain access on # # # at # # utc",
        "you have reached your specified api usage limits to continue please adjust your limits",
        "you have reached your specified workspace api usage limits to continue please adjust your limits",
        "you re out of extra usage add more at claude ai settings usage and keep going",
        "you re out of extra usage add more at claude ai admin settings usage and keep going",
        "third party apps now draw from your extra usage not your plan limits add more at claude ai settings usage and \
         keep going",
        "third party apps now draw from your extra usage not your plan limits we ve added a # credit to get you started \
         claim it at claude ai settings usage and keep going",
        "the free tier of the model has been exhausted if you wish to continue access the model on a paid basis please \
         disable the use free tier only mode in the management console",
        "the selected model requires paid balance your paid balance is insufficient please top up and try again",
    ]
    .iter()
    .any(|sentence| is_phrase(text, sentence))
}

/// A rate limit, in a message that begins with it. Words of the request would be quoted further on.
pub(crate) fn is_rate_limit(text: &str) -> bool {
    [
        "rate limit reached",
        "rate limit exceeded",
        "rate limit hit",
        "rate limited",
        "api rate limit exceeded",
        "ratelimit reached",
        "ratelimit exceeded",
        "too many requests",
        "429 too many requests",
    ]
    .iter()
    .any(|beginning| begins_with(text, beginning))
}

/// The account is blocked, in a message that is nothing but this sentence.
pub(crate) fn is_account_disabled(text: &str) -> bool {
    is_phrase(text, "this organization has been disabled")
}

/// The key is wrong, in the sentence of xAI with the masked key, which is one word.
pub(crate) fn is_key_refused(text: &str) -> bool {
    let rest = text.strip_prefix("Incorrect API key provided: ");
    let words = rest.and_then(|rest| rest.split_once(' '));
    words
        .is_some_and(|(_, sentence)| is_phrase(sentence, "you can obtain an api key from https console x ai"))
}

/// The message is about a model or a part of the request, and may contain its name.
pub(crate) fn names_a_resource(text: &str) -> bool {
    let is_quoting = text.contains(['`', '"']) || text.contains(" '");
    is_quoting || contains_any_phrase(text, &["model", "models", "tool", "tools", "parameter"])
}

/// A payment is required. These phrases are used for nothing else, whatever the status.
pub(crate) fn is_out_of_credit(text: &str) -> bool {
    contains_any_phrase(
        text,
        &[
            "insufficient balance",
            "insufficient quota",
            "insufficient credits",
            "insufficient credit",
            "insufficient funds",
            "credit balance is too low",
            "out of credits",
            "credits are depleted",
            "spend limit",
            "spending limit",
            "free allocated quota exceeded",
        ],
    ) || is_known_credit_error(text)
}

/// The request costs more than is left at OpenRouter, where smaller ones are served, or than the user that it
/// names may spend at LiteLLM.
pub(crate) fn is_spend_of_request(text: &str) -> bool {
    contains_any_phrase(
        text,
        &["can only afford", "prompt tokens limit exceeded", "exceededbudget end user", "litellm end user"],
    )
}

/// DashScope's limit of tokens per minute. Its code and its words are those of an exhausted quota, and its link
/// is not.
pub(crate) fn is_token_limit(text: &str) -> bool {
    text.contains("/error-code#token-limit") && !is_out_of_credit(text)
}

/// A billing term next to a bare 429. Providers also use "quota" for a limit per minute, which is not a
/// billing error.
pub(crate) fn suggests_billing(text: &str) -> bool {
    contains_any_phrase(text, &["quota", "billing", "plan", "credits"]) && !mentions_short_period(text)
}

/// A billing term next to a 403. A "plan" may lack a feature there; a quota can only be exhausted.
pub(crate) fn mentions_billing(text: &str) -> bool {
    let terms = [
        "quota",
        "billing",
        "key limit exceeded",
        "any credits",
        "credit limit",
        "balance is insufficient",
        "overdue balance",
    ];
    contains_any_phrase(text, &terms) && !mentions_short_period(text)
}

/// A limit per day or longer.
pub(crate) fn is_daily(text: &str) -> bool {
    let mentions_day = contains_any_phrase(
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
    mentions_day && !mentions_short_period(text)
}

fn mentions_short_period(text: &str) -> bool {
    contains_any_phrase(
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

/// The provider has no capacity, independently of the limits of the account.
pub(crate) fn is_at_capacity(text: &str) -> bool {
    contains_any_phrase(
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

/// OpenRouter's temporary 402: credit is available, but requests in flight have reserved it.
pub(crate) fn is_credit_reserved(text: &str) -> bool {
    contains_phrase(text, "in flight budget exhausted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_exceeds_the_context_is_recognised_in_any_words() {
        for text in [
            "the prompt does not fit the context of the server",
            "the request exceeds the available context size, try increasing it",
            "This model's maximum context length is 8192 tokens.",
            "the prompt (5000 tokens) is larger than the context length of 4096 tokens, which is not enough",
            "Requested tokens (9000) exceed context window of 4096",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "the input is longer than n_ctx",
            "input (992 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            "Context size has been exceeded.",
            "Unable to submit request because the input token count is 32825 but model only supports up to 32768.",
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens",
            "Input validation error: `inputs` must have less than 1024 tokens. Given: 1025",
            "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).",
            "Input length 200000 exceeds the maximum allowed input length of 131072 tokens.",
            "Range of input length should be [1, 30720]",
            "prompt token count of 139639 exceeds the limit of 128000",
            "The total length of all messages is too long.",
            "Prompt exceeds max length",
            "Prompt is 11543 tokens but the model context window is 4096 tokens.",
            "Prompt has 5000 tokens, but the configured context size is 4096 tokens",
            "The decoder prompt (length 21535) is longer than the maximum model length of 16384.",
            "The estimated number of input and maximum output tokens (440000) exceeded this model context window limit (262144)",
        ] {
            assert!(is_too_long(text), "{text}");
        }
        for text in [
            "context deadline exceeded",
            "the context of this error is unknown",
            "context length must be a number",
            "rate limit exceeded",
            "`max_new_tokens` must be strictly positive",
            "max_tokens: integer above maximum value, expected a value <= 12288, but got 16384 instead",
            "tools.0.name exceeds the maximum allowed length of 64",
            "this model only supports up to 16 tools",
            "stop: the list must have less than 5 items",
            "max_tokens of 9000 exceeds the limit of 8192",
        ] {
            assert!(!is_too_long(text), "{text}");
        }
    }

    #[test]
    fn billing_terms_are_matched_as_whole_words() {
        assert!(suggests_billing("You exceeded your current quota, check your plan and billing details"));
        assert!(!suggests_billing("Too many requests, see the explanation"));
        assert!(!suggests_billing("Slow down. https://example.com/settings/billing?plan=pro"));
        assert!(!suggests_billing("Go to aka.ms/quotaincrease to raise the rate limit"));
        assert!(!suggests_billing("Quota of 60 requests per minute reached, upgrade your plan"));
    }

    #[test]
    fn a_daily_limit_is_distinguished_from_a_limit_per_minute() {
        assert!(is_daily("free-models-per-day"));
        assert!(is_daily("limited to 1000 API calls / month"));
        assert!(!is_daily("limited to 40 API calls / minute; the monthly limit is higher"));
        assert!(!is_daily("holiday"));
    }
}
