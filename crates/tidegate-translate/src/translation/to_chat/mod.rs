//! Translates a request for Anthropic's messages into one for a chat completion.
//!
//! Values that Anthropic accepts and the target answers with a 400 are corrected or dropped if they are only
//! advisory. They are rejected if a change would alter the meaning of the request:
//!
//! | in messages | here | source |
//! |--|--|--|
//! | `max_tokens` above the model's maximum | the maximum | OpenAI: "max_tokens is too large" |
//! | `max_tokens` of 0, which only fills Anthropic's cache | rejected | OpenAI: "Expected a value >= 1" |
//! | `max_tokens`, for OpenAI, and for its reasoning models elsewhere | `max_completion_tokens` | OpenAI: "'max_tokens' is not supported with this model" |
//! | `temperature`, `top_p` for OpenAI's reasoning models, and for Kimi from K2.5 on | dropped | OpenAI: "Only the default (1) value is supported"; Moonshot: "only 0.6 is allowed for this model" |
//! | `stop_sequences` for OpenAI's and xAI's reasoning models | carried out on the response | OpenAI, "Chat completions", and xAI, "Reasoning": not with reasoning models |
//! | one of more than 1000 characters among them | rejected | no documented limit; Amazon's `TextInferenceConfig` has 1000 |
//! | `disable_parallel_tool_use`, for OpenAI's o-series | dropped: they call one tool at a time | OpenAI: "not supported with this model" |
//! | more than 128 `tools`, for OpenAI and Groq, or 350, for xAI | rejected | OpenAI: "array too long"; Groq: "maximum number of items is 128"; xAI: "Maximum tools limit reached" |
//! | `output_config.format`, for DeepSeek | rejected | DeepSeek: "This response_format type is unavailable now" |
//! | thinking that is disabled, for DeepSeek, Kimi K2.5 and K2.6, MiMo, and GLM from 4.5 to 5.2 | `thinking` is disabled | DeepSeek, "Thinking mode": "enabled by default"; Moonshot, MiMo, Z.ai: the same |
//! | the same, for OpenAI's reasoning models, gpt-oss, Kimi from K3 on, GLM from 5.3 on, Gemini from 2.5 on and Grok from 4.3 on | the effort "none", or "low" for those that always think | OpenAI, the pages of its models; Moonshot, "Reasoning effort"; Z.ai: "always engages in thinking and cannot be disabled"; Google, "OpenAI compatibility"; xAI, "Reasoning" |
//! | an effort or a budget that is none of the target's | "high", or for "max" its highest effort | DeepSeek, Kimi, GLM: low, high, max; OpenAI, Gemini, Grok: low, medium, high; xhigh, for GPT from 5.2 on and Grok from 4.7 on |
//! | an effort together with tools, for GPT from 5.2 on | dropped unless it is "none"; "none" from 5.6 on | OpenAI: "Function tools with reasoning_effort are not supported" |
//! | `tools`, for those of them without "none": GPT-6 Astra, and Sol from 6.1 on | rejected | the same, "at every accepted `reasoning_effort`" (genkit-ai/genkit-dart#423) |
//! | more than 4 `stop_sequences` (DeepSeek: 16) | rejected | OpenAI, DeepSeek, "Chat completions" |
//! | `metadata.user_id` above 64 characters, or for Mistral | dropped | OpenAI: "string too long" (maximhq/bifrost#1000); Mistral: "Extra inputs are not permitted" |
//! | call ids above 40 characters; with Mistral, other than 9 letters and digits | numbered | OpenAI: "maximum length 40"; Mistral: "with a length of 9" |
//! | a final assistant message, for OpenAI | rejected | the model responds to it instead of continuing it |
//! | a final assistant message, for Mistral | rejected | the response would repeat it (Mistral's guide "Prefix") |
//! | a user message after tool results, for Mistral | its text is added to the last result | Mistral: "Unexpected role 'user' after role 'tool'" |
//! | an image in such a message | rejected | a tool message can hold only text |
//! | messages of the assistant between calls and their results | become one with that of the calls | OpenAI: "must be followed by tool messages" |
//! | several texts in one message | joined | DeepSeek: "invalid type: sequence, expected a string" |
//! | files, and images but for the flash models, for DeepSeek | rejected | DeepSeek, "Vision" |
//! | a turn with calls of which the reasoning is missing (Kimi, MiMo: a call), or a required call, for DeepSeek, Kimi and MiMo | `thinking` is disabled | DeepSeek: "must be passed back to the API", "Thinking mode does not support this tool_choice"; Moonshot: the same (can1357/oh-my-pi#1077); MiMo: "must be passed back to the API" |
//! | a required call, for Kimi K2.7, or of a certain tool, for K3, and for a Claude from 5.1 on but Haiku | rejected | Moonshot: "tool_choice 'required' is incompatible with thinking enabled"; Anthropic: "not supported for this model" |
//! | a call of which the reasoning is missing, for Kimi from K2.7 on, which always thinks | blank reasoning | Moonshot: "reasoning_content is missing" |
//! | the calls of a message, for Gemini from 3 on | the first is marked as made by another model; at OpenRouter each, in `reasoning_details` | Google: "Function call is missing a thought_signature"; OpenRouter: "Gemini models require OpenRouter reasoning details to be preserved" |
//! | no message | rejected | OpenAI: "[] is too short" |

