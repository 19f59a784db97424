//! Tools, and who may be called.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_core::Untranslatable;

use super::super::chat;
use super::super::fields::{Fields, foreign, malformed, raw};
use super::super::messages::{Message, Tool, ToolChoice};

/// More strict tools are refused ("Too many strict tools", camel-ai/camel#4171). OpenAI knows no such number, and its
/// SDK for agents makes every tool strict.
const MAX_STRICT: usize = 20;

pub(super) fn tools(tools: Vec<chat::Tool>, takes_schema: bool) -> Result<Vec<Tool>, Untranslatable> {
    let is_strict = |tool: &&chat::Tool| tool.function.as_ref().is_some_and(|it| it.strict == Some(true));
    let takes_strict = takes_schema && tools.iter().filter(is_strict).count() <= MAX_STRICT;
    let tool = |tool: chat::Tool| {
        let function = tool.function.filter(|_| tool.kind == "function");
        let function = function.ok_or_else(|| foreign("tools[].type"))?;
        Ok(Tool {
            kind: None,
            name: function.name,
            description: function.description,
            // A function without parameters has an empty list of them, and a tool without a schema is none.
            input_schema: function.parameters.or_else(|| raw(r#"{"type":"object","properties":{}}"#)),
            strict: function.strict.filter(|strict| *strict && takes_strict),
        })
    };
    tools.into_iter().map(tool).collect()
}

/// A choice without a name.
pub(super) fn choosing(kind: &str) -> ToolChoice {
    ToolChoice { kind: kind.to_owned(), ..ToolChoice::default() }
}

pub(super) fn tool_choice(
    fields: &mut Fields,
    has_tools: bool,
) -> Result<Option<ToolChoice>, Untranslatable> {
    let wanted: Option<Value> = fields.take("tool_choice")?;
    let is_parallel: Option<bool> = fields.take("parallel_tool_calls")?;
    let mut choice = match wanted {
        None => None,
        Some(Value::String(choice)) => Some(match &*choice {
            "auto" => choosing("auto"),
            "none" => choosing("none"),
            "required" | "any" => choosing("any"),
            _ => return Err(foreign("tool_choice")),
        }),
        Some(choice) if choice["type"] == "function" => {
            let name = choice["function"]["name"].as_str();
            Some(ToolChoice {
                name: Some(name.ok_or_else(|| malformed("tool_choice.function.name"))?.to_owned()),
                ..choosing("tool")
            })
        }
        Some(_) => return Err(foreign("tool_choice.type")),
    };
    // Without tools there is nothing to choose from, and a choice is refused.
    if !has_tools {
        return Ok(None);
    }
    if is_parallel == Some(false) {
        let choice = choice.get_or_insert_with(|| choosing("auto"));
        choice.disable_parallel_tool_use = Some(true).filter(|_| choice.kind != "none");
    }
    Ok(choice)
}

/// The tools that were called, as far as is known: that they were.
pub(super) fn called(messages: &[Message]) -> Vec<Tool> {
    let mut known = BTreeSet::new();
    let tool = |name: &str| Tool {
        kind: None,
        name: name.to_owned(),
        description: None,
        input_schema: raw(r#"{"type":"object"}"#),
        strict: None,
    };
    messages.iter().flat_map(Message::called).filter(|name| known.insert(*name)).map(tool).collect()
}
