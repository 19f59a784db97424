//! Translates tools and the choice between them.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_core::Untranslatable;

use super::super::chat;
use super::super::content::raw;
use super::super::messages::{AnthropicMessage, AnthropicTool, CacheMark, ToolChoice};
use super::super::schema::{self, SchemaObject};
use super::super::tool_names::ToolNames;
use crate::request_fields::RequestFields;
use crate::untranslatable::{malformed, unsupported};

/// The maximum number of strict tools: more are rejected ("Too many strict tools", camel-ai/camel#4171).
/// OpenAI has no such limit, and its agents SDK makes every tool strict.
const MAX_STRICT: usize = 20;

/// `format` is the schema of the response, which counts against the limits of strict tools.
pub(super) fn tools(
    tools: Vec<chat::FunctionTool>,
    accepts_schema: bool,
    format: Option<&SchemaObject>,
    tool_names: &mut ToolNames,
) -> Result<Vec<AnthropicTool>, Untranslatable> {
    let tool = |tool: chat::FunctionTool| {
        let function = tool.function.filter(|_| tool.kind == "function");
        let function = function.ok_or_else(|| unsupported("tools[].type"))?;
        // Anthropic requires a schema. A function without parameters gets a schema without properties.
        let parameters = function.parameters.or_else(|| raw(r#"{"type":"object","properties":{}}"#));
        let schema = parameters.as_deref().and_then(schema::input_schema);
        let mut schema = schema.ok_or_else(|| malformed("tools[].function.parameters"))?;
        if !schema::accepts_names(&schema) {
            let problem = "has names of properties that the target rejects";
            return Err(Untranslatable::new("tools[].function.parameters", problem));
        }
        let has_combinations = schema::describe_combinations(&mut schema);
        let is_strict = function.strict == Some(true) && accepts_schema && !has_combinations;
        // A schema that cannot be enforced is sent as it is.
        let enforced = is_strict.then(|| schema::enforced(schema.clone())).and_then(Result::ok);
        let tool = AnthropicTool {
            kind: None,
            name: tool_names.assign(function.name)?,
            description: function.description,
            strict: None,
            input_schema: None,
            cache_control: CacheMark::read(tool.cache_control),
        };
        Ok((tool, schema, enforced))
    };
    let tools = tools.into_iter().map(tool).collect::<Result<Vec<_>, Untranslatable>>()?;
    let enforced = || tools.iter().filter_map(|(.., enforced)| enforced.as_ref());
    let takes_strict =
        enforced().count() <= MAX_STRICT && schema::are_within_limits(enforced().chain(format));
    let tool = |(tool, schema, enforced): (AnthropicTool, SchemaObject, Option<SchemaObject>)| {
        let enforced = enforced.filter(|_| takes_strict);
        let strict = enforced.is_some().then_some(true);
        AnthropicTool { strict, input_schema: enforced.unwrap_or(schema).write(), ..tool }
    };
    Ok(tools.into_iter().map(tool).collect())
}

/// A tool choice without the name of a tool.
pub(super) fn unnamed_choice(kind: &str) -> ToolChoice {
    ToolChoice { kind: kind.to_owned(), ..ToolChoice::default() }
}

pub(super) fn tool_choice(
    fields: &mut RequestFields,
    has_tools: bool,
    target: &str,
    tool_names: &mut ToolNames,
) -> Result<Option<ToolChoice>, Untranslatable> {
    let wanted: Option<Value> = fields.take("tool_choice")?;
    let is_parallel: Option<bool> = fields.take("parallel_tool_calls")?;
    let mut choice = match wanted {
        None => None,
        Some(Value::String(choice)) => Some(match &*choice {
            "auto" => unnamed_choice("auto"),
            "none" => unnamed_choice("none"),
            "required" | "any" => unnamed_choice("any"),
            _ => return Err(unsupported("tool_choice")),
        }),
        Some(choice) if choice["type"] == "function" => {
            let name = choice["function"]["name"].as_str();
            let missing = || malformed("tool_choice.function.name");
            Some(ToolChoice {
                name: Some(tool_names.assign(name.ok_or_else(missing)?.to_owned())?),
                ..unnamed_choice("tool")
            })
        }
        Some(_) => return Err(unsupported("tool_choice.type")),
    };
    // Anthropic rejects a tool choice without tools.
    if !has_tools {
        return Ok(None);
    }
    choice.as_ref().map_or(Ok(()), |choice| choice.check(target))?;
    if is_parallel == Some(false) {
        let choice = choice.get_or_insert_with(|| unnamed_choice("auto"));
        choice.disable_parallel_tool_use = Some(true).filter(|_| choice.kind != "none");
    }
    Ok(choice)
}

/// Declarations for the called tools. Only their names are known.
pub(super) fn declare_called_tools(messages: &[AnthropicMessage]) -> Vec<AnthropicTool> {
    let mut declared = BTreeSet::new();
    let tool = |name: &str| AnthropicTool {
        kind: None,
        name: name.to_owned(),
        description: None,
        input_schema: raw(r#"{"type":"object"}"#),
        strict: None,
        cache_control: None,
    };
    messages
        .iter()
        .flat_map(AnthropicMessage::called_tools)
        .filter(|name| declared.insert(*name))
        .map(tool)
        .collect()
}