mod conversation;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_core::Untranslatable;
use tidegate_providers::Provider;

use self::conversation::conversation;
use super::chat::{ChatMessage, Function, FunctionTool, JsonSchema, ResponseFormat, StreamOptions};
use super::content::Content;
use super::fields::{RejectedField, read_fields};
use super::messages::{self, ContentBlock, Metadata, OutputConfig, ThinkingConfig, ToolChoice};
use super::schema::{self, SchemaObject};
use super::stop_sequences::StopSequenceSearch;
use super::tool_names::ToolNames;
use crate::models::{
    EffortWithTools, accepts_part, accepts_response_schema, accepts_sampling, accepts_stop,
    can_disable_thinking, effort_with_tools, effort_without_thinking, efforts, is_o_series,
    max_output_tokens, max_stop_sequences, max_tools, may_continue_assistant_message, nearest_effort,
    needs_include_usage, uses_max_completion_tokens, wants_reasoning, wants_reasoning_of_turn,
};
use crate::request_fields::RawJson;
use crate::untranslatable::{malformed, unsupported};

#[derive(Serialize)]
struct ChatRequestBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    messages: Vec<ChatMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FunctionTool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat>,
}

/// Fields without a counterpart, which are rejected unless their value has no effect.
const REJECTED_FIELDS: [RejectedField; 4] = [
    ("container", |_| false),
    ("mcp_servers", |servers| servers.as_array().is_some_and(Vec::is_empty)),
    ("context_management", only_clears_context),
    ("inference_geo", |region| region == "global"),
];

/// Whether the edits only clear thinking and tool results from the context to save tokens. They can be
/// ignored, because a target that receives the complete context lacks nothing, and thinking is dropped
/// anyway. Claude Code sends such edits whenever thinking is on.
fn only_clears_context(management: &Value) -> bool {
    let edits = management["edits"].as_array().map_or(&[][..], |edits| edits);
    edits.iter().all(|edit| edit["type"].as_str().is_some_and(|kind| kind.starts_with("clear_")))
}

/// The translated request, and what the response must be translated with.
pub(super) struct ChatRequest {
    pub(super) body: Bytes,
    pub(super) tool_names: ToolNames,
    pub(super) stops: StopSequenceSearch,
}

