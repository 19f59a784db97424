//! The rules of both vendors for requests, as far as their references state them. What is sent has to satisfy
//! them.

use std::collections::BTreeSet;

use serde_json::Value;

type Checked = Result<(), String>;

fn ensure(is_valid: bool, what: &str, value: &Value) -> Checked {
    if is_valid { Ok(()) } else { Err(format!("{what}: {value}")) }
}

/// No other keys, and no nulls except for a `content`.
fn keys(object: &Value, allowed: &[&str]) -> Checked {
    let fields = object.as_object().ok_or_else(|| format!("not an object: {object}"))?;
    for (name, value) in fields {
        ensure(allowed.contains(&&**name), &format!("unknown field {name}"), object)?;
        ensure(!value.is_null() || name == "content", &format!("null in {name}"), object)?;
    }
    Ok(())
}

fn list<'a>(value: &'a Value, what: &str) -> Result<&'a [Value], String> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(format!("{what} is no list: {value}")),
    }
}

fn is_name(value: &Value, max_len: usize) -> bool {
    value.as_str().is_some_and(|name| {
        (1..=max_len).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

/// Calls `check` for a schema and for each within it.
fn each_schema(schema: &Value, check: &impl Fn(&Value) -> Checked) -> Checked {
    let Some(fields) = schema.as_object() else { return Ok(()) };
    check(schema)?;
    for (name, value) in fields {
        match &**name {
            "properties" | "$defs" | "definitions" | "patternProperties" => {
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .try_for_each(|(_, schema)| each_schema(schema, check))?;
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                value.as_array().into_iter().flatten().try_for_each(|schema| each_schema(schema, check))?;
            }
            "items" | "additionalProperties" | "not" => each_schema(value, check)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_type(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|it| it == kind))
}

/// Keywords that Anthropic does not enforce.
const LIMITS: [&str; 8] =
    ["minimum", "maximum", "minLength", "maxLength", "maxItems", "pattern", "multipleOf", "oneOf"];

fn enforced_by_anthropic(schema: &Value) -> Checked {
    ensure(!is_type(schema, "object") || schema["additionalProperties"] == false, "open object", schema)?;
    let mut all = schema["allOf"].as_array().into_iter().flatten();
    ensure(all.all(|element| element.get("$ref").is_none()), "a reference in allOf", schema)?;
    LIMITS.iter().try_for_each(|name| ensure(schema.get(name).is_none(), name, schema))
}

/// Up to four marks, with those for an hour before the others.
fn cache_marks(request: &Value) -> Checked {
    let blocks = request["messages"].as_array().into_iter().flatten();
    let blocks = blocks.flat_map(|turn| turn["content"].as_array().into_iter().flatten());
    let outer =
        ["tools", "system"].into_iter().flat_map(|name| request[name].as_array().into_iter().flatten());
    let marks: Vec<_> = outer.chain(blocks).filter_map(|block| block.get("cache_control")).collect();
    let are_ephemeral = marks.iter().all(|mark| mark["type"] == "ephemeral");
    let are_sorted = marks.is_sorted_by_key(|mark| mark["ttl"] != "1h");
    ensure(marks.len() <= 4 && are_ephemeral && are_sorted, "cache_control", request)
}

/// A request for Anthropic's messages.
pub(super) fn messages(request: &Value) -> Checked {
    keys(
        request,
        &[
            "model",
            "max_tokens",
            "system",
            "messages",
            "tools",
            "tool_choice",
            "stop_sequences",
            "temperature",
            "top_p",
            "top_k",
            "metadata",
            "stream",
            "thinking",
            "output_config",
        ],
    )?;
    let thinking = &request["thinking"];
    match thinking["type"].as_str() {
        None => ensure(thinking.is_null(), "thinking", thinking)?,
        Some("enabled") => keys(thinking, &["type", "budget_tokens"])?,
        Some("adaptive") => ensure(thinking["display"] == "summarized", "omitted thinking", thinking)?,
        Some("disabled" | "between_tools") => keys(thinking, &["type"])?,
        Some(_) => return Err(format!("thinking: {thinking}")),
    }
    let effort = &request["output_config"]["effort"];
    let accepted: &[_] = match thinking["type"].as_str() {
        Some("disabled") => &["low", "medium", "high"],
        _ => &["low", "medium", "high", "xhigh", "max"],
    };
    ensure(effort.is_null() || accepted.iter().any(|known| effort == known), "effort", effort)?;
    ensure(request["max_tokens"].as_u64().is_some_and(|limit| limit > 0), "max_tokens", request)?;
    for name in ["temperature", "top_p"] {
        let number = &request[name];
        let is_valid = number.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number));
        ensure(number.is_null() || is_valid, name, number)?;
    }
    ensure(request.get("top_k").is_none_or(|count| count.as_u64() > Some(0)), "top_k", request)?;
    for stop in list(&request["stop_sequences"], "stop_sequences")? {
        ensure(stop.as_str().is_some_and(|stop| !stop.trim().is_empty()), "stop sequence", stop)?;
    }
    for block in list(&request["system"], "system")? {
        keys(block, &["type", "text", "cache_control"])?;
        ensure(block["text"].as_str().is_some_and(|text| !text.trim().is_empty()), "blank system", block)?;
    }
    let mut names = BTreeSet::new();
    for tool in list(&request["tools"], "tools")? {
        keys(tool, &["name", "description", "input_schema", "strict", "cache_control"])?;
        ensure(is_name(&tool["name"], 128) && names.insert(tool["name"].to_string()), "tool name", tool)?;
        let schema = &tool["input_schema"];
        ensure(schema["type"] == "object", "input_schema", tool)?;
        ["oneOf", "allOf", "anyOf"].iter().try_for_each(|it| ensure(schema.get(it).is_none(), it, tool))?;
        let mut properties = schema["properties"].as_object().into_iter().flatten();
        let is_key = |name: &str| is_name(&name.replace('.', "_").into(), 64);
        properties.try_for_each(|(name, _)| ensure(is_key(name), "property", tool))?;
        if tool["strict"] == true {
            each_schema(&tool["input_schema"], &enforced_by_anthropic)?;
        }
    }
    ensure(request.get("tool_choice").is_none() || !names.is_empty(), "choice without tools", request)?;
    each_schema(&request["output_config"]["format"]["schema"], &enforced_by_anthropic)?;
    cache_marks(request)?;
    let turns = list(&request["messages"], "messages")?;
    ensure(!turns.is_empty(), "no messages", request)?;
    let (mut open, mut ids) = (Vec::new(), BTreeSet::new());
    for (at, turn) in turns.iter().enumerate() {
        keys(turn, &["role", "content"])?;
        ensure(turn["role"] == ["user", "assistant"][at % 2], "roles in turn", turn)?;
        let blocks = list(&turn["content"], "content")?;
        ensure(!blocks.is_empty(), "empty message", turn)?;
        let (mut answered, mut called) = (Vec::new(), Vec::new());
        for block in blocks {
            match block["type"].as_str() {
                Some("text") => {
                    keys(block, &["type", "text", "cache_control"])?;
                    ensure(
                        block["text"].as_str().is_some_and(|text| !text.trim().is_empty()),
                        "blank",
                        block,
                    )?;
                }
                Some("image" | "document") => {
                    keys(block, &["type", "source", "title", "cache_control"])?;
                    let is_https = |url: &Value| {
                        url.as_str().is_some_and(|url| url.to_lowercase().starts_with("https://"))
                    };
                    ensure(block["source"].get("url").is_none_or(is_https), "URL", block)?;
                }
                Some("tool_use") => {
                    keys(block, &["type", "id", "name", "input", "cache_control"])?;
                    ensure(is_name(&block["id"], 64) && ids.insert(block["id"].to_string()), "id", block)?;
                    ensure(is_name(&block["name"], 128) && block["input"].is_object(), "call", block)?;
                    called.push(block["id"].to_string());
                }
                Some("tool_result") => {
                    keys(block, &["type", "tool_use_id", "content", "cache_control"])?;
                    answered.push(block["tool_use_id"].to_string());
                }
                _ => return Err(format!("block: {block}")),
            }
        }
        answered.sort_unstable();
        ensure(answered == open, "calls without results, or results without calls", turn)?;
        called.sort_unstable();
        open = called;
    }
    ensure(open.is_empty(), "calls without results", request)?;
    ensure(ids.is_empty() || !names.is_empty(), "calls without tools", request)
}

fn accepted_by_openai(schema: &Value) -> Checked {
    ensure(!is_type(schema, "object") || schema["properties"].is_object(), "no properties", schema)?;
    ensure(!is_type(schema, "array") || schema.get("items").is_some(), "no items", schema)
}

fn strict_for_openai(schema: &Value) -> Checked {
    if !is_type(schema, "object") {
        return Ok(());
    }
    ensure(schema["additionalProperties"] == false, "open object", schema)?;
    let required = list(&schema["required"], "required")?;
    let mut properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .try_for_each(|(name, _)| ensure(required.iter().any(|it| it == name), "optional property", schema))
}

/// Rules of the provider of `target` beyond those of [`chat`].
pub(super) fn accepted_by(target: &str, request: &Value) -> Checked {
    let messages = list(&request["messages"], "messages")?;
    let provider = target.split('/').next();
    if let Some(effort) = request["reasoning_effort"].as_str() {
        let accepted = match provider {
            Some("deepseek" | "moonshot" | "zai") => &["low", "high", "max"][..],
            Some("openai" | "xai") => &["none", "low", "medium", "high", "xhigh"],
            _ => &["none", "low", "medium", "high"],
        };
        ensure(accepted.contains(&effort) && request["thinking"].is_null(), "effort", request)?;
    }
    match provider {
        Some("deepseek") => {
            let is_forced = request["tool_choice"] == "required" || request["tool_choice"].is_object();
            let thinks = request["thinking"]["type"] != "disabled";
            ensure(!thinks || !is_forced, "a required call of DeepSeek in thinking mode", request)?;
            ensure(request["response_format"].is_null(), "a schema for DeepSeek", request)?;
            messages.iter().try_for_each(|message| {
                let has_images = target.contains("flash") && message["role"] == "user";
                ensure(!message["content"].is_array() || has_images, "a list for DeepSeek", message)?;
                let has_reasoning = message["reasoning_content"].is_string();
                let lacks_reasoning = message["tool_calls"].is_array() && !has_reasoning;
                ensure(!thinks || !lacks_reasoning, "a call without reasoning for DeepSeek", message)
            })
        }
        Some("moonshot") => {
            ensure(request.get("temperature").is_none(), "a temperature for Kimi", request)?;
            ensure(request.get("top_p").is_none(), "top_p for Kimi", request)?;
            let thinks = request["thinking"]["type"] != "disabled";
            messages.iter().try_for_each(|message| {
                let has_reasoning =
                    message["reasoning_content"].as_str().is_some_and(|text| !text.is_empty());
                let lacks_reasoning = message["tool_calls"].is_array() && !has_reasoning;
                ensure(!thinks || !lacks_reasoning, "a call without reasoning for Kimi", message)
            })
        }
        Some("mimo") => {
            let thinks = request["thinking"]["type"] != "disabled";
            messages.iter().try_for_each(|message| {
                let lacks_reasoning =
                    message["tool_calls"].is_array() && !message["reasoning_content"].is_string();
                ensure(!thinks || !lacks_reasoning, "a call without reasoning for MiMo", message)
            })
        }
        Some("gemini") if target.starts_with("gemini/gemini-3") => {
            let mut calls = messages.iter().filter_map(|message| message["tool_calls"].get(0));
            calls.try_for_each(|call| {
                let signature = &call["extra_content"]["google"]["thought_signature"];
                ensure(signature.is_string(), "a call without signature for Gemini", call)
            })
        }
        Some("openrouter") if target.starts_with("openrouter/google/gemini-3") => {
            messages.iter().try_for_each(|message| {
                let calls = list(&message["tool_calls"], "tool_calls")?.iter().map(|call| &call["id"]);
                let details = list(&message["reasoning_details"], "reasoning_details")?;
                let signed = details.iter().map(|detail| &detail["id"]);
                ensure(calls.eq(signed), "a call without signature for OpenRouter", message)
            })
        }
        Some("xai") => ensure(request.get("stop").is_none(), "a stop sequence for xAI", request),
        Some("openai") => ensure(
            !target.starts_with("openai/o") || request.get("parallel_tool_calls").is_none(),
            "parallel_tool_calls for the o-series",
            request,
        ),
        Some("mistral") => {
            let roles: Vec<_> = messages.iter().map(|message| &message["role"]).collect();
            ensure(
                !roles.windows(2).any(|pair| pair[0] == "tool" && pair[1] == "user"),
                "user after tool",
                request,
            )?;
            let last = messages.last().unwrap_or(&Value::Null);
            ensure(last["role"] != "assistant", "a beginning that Mistral would repeat", last)
        }
        _ => Ok(()),
    }
}

/// A request for a chat completion.
pub(super) fn chat(request: &Value) -> Checked {
    keys(
        request,
        &[
            "model",
            "messages",
            "max_tokens",
            "max_completion_tokens",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "stop",
            "temperature",
            "top_p",
            "user",
            "stream",
            "stream_options",
            "reasoning_effort",
            "response_format",
            "thinking",
        ],
    )?;
    ensure(request["stream_options"].is_null() || request["stream"] == true, "stream_options", request)?;
    let mut names = BTreeSet::new();
    for tool in list(&request["tools"], "tools")? {
        keys(tool, &["type", "function"])?;
        let function = &tool["function"];
        keys(function, &["name", "description", "parameters", "strict"])?;
        ensure(
            is_name(&function["name"], 64) && names.insert(function["name"].to_string()),
            "tool name",
            tool,
        )?;
        ensure(function["parameters"].is_null() || function["parameters"]["type"] == "object", "type", tool)?;
        each_schema(&function["parameters"], &accepted_by_openai)?;
        if function["strict"] == true {
            each_schema(&function["parameters"], &strict_for_openai)?;
        }
    }
    let format = &request["response_format"]["json_schema"];
    each_schema(&format["schema"], &accepted_by_openai)?;
    if format["strict"] == true {
        each_schema(&format["schema"], &strict_for_openai)?;
    }
    let messages = list(&request["messages"], "messages")?;
    ensure(!messages.is_empty(), "no messages", request)?;
    for message in messages {
        let allowed = [
            "role",
            "content",
            "refusal",
            "tool_calls",
            "tool_call_id",
            "reasoning_content",
            "reasoning_details",
            "prefix",
        ];
        keys(message, &allowed)?;
        let role = message["role"].as_str().unwrap_or_default();
        let content = &message["content"];
        // Texts alone are one string: some providers reject lists.
        let has_parts =
            content.as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] != "text"));
        ensure(!content.is_array() || has_parts, "only texts in a list", message)?;
        let has_content = content.is_string() || has_parts;
        let calls = list(&message["tool_calls"], "tool_calls")?;
        match role {
            "system" | "user" => ensure(has_content && calls.is_empty(), "content", message)?,
            "assistant" => ensure(has_content || !calls.is_empty(), "empty assistant", message)?,
            "tool" => ensure(has_content && message["tool_call_id"].is_string(), "tool result", message)?,
            _ => return Err(format!("role: {message}")),
        }
        for call in calls {
            keys(call, &["id", "type", "function", "extra_content"])?;
            ensure(call["id"].as_str().is_some_and(|id| (1..=40).contains(&id.len())), "id", call)?;
            ensure(is_name(&call["function"]["name"], 64), "name", call)?;
            ensure(call["function"]["arguments"].is_string(), "arguments", call)?;
        }
    }
    Ok(())
}
