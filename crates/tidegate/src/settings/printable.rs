//! What a message may repeat of a configuration. A key or a password can stand in any wrong place of it, and
//! messages are logged: nothing is repeated that may be one.

use std::fmt::Display;

/// The longest value that is too short for a secret, in characters.
const SHORT: usize = 5;

/// The longest word of a name, and the longest with digits or capitals in any place. Words of settings have
/// up to 11 letters.
const LONGEST_WORD: usize = 15;
const LONGEST_MIXED_WORD: usize = 4;

/// Where a name may end one word and begin another. A URL with a password or a key has other characters.
const SEPARATORS: &str = "-_./:*#|[] ";

/// What stands in place of a text that may be a secret.
const REDACTED: &str = "[redacted]";

/// The end of a message about a value that is not the expected one: the value, if it is too short for a
/// secret.
///
/// ```
/// use tidegate::config::found;
///
/// assert_eq!(found(0), ", found 0");
/// assert_eq!(found("sk-secret"), "");
/// ```
#[must_use]
pub fn found(value: impl Display) -> String {
    let value = value.to_string();
    if is_short(value.trim_matches(['"', '`'])) { format!(", found {value}") } else { String::new() }
}

/// `name`, or what stands in place of one that may be a secret: a long word in it has digits or capitals, as
/// no name has.
///
/// ```
/// use tidegate::config::redacted;
///
/// assert_eq!(redacted("claude-sonnet-4-5-20250929"), "claude-sonnet-4-5-20250929");
/// assert_eq!(redacted("sk-ant-api03-R2D2c3po"), "[redacted]");
/// ```
#[must_use]
pub fn redacted(name: &str) -> &str {
    if is_name(name) { name } else { REDACTED }
}

/// The key of a setting, with each name in it [redacted] that may be a secret.
///
/// ```
/// use tidegate::config::redacted_key;
///
/// assert_eq!(redacted_key("providers.sk-R2D2c3po.base_url"), "providers.[redacted].base_url");
/// ```
#[must_use]
pub fn redacted_key(key: &str) -> String {
    key.split('.').map(redacted).collect::<Vec<_>>().join(".")
}

pub(crate) fn is_short(value: &str) -> bool {
    value.chars().count() <= SHORT
}

pub(crate) fn is_name(text: &str) -> bool {
    let is_separator = |character: char| SEPARATORS.contains(character);
    text.trim_start_matches('@')
        .split(is_separator)
        .all(|word| word.chars().all(char::is_alphanumeric) && is_word(word))
}

/// Letters, up to two digits behind them, or a number such as a date.
fn is_word(word: &str) -> bool {
    let letters = word.trim_end_matches(|character: char| character.is_ascii_digit());
    let (length, digits) = (word.chars().count(), word.len() - letters.len());
    let is_of_letters = letters.chars().all(char::is_alphabetic) && length <= LONGEST_WORD && digits <= 2;
    let capitals = letters.chars().skip(1).filter(|letter| letter.is_uppercase()).count();
    let is_of_one_case = capitals == 0 || letters.chars().all(char::is_uppercase) || length <= 8;
    length <= LONGEST_MIXED_WORD
        || letters.is_empty() && digits <= 8
        || !letters.is_empty() && is_of_letters && is_of_one_case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_and_what_may_be_a_secret_is_not() {
        for name in [
            "retry",
            "max_attempts_counted_per_call",
            "AI_LIB_BREAKER_FAILURE_THRESHOLD",
            "OpenAI",
            "azure-openai-east-us-2",
            "gpt-4o-2024-08-06",
            "claude-3-5-sonnet-20241022",
            "meta-llama/Llama-3.1-70B-Instruct",
            "accounts/fireworks/models/llama-v3p1-70b-instruct",
            "/etc/tidegate/cert.pem",
            "chain[12]",
            "@static",
            "",
        ] {
            assert_eq!(redacted(name), name);
        }
        for secret in [
            "s3cret",
            "sk-proj-Ab12cD34eF56",
            "AKIAIOSFODNN7EXAMPLE",
            "abcdefghijklmnop",
            "550e8400-e29b-41d4-a716-446655440000",
            "redis://user:pass@host",
            "https://host/v1?key=value",
            "123456789",
            "a+b=",
        ] {
            assert_eq!(redacted(secret), REDACTED, "{secret}");
        }
    }
}