pub(super) fn request(body: &[u8], target: &str) -> Result<ChatRequest, Untranslatable> {
    let mut fields = read_fields(body)?;
    let mut tool_names = ToolNames::for_chat();
    for (name, is_noop) in REJECTED_FIELDS {
        fields.reject(name, is_noop)?;
    }
    let system: Option<Content<ContentBlock>> = fields.take("system")?;
    let mut incoming: Vec<messages::AnthropicMessage> =
        fields.take("messages")?.ok_or_else(|| malformed("messages"))?;
    let tools = tools(fields.take("tools")?.unwrap_or_default(), &mut tool_names)?;
    if tools.len() > max_tools(target) {
        return Err(Untranslatable::new("tools", "are more than the target takes"));
    }
    let choice: Option<ToolChoice> = fields.take("tool_choice")?;
    let choice = choice.filter(|_| !tools.is_empty());
    choice.as_ref().map_or(Ok(()), |choice| choice.check(target))?;
    let config: OutputConfig = fields.take("output_config")?.unwrap_or_default();
    // The former name of `output_config.format`, which older clients still use.
    let format = config.format.or(fields.take("output_format")?);
    if format.is_some() && !accepts_response_schema(target) {
        return Err(unsupported("output_config.format"));
    }
    let latest = incoming.iter_mut().rev().find_map(|message| message.output_config.take()?.effort);
    let wanted_effort = latest.or(config.effort);
    let thinking: Option<ThinkingConfig> = fields.take("thinking")?;
    let is_disabled =
        thinking.as_ref().is_some_and(|thinking| matches!(&*thinking.kind, "disabled" | "between_tools"));
    let effort = match effort_without_thinking(target).filter(|_| is_disabled) {
        Some(lowest) => Some(lowest),
        None => effort(wanted_effort, thinking, efforts(target)),
    };
    let effort = match effort_with_tools(target) {
        _ if tools.is_empty() => effort,
        EffortWithTools::Taken => effort,
        EffortWithTools::Refused => effort.filter(|effort| *effort == "none"),
        EffortWithTools::None => Some("none"),
        EffortWithTools::NoTools => {
            return Err(Untranslatable::new("tools", "are rejected by the target in a chat completion"));
        }
    };
    let stream: Option<bool> = fields.take("stream")?;
    let limit: Option<u64> = fields.take("max_tokens")?;
    if limit == Some(0) {
        return Err(Untranslatable::new("max_tokens", "is less than 1"));
    }
    let limit = limit.map(|limit| limit.min(max_output_tokens(target).unwrap_or(u64::MAX)));
    let (max_tokens, max_completion_tokens) =
        if uses_max_completion_tokens(target) { (None, limit) } else { (limit, None) };
    let metadata: Option<Metadata> = fields.take("metadata")?;
    let is_single = choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let is_forced = choice.as_ref().is_some_and(ToolChoice::is_required);
    let is_mistral = Provider::named(target) == Provider::Mistral;
    let user = metadata.and_then(|metadata| metadata.user_id);
    let messages = conversation(system, incoming, target, &mut tool_names)?;
    let has_prefill = messages.last().is_some_and(|last| last.role == "assistant");
    if has_prefill && !may_continue_assistant_message(target) {
        return Err(Untranslatable::new("messages", "has to end with the user for the target"));
    }
    let mut parts = messages.iter().flat_map(|message| match &message.content {
        Some(Content::Parts(parts)) => &parts[..],
        _ => &[],
    });
    if parts.any(|part| !accepts_part(target, &part.kind)) {
        return Err(Untranslatable::new(
            "messages[].content",
            "has an image or a file, which the target rejects",
        ));
    }
    let cannot_think = || wants_reasoning(target) && (is_forced || lacks_reasoning(&messages, target));
    let disables_thinking = can_disable_thinking(target) && (is_disabled || cannot_think());
    let (stop, stops) = stop(fields.take("stop_sequences")?.unwrap_or_default(), target)?;
    let request = ChatRequestBody {
        model: fields.take_raw("model"),
        max_tokens,
        max_completion_tokens,
        messages,
        tools,
        tool_choice: choice.map(|choice| tool_choice(choice, &mut tool_names)).transpose()?,
        parallel_tool_calls: (is_single && !is_o_series(target)).then_some(false),
        stop,
        temperature: fields.take_raw("temperature").filter(|_| accepts_sampling(target)),
        top_p: fields.take_raw("top_p").filter(|_| accepts_sampling(target)),
        user: user.filter(|user| !is_mistral && user.chars().count() <= 64),
        stream,
        // Anthropic streams always report usage, so it is requested here.
        stream_options: (stream == Some(true) && needs_include_usage(target))
            .then_some(StreamOptions { include_usage: true }),
        reasoning_effort: effort.filter(|_| !disables_thinking),
        thinking: disables_thinking.then(|| ThinkingConfig::of("disabled")),
        response_format: format.map(response_format).transpose()?,
    };
    let body = serde_json::to_vec(&request).map_err(|_| malformed("body"))?;
    Ok(ChatRequest { body: body.into(), tool_names, stops })
}

/// Whether the reasoning of a turn with calls is missing: it was signed by another provider, or omitted from
/// the response.
fn lacks_reasoning(messages: &[ChatMessage], target: &str) -> bool {
    let has_calls = |message: &ChatMessage| message.tool_calls.is_some();
    messages.split(|message| message.role == "user").any(|turn| {
        let is_of_turn = wants_reasoning_of_turn(target) && turn.iter().any(has_calls);
        let wants = |message: &ChatMessage| is_of_turn && message.role == "assistant" || has_calls(message);
        turn.iter().any(|message| wants(message) && message.reasoning_content.is_none())
    })
}

