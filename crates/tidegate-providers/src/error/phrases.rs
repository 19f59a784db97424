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

/// Phrases that are used for nothing else.
const TOO_LONG: &[&str] = &[
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
    "less than max seq len",
    "equal to max seq len",
    "exceeded max prompt tokens",
    "exceeded max seq len",
    "tokens in request more than max tokens",
    "number of input tokens exceeds maximum length",
    // The most tokens that llama.cpp embeds at once.
    "physical batch size",
];

/// Phrases that may also be about a limit of a period.
const TOO_MANY_TOKENS: &[&str] = &["too many tokens", "too many input tokens"];

/// The prompt does not fit the model.
pub(crate) fn is_too_long(text: &str) -> bool {
    contains_any_phrase(text, TOO_LONG)
        || ((names_context(text) && is_exceeded(text)) || contains_any_phrase(text, TOO_MANY_TOKENS))
            && !is_of_period(text)
}

/// A limit of a period. Bedrock's has the words of a prompt that is too long.
fn is_of_period(text: &str) -> bool {
    contains_phrase(text, "please wait")
        || mentions_short_period(text)
        || contains_any_phrase(text, LONG_PERIODS)
}

/// Names of the context of a model, or of what has to fit it.
const CONTEXT: &[&str] = &[
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
];

/// The context of a model, or what has to fit it. The word alone has other meanings: "context deadline
/// exceeded" is a timeout.
fn names_context(text: &str) -> bool {
    contains_any_phrase(text, CONTEXT)
}

/// Words with which something is larger than something else.
const EXCEEDED: &[&str] = &[
    "exceed",
    "exceeds",
    "exceeded",
    "exceeding",
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
    "supports up to",
];

fn is_exceeded(text: &str) -> bool {
    contains_any_phrase(text, EXCEEDED)
}

/// Words for a request that no limit of the account admits.
const BEYOND_LIMIT: &[&str] =
    &["request too large", "must be reduced in order to run", "required for long context requests"];

/// A single request exceeds the limit per minute, or is too long for the plan, so no wait helps.
pub(crate) fn exceeds_limit_alone(text: &str) -> bool {
    contains_any_phrase(text, BEYOND_LIMIT)
}

/// Names of the rules for content.
const REFUSED: &[&str] = &[
    "content filtering policy",
    "content management policy",
    "content policy",
    "usage policy",
    "usage guidelines",
    "safety system",
    "content exists risk",
    "input was flagged",
    "requires moderation",
    "limited access to this content for safety reasons",
    "may contain inappropriate content",
];

/// The content was rejected by a content policy.
pub(crate) fn is_content_refused(text: &str) -> bool {
    contains_any_phrase(text, REFUSED)
}

/// Beginnings of MiniMax's messages about refused content.
const SENSITIVE: &[&str] = &["input new sensitive", "output new sensitive"];

/// The content was rejected by MiniMax, which sends 500 for it.
pub(crate) fn is_sensitive(text: &str) -> bool {
    SENSITIVE.iter().any(|beginning| begins_with(text, beginning))
}

/// Beginnings of messages about an output or a prompt that cannot be parsed.
const UNPARSABLE: &[&str] = &[
    "error parsing tool call",
    "failed to parse input at pos",
    "failed to parse tool call arguments as json",
    "error rendering prompt with jinja template",
];

/// The output of the model cannot be parsed by Ollama or llama.cpp, or their chat template, or that of LM Studio,
/// refuses the messages.
pub(crate) fn is_unparsable(text: &str) -> bool {
    UNPARSABLE.iter().any(|beginning| begins_with(text, beginning))
        || contains_phrase(text, "jinja exception")
}

/// Whole messages about credit.
const CREDIT_SENTENCES: &[&str] = &[
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
];

/// A payment is required, in a message that is nothing but one of these sentences.
pub(crate) fn is_known_credit_error(text: &str) -> bool {
    CREDIT_SENTENCES.iter().any(|sentence| is_phrase(text, sentence))
}

/// Beginnings of messages about a rate limit.
const RATE_LIMITS: &[&str] = &[
    "rate limit reached",
    "rate limit exceeded",
    "rate limit hit",
    "rate limited",
    "api rate limit exceeded",
    "ratelimit reached",
    "ratelimit exceeded",
    "too many requests",
    "429 too many requests",
];

