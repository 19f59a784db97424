//! Parameter support of the models behind a target, for settings that models express in different ways.

use tidegate_core::ModelCatalog;
use tidegate_providers::{ModelTable, Provider};

/// How extended thinking of an Anthropic model is controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThinkingControl {
    /// It cannot be controlled.
    None,
    /// By a number of tokens.
    Budget,
    /// By an effort; a number of tokens is rejected (Anthropic, "Adaptive thinking": from Claude 4.6 on).
    Effort,
    /// By an effort. It is on by default, and turned off by this type of thinking.
    OnUnless(&'static str),
    /// By an effort. It is always on.
    AlwaysOn,
}

/// The part after the first slash, or all of it.
fn model(target: &str) -> &str {
    target.split_once('/').map_or(target, |(_, model)| model)
}

/// Which of `temperature` and `top_p` are sent to an Anthropic model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// Both.
    Both,
    /// One of them: both together are rejected (Anthropic, "Messages": from Claude 4.1 on).
    One,
    /// None: any value but the default is rejected (Anthropic, "What's new in Claude Opus 4.7").
    None,
}

/// The version of a Claude model whose name has no number. It may be any: it is sent what the newest accepts, no
/// thinking unless an effort is set, and required tool calls.
const UNNUMBERED: (u32, u32) = (u32::MAX, 0);

/// The major and minor version of an Anthropic model: the first two numbers in its name that are not a date.
/// `None` for all other models, and [`UNNUMBERED`] for a Claude without a number.
fn claude_version(target: &str) -> Option<(u32, u32)> {
    let (_, name) = model(target).split_once("claude")?;
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() <= 2);
    let Some(generation) = parts.by_ref().find_map(number) else { return Some(UNNUMBERED) };
    Some((generation, parts.next().and_then(number).unwrap_or(0)))
}

/// Whether an Anthropic model is Claude 4.5 or earlier. Later ones control thinking by effort, and reject a
/// prefilled assistant message (Anthropic, "What's new in Claude 4.6").
pub(crate) fn is_before_claude_4_6(target: &str) -> bool {
    claude_version(target).is_some_and(|version| version < (4, 6))
}

/// Whether a model continues a prefilled assistant message. For models other than Claude this is unknown, and
/// true is assumed.
pub(crate) fn accepts_prefill(target: &str) -> bool {
    claude_version(target).is_none_or(|version| version < (4, 6))
}

/// Whether a model can be required to follow a schema, for its response or for its tools (Anthropic,
/// "Structured outputs": from Claude 4.1 on). Older ones reject the field.
pub(crate) fn accepts_schema(target: &str) -> bool {
    claude_version(target).is_none_or(|version| version >= (4, 1))
}

pub(crate) fn sampling(target: &str) -> Sampling {
    match claude_version(target) {
        None => Sampling::Both,
        Some(version) if version < (4, 1) => Sampling::Both,
        Some(version) if version < (4, 7) => Sampling::One,
        Some(_) => Sampling::None,
    }
}

/// From Claude 5 on thinking is on by default (Anthropic, migration guides of Opus 5, Sonnet 5, Haiku 5.5, Sonnet
/// 5.5 and Opus 5.5). A later version that is not known counts as one that always thinks, since an effort is
/// accepted by all of them.
pub(crate) fn thinking_control(target: &str) -> ThinkingControl {
    let Some(version) = claude_version(target) else { return ThinkingControl::None };
    let is = |family: &str| model(target).contains(family);
    match version {
        _ if version < (3, 7) => ThinkingControl::None,
        _ if version < (4, 6) => ThinkingControl::Budget,
        _ if version < (5, 0) || version == UNNUMBERED => ThinkingControl::Effort,
        _ if version < (5, 5) && (is("opus") || is("sonnet")) => ThinkingControl::OnUnless("disabled"),
        _ if version <= (5, 5) && is("haiku") => ThinkingControl::OnUnless("disabled"),
        (5, 5) if is("sonnet") => ThinkingControl::OnUnless("between_tools"),
        _ => ThinkingControl::AlwaysOn,
    }
}