/// The maximum length of a sequence that the response is searched for, in characters. The search keeps nine
/// times its bytes until the response ends. Amazon Bedrock allows as many (`TextInferenceConfig`).
const MAX_STOP_SEQUENCE: usize = 1000;

/// The sequences to send, and those to search the response for, because the target rejects them.
fn stop(
    stops: Vec<String>,
    target: &str,
) -> Result<(Option<Vec<String>>, StopSequenceSearch), Untranslatable> {
    if stops.len() > max_stop_sequences(target) {
        return Err(Untranslatable::new("stop_sequences", "are more than the target takes"));
    }
    if accepts_stop(target) {
        return Ok((Some(stops).filter(|stops| !stops.is_empty()), StopSequenceSearch::default()));
    }
    if stops.iter().any(|stop| stop.chars().count() > MAX_STOP_SEQUENCE) {
        return Err(Untranslatable::new("stop_sequences", "have one of more than 1000 characters"));
    }
    Ok((None, StopSequenceSearch::new(stops)))
}

fn tools(
    tools: Vec<messages::AnthropicTool>,
    tool_names: &mut ToolNames,
) -> Result<Vec<FunctionTool>, Untranslatable> {
    let tool = |tool: messages::AnthropicTool| {
        if tool.kind.is_some_and(|kind| kind != "custom") {
            return Err(unsupported("tools[].type"));
        }
        let schema = tool
            .input_schema
            .as_deref()
            .map(|raw| schema::parameters(raw).ok_or_else(|| malformed("tools[].input_schema")));
        let schema = schema.transpose()?;
        let function = Function {
            name: tool_names.assign(tool.name)?,
            description: tool.description,
            parameters: schema.as_ref().and_then(SchemaObject::write),
            strict: tool
                .strict
                .filter(|strict| *strict && schema.as_ref().is_some_and(schema::accepts_strict)),
        };
        Ok(FunctionTool { kind: "function".to_owned(), function: Some(function), cache_control: None })
    };
    tools.into_iter().map(tool).collect()
}

fn tool_choice(choice: ToolChoice, tool_names: &mut ToolNames) -> Result<Value, Untranslatable> {
    Ok(match (&*choice.kind, choice.name) {
        ("auto", _) => json!("auto"),
        ("none", _) => json!("none"),
        ("any", _) => json!("required"),
        ("tool", Some(name)) => {
            let name = tool_names.assign(name)?;
            json!({"type": "function", "function": {"name": name}})
        }
        _ => return Err(unsupported("tool_choice.type")),
    })
}

/// The reasoning effort, derived from the thinking budget if no effort is set, in the nearest form that the target
/// accepts.
fn effort(
    effort: Option<String>,
    thinking: Option<ThinkingConfig>,
    accepted: &[&'static str],
) -> Option<&'static str> {
    let effort = match (effort.as_deref(), thinking) {
        (Some(effort), _) => effort,
        (None, Some(ThinkingConfig { kind, budget_tokens: Some(budget), .. })) if kind == "enabled" => {
            match budget {
                ..4096 => "low",
                4096..16_384 => "medium",
                _ => "high",
            }
        }
        (None, _) => return None,
    };
    nearest_effort(effort, accepted)
}

fn response_format(format: messages::OutputFormat) -> Result<ResponseFormat, Untranslatable> {
    if format.kind != "json_schema" {
        return Err(unsupported("output_config.format.type"));
    }
    let read =
        |raw: &RawJson| SchemaObject::read(raw).ok_or_else(|| malformed("output_config.format.schema"));
    let mut schema = format.schema.as_ref().map(read).transpose()?;
    if let Some(schema) = &mut schema {
        schema::complete(schema);
    }
    // Anthropic enforces every schema, and OpenAI those that meet its rules.
    let strict = schema.as_ref().is_some_and(schema::accepts_strict).then_some(true);
    // A chat schema needs a name.
    let name = "answer".to_owned();
    let json_schema = Some(JsonSchema {
        name,
        description: None,
        schema: schema.as_ref().and_then(SchemaObject::write),
        strict,
    });
    Ok(ResponseFormat { kind: format.kind, json_schema })
}