/// A rate limit, in a message that begins with it. Words of the request would be quoted further on.
pub(crate) fn is_rate_limit(text: &str) -> bool {
    RATE_LIMITS.iter().any(|beginning| begins_with(text, beginning))
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

/// An item to which the request refers is not stored: `Item with id 'rs_1' not found.`
pub(crate) fn is_item_missing(text: &str) -> bool {
    let rest = text.strip_prefix("Item with id '").and_then(|rest| rest.split_once('\''));
    rest.is_some_and(|(_, sentence)| begins_with(sentence, "not found"))
}

/// The message is about a model or a part of the request, and may contain its name.
pub(crate) fn names_a_resource(text: &str) -> bool {
    let is_quoting = text.contains(['`', '"']) || text.contains(" '");
    is_quoting || contains_any_phrase(text, &["model", "models", "tool", "tools", "parameter"])
}

/// Phrases about credit.
const OUT_OF_CREDIT: &[&str] = &[
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
];

/// A payment is required. These phrases are used for nothing else, whatever the status.
pub(crate) fn is_out_of_credit(text: &str) -> bool {
    contains_any_phrase(text, OUT_OF_CREDIT) || is_known_credit_error(text)
}

/// Phrases about a request that costs too much.
const SPEND_OF_REQUEST: &[&str] =
    &["can only afford", "prompt tokens limit exceeded", "exceededbudget end user", "litellm end user"];

/// The request costs more than is left at OpenRouter, where smaller ones are served, or than the user that it
/// names may spend at LiteLLM.
pub(crate) fn is_spend_of_request(text: &str) -> bool {
    contains_any_phrase(text, SPEND_OF_REQUEST)
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

/// Billing terms next to a 403.
const BILLING: &[&str] = &[
    "quota",
    "billing",
    "key limit exceeded",
    "any credits",
    "credit limit",
    "balance is insufficient",
    "overdue balance",
];

/// A billing term next to a 403. A "plan" may lack a feature there; a quota can only be exhausted.
pub(crate) fn mentions_billing(text: &str) -> bool {
    contains_any_phrase(text, BILLING) && !mentions_short_period(text)
}

/// Names of periods of a day and more.
const LONG_PERIODS: &[&str] = &[
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
];

/// A limit per day or longer.
pub(crate) fn is_daily(text: &str) -> bool {
    let mentions_day = contains_any_phrase(text, LONG_PERIODS);
    mentions_day && !mentions_short_period(text)
}

/// Names of periods of an hour and less.
const SHORT_PERIODS: &[&str] = &[
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
];

fn mentions_short_period(text: &str) -> bool {
    contains_any_phrase(text, SHORT_PERIODS)
}

/// A rate limit of tokens.
pub(crate) fn is_of_tokens(text: &str) -> bool {
    contains_any_phrase(text, &["tokens per minute", "token rate limit"])
}

/// Phrases about capacity.
const AT_CAPACITY: &[&str] = &[
    "tier capacity exceeded",
    "resource exhausted please try again later",
    "overloaded",
    "over capacity",
    "at capacity",
    "out of capacity",
];

/// The provider has no capacity, independently of the limits of the account.
pub(crate) fn is_at_capacity(text: &str) -> bool {
    contains_any_phrase(text, AT_CAPACITY)
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
            "length of prompt_tokens (68957) must be less than max_seq_len (65536).",
            "max_total_tokens (172191) must be less than or equal to max_seq_len (131072)",
            "number of input tokens (204703) has exceeded max_prompt_tokens (202752) limit.",
            "Unable to submit request because the input token count is 20001 but the model supports up to 20000.",
            "Too many input tokens. Max input tokens: 8192, request input token count: 9875",
            "tokens in request more than max tokens allowed",
            "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
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
            "max_seq_len must be a number",
            "Too many input tokens per minute",
            "Too many input tokens per day",
            "The input token count exceeds the limit per minute",
            "The prompt token count exceeds your daily limit",
            "Number of input tokens has exceeded your per-minute rate limit",
            "Too many input tokens, please wait before trying again.",
            "stop: the list must have less than 5 items",
            "max_tokens of 9000 exceeds the limit of 8192",
        ] {
            assert!(!is_too_long(text), "{text}");
        }
    }

    type Lists = (&'static [&'static str], fn(&str) -> bool, fn(&str, &str) -> bool, &'static [&'static str]);

    /// The phrases of each list, what they decide, how they are matched, and a text for each of them.
    #[rustfmt::skip]
    const LISTS: &[Lists] = &[
        (TOO_LONG, is_too_long, contains_phrase, &[
            "This model's maximum context length is 8192 tokens.",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "The maximum input length of this model is 512.",
            "The length is above the maximum model length of 16384.",
            "prompt is too long: 208656 tokens > 200000 maximum",
            "Prompt too long",
            "Prompt exceeds max length",
            "Input is too long for requested model.",
            "The request exceeds the maximum number of tokens allowed",
            "Please reduce the length of the messages or completion.",
            "Please reduce the length of the prompt.",
            "Your request exceeded model token limit: 262144",
            "`inputs` tokens + `max_new_tokens` must be <= 2048.",
            "`inputs` must have less than 1024 tokens.",
            "Range of input length should be [1, 30720]",
            "The total length of all messages is too long.",
            "length of prompt_tokens (68957) must be less than max_seq_len (65536).",
            "max_total_tokens (172191) must be less than or equal to max_seq_len (131072)",
            "tokens have exceeded max_prompt_tokens (202752)",
            "number of input tokens has exceeded max_seq_len limit.",
            "tokens in request more than max tokens allowed",
            "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
            "increase the physical batch size",
        ]),
        (TOO_MANY_TOKENS, is_too_long, contains_phrase, &[
            "too many tokens: the prompt has 9000",
            "Too many input tokens. Max input tokens: 8192",
        ]),
        (CONTEXT, is_too_long, contains_phrase, &[
            "larger than the context length",
            "exceeds the context window",
            "exceeds the available context size",
            "exceeds the context limit",
            "too long for the context of this model",
            "too long to fit the context",
            "too large to fit in the context",
            "too large to fit into the context",
            "exceeds the 8192 token context",
            "longer than n_ctx",
            "Input length 200000 exceeds 131072",
            "the input token count is 20001 but the model supports up to 20000",
            "prompt token count of 139639 exceeds the limit",
        ]),
        (EXCEEDED, is_too_long, contains_phrase, &[
            "the prompt must not exceed the context length",
            "it exceeds the context length",
            "context length exceeded",
            "a prompt exceeding the context length",
            "it doesn't fit the context",
            "it does not fit the context",
            "the prompt cannot fit into the context window",
            "too long for the context window",
            "too large for the context window",
            "too big for the context window",
            "larger than the context window",
            "longer than the context window",
            "greater than the context window",
            "more than the context window holds",
            "context window overflow",
            "the prompt overflows the context window",
            "the context window is not enough",
            "beyond the context window",
            "9000 tokens, but the context window has 4096",
            "the context window supports up to 4096 tokens",
        ]),
        (BEYOND_LIMIT, exceeds_limit_alone, contains_phrase, &[
            "Request too large for gpt-4o",
            "The tokens must be reduced in order to run successfully.",
            "Extra usage is required for long context requests.",
        ]),
        (REFUSED, is_content_refused, contains_phrase, &[
            "Output blocked by content filtering policy",
            "The response was filtered due to Azure OpenAI's content management policy.",
            "It violates our content policy.",
            "flagged as potentially violating our usage policy",
            "Content violates usage guidelines.",
            "Your request was rejected by our safety system.",
            "Content Exists Risk",
            "Your input was flagged",
            "requires moderation on OpenAI",
            "Invalid prompt: we've limited access to this content for safety reasons.",
            "Input text data may contain inappropriate content.",
        ]),
        (SENSITIVE, is_sensitive, begins_with, &[
            "input new_sensitive, messages[13]'s content[2] image is sensitive, please check your input (1026)",
            "output new_sensitive (1027)",
        ]),
        (UNPARSABLE, is_unparsable, begins_with, &[
            "error parsing tool call: raw='{'",
            "Failed to parse input at pos 184: <tool_call>",
            "Failed to parse tool call arguments as JSON: parse error",
            "Error rendering prompt with jinja template: No user query found",
        ]),
        (CREDIT_SENTENCES, is_known_credit_error, is_phrase, &[
            "Your credit balance is too low.",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
            "Your credit balance is too low to access the Claude API. Please go to Plans & Billing to upgrade or purchase credits.",
            "Insufficient Balance",
            "insufficient balance (1008)",
            "Insufficient account balance",
            "Insufficient quota",
            "Insufficient credits",
            "Insufficient funds",
            "Out of credits",
            "You have insufficient credits to make this request. Please purchase more credits to continue using the service.",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            "You have reached your specified API usage limits. To continue, please adjust your limits.",
            "You have reached your specified workspace API usage limits. To continue, please adjust your limits.",
            "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.",
            "You're out of extra usage. Add more at claude.ai/admin-settings/usage and keep going.",
            "Third-party apps now draw from your extra usage, not your plan limits. Add more at claude.ai/settings/usage and keep going.",
            "Third-party apps now draw from your extra usage, not your plan limits. We've added a $20 credit to get you started. Claim it at claude.ai/settings/usage and keep going.",
            "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the \"use free tier only\" mode in the management console.",
            "The selected model requires paid balance. Your paid balance is insufficient. Please top up and try again.",
        ]),
        (RATE_LIMITS, is_rate_limit, begins_with, &[
            "Rate limit reached for model `m`",
            "rate limit exceeded",
            "Rate limit hit, slow down",
            "Rate limited: retry after 7 seconds.",
            "API rate limit exceeded",
            "RateLimit reached",
            "RateLimit exceeded",
            "Too many requests",
            "429 Too Many Requests",
        ]),
        (OUT_OF_CREDIT, is_out_of_credit, contains_phrase, &[
            "the account has insufficient balance",
            "insufficient quota of the account",
            "insufficient credits in the account",
            "insufficient credit in the account",
            "insufficient funds in the account",
            "the credit balance is too low",
            "you are out of credits",
            "Your prepayment credits are depleted.",
            "enforced_spend_limit_reached",
            "the spending limit is reached",
            "Free allocated quota exceeded.",
        ]),
        (SPEND_OF_REQUEST, is_spend_of_request, contains_phrase, &[
            "You requested 65536 tokens, but can only afford 30104.",
            "Prompt tokens limit exceeded: 69120 > 36608.",
            "ExceededBudget: End User=e1 over budget.",
            "LiteLLM End User: e1, exceeded budget for model=gpt-4o",
        ]),
        (BILLING, mentions_billing, contains_phrase, &[
            "Your quota is used up",
            "Enable billing first",
            "Key limit exceeded (total limit).",
            "Your newly created team doesn't have any credits or licenses yet.",
            "The credit limit is reached",
            "Sorry, your account balance is insufficient",
            "your account has an overdue balance",
        ]),
        (LONG_PERIODS, is_daily, contains_phrase, &[
            "requests per day",
            "requests per week",
            "requests per month",
            "the daily limit",
            "the weekly limit",
            "the monthly limit",
            "100 RPD",
            "100 TPD",
            "1000 API calls / day",
            "1000 API calls / month",
            "1000 requests/day",
            "1000 requests/month",
            "1000 tokens/day",
            "1000 tokens/month",
        ]),
        (SHORT_PERIODS, mentions_short_period, contains_phrase, &[
            "per second",
            "per minute",
            "60 per min",
            "per hour",
            "9 RPS",
            "9 RPM",
            "9 TPM",
            "40 API calls / minute",
            "40 requests/minute",
            "40 tokens/minute",
        ]),
        (AT_CAPACITY, is_at_capacity, contains_phrase, &[
            "Service tier capacity exceeded for this model.",
            "Resource exhausted. Please try again later.",
            "Overloaded",
            "The model is over capacity",
            "Selected model is at capacity.",
            "We are out of capacity.",
        ]),
    ];

    /// A phrase that is missing here is redundant, or has no text.
    #[test]
    fn every_phrase_decides_for_a_text() {
        for (list, is_it, matches, texts) in LISTS {
            for text in *texts {
                assert!(is_it(text), "{text}");
            }
            for phrase in *list {
                let is_alone = texts
                    .iter()
                    .any(|text| list.iter().all(|other| matches(text, other) == (other == phrase)));
                assert!(is_alone, "{phrase}");
            }
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