/// Whether a model rejects a required tool call. `is_named`: of a certain tool, and not of any.
///
/// Claude from 5.1 on rejects both, except Haiku (Anthropic, "What's new in Claude Opus 5.5": "Forced tool use
/// returns an error"). Kimi K2.7, which always thinks, rejects both, and K3 a certain tool
/// (UKGovernmentBEIS/inspect_ai#5152).
pub(crate) fn rejects_required_call(target: &str, is_named: bool) -> bool {
    let is_claude = claude_version(target).is_some_and(|version| version >= (5, 1) && version != UNNUMBERED)
        && !model(target).contains("haiku");
    let kimi = kimi_version(target);
    is_claude || kimi >= Some((2, 7)) && (is_named || kimi < Some((3, 0)))
}

/// The maximum output tokens of the model of `target`, if known. Larger values are rejected, so that
/// translations lower them.
#[must_use]
pub fn max_output_tokens(target: &str) -> Option<u64> {
    ModelTable::new().capabilities(target)?.max_output_tokens
}

/// The efforts that most models accept, from the lowest. Without "none", thinking is always on.
static LEVELS: [&str; 5] = ["none", "low", "medium", "high", "xhigh"];

/// The efforts from "low" to "high", and "none" and "xhigh" if they are accepted.
fn levels(has_none: bool, has_xhigh: bool) -> &'static [&'static str] {
    &LEVELS[usize::from(!has_none)..4 + usize::from(has_xhigh)]
}

/// The values of `reasoning_effort` that a model accepts in OpenAI's dialect, from the lowest. There are none if the
/// field is rejected, or has no effect.
///
/// Sources: OpenAI, the pages of its models; DeepSeek, "Thinking mode"; Moonshot, "Reasoning effort"; Z.ai, "Deep
/// Thinking"; Google, "OpenAI compatibility"; xAI, "Reasoning".
pub(crate) fn efforts(target: &str) -> &'static [&'static str] {
    let name = bare_name(target);
    let (gemini, grok) = (gemini_version(target), grok_version(target));
    if Provider::named(target) == Provider::DeepSeek && name != "deepseek-chat"
        || kimi_version(target) >= Some((3, 0))
        || glm_version(target) >= Some((5, 3))
    {
        &["low", "high", "max"]
    } else if is_reasoning_model(target) && !is_of_chatgpt(target) {
        levels(!always_reasons(target), gpt_version(target) >= Some((5, 2)))
    } else if gemini >= Some((2, 5)) && !name.contains("image") && !name.contains("tts") {
        levels(gemini == Some((2, 5)) && !name.contains("pro"), false)
    } else if grok >= Some(4.3) && !name.contains("non-reasoning") {
        levels(grok == Some(4.3), grok >= Some(4.7))
    } else if name.starts_with("gpt-oss") {
        levels(false, false)
    } else {
        &[]
    }
}

/// The effort for a caller that disables thinking: "none" or, where thinking is always on, the lowest. Whether another
/// host accepts "none" for OpenAI's models is unknown.
pub(crate) fn effort_without_thinking(target: &str) -> Option<&'static str> {
    let lowest = efforts(target).first().copied();
    lowest.filter(|_| !is_reasoning_model(target) || is_at_openai(target))
}

/// The efforts that a Claude accepts, from the lowest (Anthropic, "Effort"). Before 4.6 they become a budget.
pub(crate) fn claude_efforts(target: &str) -> &'static [&'static str] {
    match claude_version(target) {
        Some(version) if version >= (4, 7) && version != UNNUMBERED => {
            &["low", "medium", "high", "xhigh", "max"]
        }
        Some((4, 6)) => &["low", "medium", "high", "max"],
        _ => levels(false, false),
    }
}

