//! What is known of the models behind a target, where the same wish is written in several ways.

use crate::Provider;

/// How a model of Anthropic's is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thought {
    /// It cannot be told.
    None,
    /// By a number of tokens.
    Budget,
    /// By an effort; a number is refused (Anthropic, "Adaptive thinking": from Claude 4.6 on).
    Effort,
}

/// The part after the first slash, or all of it.
fn model(target: &str) -> &str {
    target.split_once('/').map_or(target, |(_, model)| model)
}

/// Whether a model of Anthropic's is one of up to Claude 4.5: later ones think by effort, and refuse the beginning of
/// their own message (Anthropic, "What's new in Claude 4.6").
pub(crate) fn is_before_claude_4_6(target: &str) -> bool {
    let model = model(target);
    let is_old = ["claude-2", "claude-3", "claude-instant"].iter().any(|old| model.contains(old));
    let is_four = ["-4-0", "-4-1", "-4-5", "-4-2025"].iter().any(|four| model.contains(four));
    is_old || (model.contains("claude") && is_four)
}

pub(crate) fn thought(target: &str) -> Thought {
    let model = model(target);
    let is = |part: &str| model.contains(part);
    match () {
        () if !is("claude") => Thought::None,
        () if is("claude-3-7") => Thought::Budget,
        () if is("claude-2") || is("claude-3") || is("claude-instant") => Thought::None,
        () if is_before_claude_4_6(target) => Thought::Budget,
        () => Thought::Effort,
    }
}

/// Whether a model that is asked in OpenAI's dialect takes a `reasoning_effort`; the others refuse it.
pub(crate) fn takes_effort(target: &str) -> bool {
    let name = model(target).rsplit('/').next().unwrap_or_default();
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.starts_with("gpt-oss")
        || name.strip_prefix('o').is_some_and(digit)
        || name.strip_prefix("gpt-").is_some_and(|rest| digit(rest) && !rest.starts_with(['3', '4']))
}

/// Whether the limit of tokens is called `max_completion_tokens`. OpenAI's newer models refuse `max_tokens`, and many
/// who speak its dialect know nothing else.
pub(crate) fn limits_completion(target: &str) -> bool {
    matches!(Provider::named(target), Provider::OpenAi | Provider::Azure)
}

/// Whether a stream has to be asked to tell its usage. Mistral tells it unasked, and refuses fields it does not know.
pub(crate) fn has_to_be_asked_for_usage(target: &str) -> bool {
    Provider::named(target) != Provider::Mistral
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_asked_for_in_the_way_of_the_model() {
        for (target, expected) in [
            ("anthropic/claude-3-5-sonnet-latest", Thought::None),
            ("anthropic/claude-3-haiku-20240307", Thought::None),
            ("anthropic/claude-3-7-sonnet-latest", Thought::Budget),
            ("anthropic/claude-opus-4-20250514", Thought::Budget),
            ("anthropic/claude-sonnet-4-5", Thought::Budget),
            ("anthropic/claude-opus-4-6", Thought::Effort),
            ("anthropic/claude-sonnet-5", Thought::Effort),
            ("deepseek/deepseek-chat", Thought::None),
        ] {
            assert_eq!(thought(target), expected, "{target}");
        }
    }

    #[test]
    fn an_effort_is_told_to_models_that_reason() {
        for target in ["openai/o3-mini", "openai/gpt-5", "groq/openai/gpt-oss-120b", "azure/gpt-5.1-mini"] {
            assert!(takes_effort(target), "{target}");
        }
        for target in ["openai/gpt-4o", "openai/gpt-3.5-turbo", "deepseek/deepseek-chat", "x/olmo", ""] {
            assert!(!takes_effort(target), "{target}");
        }
    }
}