/// The effort itself if it is accepted, or else "high"; for "max" the highest.
pub(crate) fn nearest_effort(effort: &str, accepted: &[&'static str]) -> Option<&'static str> {
    let named = |name: &str| accepted.iter().find(|known| **known == name);
    named(effort).or_else(|| if effort == "max" { accepted.last() } else { named("high") }).copied()
}

/// Whether a model is one of OpenAI's own reasoning models. They reject `stop`, and any `temperature` or
/// `top_p` but the default (OpenAI, "Reasoning models" and "Chat completions"). Of the models of ChatGPT only that of
/// GPT-5 does not reason.
pub(crate) fn is_reasoning_model(target: &str) -> bool {
    let name = bare_name(target);
    let is_gpt =
        |rest: &str| starts_with_digit(rest) && !rest.starts_with(['3', '4']) && !rest.starts_with("5-chat");
    is_o_series(target) || name == "chat-latest" || name.strip_prefix("gpt-").is_some_and(is_gpt)
}

/// Whether a reasoning model is one of ChatGPT. Its effort is always medium (OpenAI: "Supported values are:
/// 'medium'", chatgpt-web-dev/chatgpt-web#696).
fn is_of_chatgpt(target: &str) -> bool {
    bare_name(target).split('-').any(|part| part == "chat")
}

/// Whether a model is one of OpenAI's o-series, which calls one tool at a time and rejects
/// `parallel_tool_calls` ("is not supported with this model", run-llama/llama_index#20865).
pub(crate) fn is_o_series(target: &str) -> bool {
    bare_name(target).strip_prefix('o').is_some_and(starts_with_digit)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a model accepts `temperature` and `top_p`. OpenAI's reasoning models and Kimi from K2.5 on reject
/// any value but their own, which is another one without thinking (Moonshot: "invalid temperature: only 0.6
/// is allowed for this model").
pub(crate) fn accepts_sampling(target: &str) -> bool {
    !is_reasoning_model(target) && kimi_version(target) < Some((2, 5))
}

/// Whether a model accepts `stop`. Reasoning models of OpenAI and of xAI reject it (xAI, "Reasoning":
/// "Argument not supported on this model: stop").
pub(crate) fn accepts_stop(target: &str) -> bool {
    let name = bare_name(target);
    let models = ["grok-3-mini", "grok-code-fast", "grok-build"];
    let reasons = grok_version(target) >= Some(4.0) || models.iter().any(|model| name.starts_with(model));
    let is_of_xai = Provider::named(target) == Provider::XAi && reasons && !name.contains("non-reasoning");
    !(is_of_xai || is_reasoning_model(target))
}

/// How `reasoning_effort` is handled in a request with tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EffortWithTools {
    /// It is accepted, as in any other request.
    Taken,
    /// Any other value than "none" is rejected (openai/openai-openapi#541).
    Refused,
    /// It has to be "none": any other value is rejected, and so is its absence (BerriAI/litellm#34569).
    None,
    /// It would have to be "none", which the model rejects as well: tools are not accepted.
    NoTools,
}

/// What OpenAI's own reasoning models accept in a chat completion with tools. They expect the Responses API
/// there.
pub(crate) fn effort_with_tools(target: &str) -> EffortWithTools {
    match gpt_version(target).filter(|_| is_at_openai(target) && !is_of_chatgpt(target)) {
        None => EffortWithTools::Taken,
        Some(version) if version < (5, 2) => EffortWithTools::Taken,
        Some(version) if version < (5, 6) => EffortWithTools::Refused,
        Some(_) if always_reasons(target) => EffortWithTools::NoTools,
        Some(_) => EffortWithTools::None,
    }
}

/// The major and minor version of one of OpenAI's GPT models that reason.
fn gpt_version(target: &str) -> Option<(u32, u32)> {
    leading_version(bare_name(target).strip_prefix("gpt-").filter(|_| is_reasoning_model(target))?)
}

/// Whether a GPT model has no effort "none": those before 5.1, and of the later ones GPT-6 Astra and, from 6.1 on, Sol
/// (OpenAI: "Supported values are: 'low', 'medium', 'high', and 'xhigh'", genkit-ai/genkit#6303).
fn always_reasons(target: &str) -> bool {
    let version = gpt_version(target);
    let is = |family: &str| bare_name(target).contains(family);
    version < Some((5, 1)) || is("astra") || is("sol") && version >= Some((6, 1))
}

/// Whether the target is at OpenAI or at Azure, which have the same API.
fn is_at_openai(target: &str) -> bool {
    matches!(Provider::named(target), Provider::OpenAi | Provider::Azure)
}

/// The name of the model without the prefixes of hosts.
fn bare_name(target: &str) -> &str {
    model(target).rsplit('/').next().unwrap_or_default()
}

/// Whether the token limit is called `max_completion_tokens`. OpenAI's newer models reject `max_tokens`, at other
/// hosts as well (ericc-ch/copilot-api#222), and many providers with its dialect support nothing else.
pub(crate) fn uses_max_completion_tokens(target: &str) -> bool {
    is_at_openai(target) || is_reasoning_model(target)
}

/// Whether a final assistant message may be the beginning of the response. The caller would receive the
/// beginning twice from OpenAI's models, which respond to it as to a finished message, and from Mistral's,
/// which repeat it. For other providers this is unknown.
pub(crate) fn may_continue_assistant_message(target: &str) -> bool {
    !is_at_openai(target) && Provider::named(target) != Provider::Mistral
}

/// Whether a user message may follow a tool result (Mistral: "Unexpected role 'user' after role 'tool'").
pub(crate) fn accepts_user_after_tool(target: &str) -> bool {
    Provider::named(target) != Provider::Mistral
}

/// Whether the content of a message may have a part of this type. DeepSeek takes no files, and images by its
/// flash models only (DeepSeek, "Vision"; the others: "invalid type: sequence, expected a string").
pub(crate) fn accepts_part(target: &str, kind: &str) -> bool {
    Provider::named(target) != Provider::DeepSeek
        || kind == "text"
        || kind == "image_url" && bare_name(target).contains("flash")
}

/// Whether system messages are accepted after others. OpenAI documents it; chat templates of open models
/// reject it.
pub(crate) fn accepts_later_system(target: &str) -> bool {
    is_at_openai(target)
}

/// Whether the reasoning of earlier responses has to be sent back as `reasoning_content` (DeepSeek, "Thinking
/// mode": required in turns with tool calls; Moonshot: "reasoning_content is missing in assistant tool call
/// message"; Xiaomi MiMo, "Deep thinking": the same as DeepSeek). For Kimi and MiMo at the providers with an API of
/// their own this is unknown.
pub(crate) fn wants_reasoning(target: &str) -> bool {
    match Provider::named(target) {
        Provider::DeepSeek => true,
        Provider::Other => bare_name(target).starts_with("kimi") || is_mimo(target),
        _ => false,
    }
}

/// Whether the model is a Xiaomi MiMo that is not at a provider with an API of its own.
fn is_mimo(target: &str) -> bool {
    Provider::named(target) == Provider::Other && bare_name(target).starts_with("mimo-v")
}

/// The major and minor version of a Kimi model, unless it is at a provider with an API of its own.
fn kimi_version(target: &str) -> Option<(u32, u32)> {
    leading_version(bare_name(target).strip_prefix("kimi-k").filter(|_| wants_reasoning(target))?)
}

/// Whether every message of a turn with tool calls has to have its reasoning, and not only those with calls.
pub(crate) fn wants_reasoning_of_turn(target: &str) -> bool {
    Provider::named(target) == Provider::DeepSeek
}

/// Whether a call without reasoning is rejected, and thinking cannot be disabled (Moonshot, "Thinking mode":
/// from Kimi K2.7 on).
pub(crate) fn requires_reasoned_calls(target: &str) -> bool {
    kimi_version(target) >= Some((2, 7))
}

/// Whether thinking is on by default and can be disabled by `thinking`. Where the reasoning of a call
/// [is wanted](wants_reasoning), it has to be if that is missing or a tool call is required (DeepSeek: "Thinking mode
/// does not support this tool_choice"; Moonshot: "tool_choice 'required' is incompatible with thinking enabled").
pub(crate) fn can_disable_thinking(target: &str) -> bool {
    Provider::named(target) == Provider::DeepSeek
        || matches!(kimi_version(target), Some((2, 5 | 6)))
        || is_mimo(target)
        || glm_version(target).is_some_and(|version| ((4, 5)..(5, 3)).contains(&version))
}

/// The major and minor version of a GLM, unless it is at a provider with an API of its own. Some hosts write `5p3`.
/// Before 4.5 it does not think, and from 5.3 on always (Z.ai, "Deep Thinking").
fn glm_version(target: &str) -> Option<(u32, u32)> {
    let is_other = Provider::named(target) == Provider::Other;
    leading_version(&bare_name(target).strip_prefix("glm-").filter(|_| is_other)?.replace('p', "."))
}

/// The version of a Grok at xAI. It is a decimal number: 4.20 was before 4.3.
fn grok_version(target: &str) -> Option<f32> {
    let name =
        bare_name(target).strip_prefix("grok-").filter(|_| Provider::named(target) == Provider::XAi)?;
    name.split('-').next()?.parse().ok()
}

/// Where the signature of a call's reasoning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallSignature {
    /// In the first call of a message (Google, "Thought signatures").
    InFirstCall,
    /// In the `reasoning_details` of the message, for each call (OpenRouter, "Reasoning tokens").
    InReasoningDetails,
}

/// The signature without which the model rejects a call (Google, "Thought signatures": from Gemini 3 on). A Gemini
/// model without a number counts as the newest.
pub(crate) fn required_call_signature(target: &str) -> Option<CallSignature> {
    let signature = match Provider::named(target) {
        Provider::Gemini | Provider::Vertex => CallSignature::InFirstCall,
        Provider::OpenRouter => CallSignature::InReasoningDetails,
        _ => return None,
    };
    (gemini_name_version(target) >= Some((3, 0))).then_some(signature)
}

/// The major and minor version of a Gemini model at Google.
fn gemini_version(target: &str) -> Option<(u32, u32)> {
    let is_google = matches!(Provider::named(target), Provider::Gemini | Provider::Vertex);
    gemini_name_version(target).filter(|_| is_google)
}

/// The same, for a Gemini model at any host.
fn gemini_name_version(target: &str) -> Option<(u32, u32)> {
    let name = bare_name(target).strip_prefix("gemini-")?;
    Some(leading_version(name).unwrap_or((u32::MAX, 0)))
}

/// The version with which a name begins, such as `2.5`.
fn leading_version(name: &str) -> Option<(u32, u32)> {
    let version = name.split(|letter: char| !matches!(letter, '0'..='9' | '.')).next()?;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// Whether a stream reports its usage only on request. Mistral reports it always, and rejects unknown fields.
pub(crate) fn needs_include_usage(target: &str) -> bool {
    Provider::named(target) != Provider::Mistral
}

/// Maximum number of stop sequences: four in OpenAI's dialect, sixteen at DeepSeek (their documentation of
/// chat completions).
pub(crate) fn max_stop_sequences(target: &str) -> usize {
    if Provider::named(target) == Provider::DeepSeek { 16 } else { 4 }
}

/// Maximum number of tools, if known (OpenAI: "array too long. Expected an array with maximum length 128";
/// Groq: "maximum number of items is 128"). That of xAI is 200 for most models and 350 for the others
/// (github/copilot-cli#4836): the larger one never costs a target that works.
pub(crate) fn max_tools(target: &str) -> usize {
    match Provider::named(target) {
        Provider::OpenAi | Provider::Azure | Provider::Groq => 128,
        Provider::XAi => 350,
        _ => usize::MAX,
    }
}

/// Whether the response can be required to follow a schema. DeepSeek rejects the format ("This response_format
/// type is unavailable now", llm-exe/llm-exe#662).
pub(crate) fn accepts_response_schema(target: &str) -> bool {
    Provider::named(target) != Provider::DeepSeek
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_control_depends_on_the_generation() {
        for (target, expected) in [
            ("anthropic/claude-3-5-sonnet-latest", ThinkingControl::None),
            ("anthropic/claude-3-haiku-20240307", ThinkingControl::None),
            ("anthropic/claude-3-7-sonnet-latest", ThinkingControl::Budget),
            ("anthropic/claude-opus-4-20250514", ThinkingControl::Budget),
            ("anthropic/claude-sonnet-4-5", ThinkingControl::Budget),
            ("anthropic/claude-opus-4-6", ThinkingControl::Effort),
            ("anthropic/claude-opus-4-8", ThinkingControl::Effort),
            ("anthropic/claude-sonnet-5", ThinkingControl::OnUnless("disabled")),
            ("anthropic/claude-opus-5-20260701", ThinkingControl::OnUnless("disabled")),
            ("anthropic/claude-haiku-5-5", ThinkingControl::OnUnless("disabled")),
            ("openrouter/anthropic/claude-sonnet-5.5", ThinkingControl::OnUnless("between_tools")),
            ("bedrock/us.anthropic.claude-opus-5-5-v1:0", ThinkingControl::AlwaysOn),
            ("anthropic/claude-fable-5", ThinkingControl::AlwaysOn),
            ("anthropic/claude-mythos-5-1", ThinkingControl::AlwaysOn),
            ("anthropic/claude-sonnet-6", ThinkingControl::AlwaysOn),
            ("bedrock/anthropic.claude-opus-4-5-20251101-v1:0", ThinkingControl::Budget),
            ("vertex/claude-opus-4-1@20250805", ThinkingControl::Budget),
            ("anthropic/claude", ThinkingControl::Effort),
            ("litellm/claude-sonnet", ThinkingControl::Effort),
            ("litellm/claude-opus-latest", ThinkingControl::Effort),
            ("deepseek/deepseek-chat", ThinkingControl::None),
        ] {
            assert_eq!(thinking_control(target), expected, "{target}");
        }
    }

    #[test]
    fn sampling_and_prefill_depend_on_the_generation() {
        for (target, expected, prefill) in [
            ("anthropic/claude-2.1", Sampling::Both, true),
            ("anthropic/claude-3-5-sonnet-20241022", Sampling::Both, true),
            ("anthropic/claude-sonnet-4-20250514", Sampling::Both, true),
            ("anthropic/claude-opus-4-0", Sampling::Both, true),
            ("anthropic/claude-opus-4-1-20250805", Sampling::One, true),
            ("openrouter/anthropic/claude-sonnet-4.5", Sampling::One, true),
            ("anthropic/claude-sonnet-4-6", Sampling::One, false),
            ("anthropic/claude-opus-4-7", Sampling::None, false),
            ("anthropic/claude-sonnet-5", Sampling::None, false),
            ("anthropic/claude-latest", Sampling::None, false),
            ("deepseek/deepseek-chat", Sampling::Both, true),
        ] {
            assert_eq!((sampling(target), accepts_prefill(target)), (expected, prefill), "{target}");
        }
    }

    #[test]
    fn efforts_and_the_way_to_disable_thinking_depend_on_the_model() {
        let (no, to_high, to_max) = (&[][..], &["low", "medium", "high"][..], &["low", "high", "max"][..]);
        let to_xhigh = &["low", "medium", "high", "xhigh"][..];
        // The efforts besides "none", whether `thinking` is disabled, and the effort for a caller that disables
        // thinking.
        for (target, accepted, field, lowest) in [
            ("openai/o3-mini", to_high, false, Some("low")),
            ("openai/gpt-5", to_high, false, Some("low")),
            ("groq/openai/gpt-oss-120b", to_high, false, Some("low")),
            ("azure/gpt-5.1-mini", to_high, false, Some("none")),
            ("openai/gpt-5.2", to_xhigh, false, Some("none")),
            ("azure/gpt-5.4-mini", to_xhigh, false, Some("none")),
            ("copilot/gpt-5.4", to_xhigh, false, None),
            ("openai/gpt-6-luna", to_xhigh, false, Some("none")),
            ("openai/gpt-6-astra", to_xhigh, false, Some("low")),
            ("openai/gpt-6-sol", to_xhigh, false, Some("none")),
            ("openai/gpt-6.1-sol", to_xhigh, false, Some("low")),
            ("openai/gpt-7.2", to_xhigh, false, Some("none")),
            ("openai/gpt-5-chat-latest", no, false, None),
            ("openai/gpt-5.2-chat-latest", no, false, None),
            ("openai/chat-latest", no, false, None),
            ("openai/gpt-4o", no, false, None),
            ("openai/gpt-3.5-turbo", no, false, None),
            ("x/olmo", no, false, None),
            ("", no, false, None),
            ("deepseek/deepseek-chat", no, true, None),
            ("deepseek/deepseek-flash", to_max, true, Some("low")),
            ("deepseek/deepseek-v4-pro", to_max, true, Some("low")),
            ("moonshot/kimi-k2-thinking", no, false, None),
            ("moonshot/kimi-k2.6", no, true, None),
            ("moonshot/kimi-k2.7-code", no, false, None),
            ("moonshot/kimi-k3", to_max, false, Some("low")),
            ("moonshot/kimi-k3.1-pro", to_max, false, Some("low")),
            ("groq/moonshotai/kimi-k3", no, false, None),
            ("mimo/mimo-v2.5", no, true, None),
            ("zai/glm-4-plus", no, false, None),
            ("zai/glm-4.5-air", no, true, None),
            ("zai/glm-4.6v", no, true, None),
            ("zai/glm-5-turbo", no, true, None),
            ("my/zai-org/glm-5.2", no, true, None),
            ("zai/glm-5.3-flash", to_max, false, Some("low")),
            ("my/accounts/fireworks/models/glm-5p3", to_max, false, Some("low")),
            ("zai/glm-6", to_max, false, Some("low")),
            ("zai/glm-latest", no, false, None),
            ("together/zai-org/glm-4.6", no, false, None),
            ("gemini/gemini-2.0-flash", no, false, None),
            ("gemini/gemini-2.5-flash", to_high, false, Some("none")),
            ("vertex/google/gemini-2.5-flash-lite", to_high, false, Some("none")),
            ("gemini/gemini-2.5-pro", to_high, false, Some("low")),
            ("gemini/gemini-2.5-flash-image", no, false, None),
            ("gemini/gemini-3-pro-preview", to_high, false, Some("low")),
            ("gemini/gemini-flash-latest", to_high, false, Some("low")),
            ("openrouter/google/gemini-2.5-flash", no, false, None),
            ("xai/grok-3", no, false, None),
            ("xai/grok-4-fast-reasoning", no, false, None),
            ("xai/grok-4.20-0309-reasoning", no, false, None),
            ("xai/grok-4.3", to_high, false, Some("none")),
            ("xai/grok-4.5", to_high, false, Some("low")),
            ("xai/grok-4.6", to_high, false, Some("low")),
            ("xai/grok-4.7", to_xhigh, false, Some("low")),
            ("xai/grok-5-latest", to_xhigh, false, Some("low")),
            ("xai/grok-5-non-reasoning", no, false, None),
            ("xai/grok-code-fast-1", no, false, None),
            ("xai/grok-latest", no, false, None),
            ("openrouter/x-ai/grok-4.5", no, false, None),
        ] {
            let all = efforts(target);
            let thinking = all.strip_prefix(&["none"]).unwrap_or(all);
            let actual = (thinking, can_disable_thinking(target), effort_without_thinking(target));
            assert_eq!(actual, (accepted, field, lowest), "{target}");
        }
        assert!(!is_reasoning_model("groq/openai/gpt-oss-120b"));
    }
}
