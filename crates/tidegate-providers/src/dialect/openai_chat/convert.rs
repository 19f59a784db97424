//! Between a chat completion and its chunks.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value, json};
use tidegate_core::JsonDepth;

use crate::dialect::event_merge::{
    MAX_ITEMS, NamedEvent, append, arguments_text, check_copies, content_blocks, field, item_at, objects,
};
use crate::event::DONE;

pub(super) fn document(chunks: &[Value]) -> Option<Value> {
    let (mut completion, mut choices) = (json!({}), Vec::new());
    let mut calls: HashMap<u64, KnownCalls> = HashMap::new();
    let is_ping = |chunk: &&Value| matches!(chunk["type"].as_str(), Some("ping" | "keepalive"));
    for chunk in chunks.iter().filter(|chunk| !is_ping(chunk)) {
        for (key, value) in chunk.as_object()? {
            match (key.as_str(), value) {
                ("choices", _) | (_, Value::Null) => {}
                ("object", object) if object == "text_completion" => completion["object"] = object.clone(),
                ("object", _) => completion["object"] = "chat.completion".into(),
                // Azure's reports on its content filter have an empty id and model.
                (key, value) if is_blank(value) && !completion[key].is_null() => {}
                (key, value) => completion[key] = value.clone(),
            }
        }
        for part in objects(&chunk["choices"])? {
            let index = index_of(part).unwrap_or_default();
            add_part(item_at(&mut choices, &index.into())?, calls.entry(index).or_default(), part)?;
            // Kimi's usage is in the choice.
            if part["usage"].is_object() && chunk["usage"].is_null() {
                completion["usage"] = part["usage"].clone();
            }
        }
    }
    for choice in &mut choices {
        let calls = choice["message"].get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            call.as_object_mut()?.remove("index");
        }
        choice["finish_reason"] = finish_reason(choice).into();
    }
    choices.sort_by_key(|choice| choice["index"].as_u64());
    completion["choices"] = choices.into();
    Some(completion)
}

/// Whether a value is that of a field that a chunk has for its form alone.
fn is_blank(value: &Value) -> bool {
    matches!(value.as_str(), Some("")) || *value == 0
}

/// Adds a choice of a chunk to that of the completion.
fn add_part(choice: &mut Value, calls: &mut KnownCalls, part: &Value) -> Option<()> {
    if let Some(choice) = choice.as_object_mut() {
        choice.entry("logprobs").or_insert(Value::Null);
    }
    if part["text"].is_string() {
        append(choice, "text", &part["text"])?;
    } else if choice["message"].is_null() {
        choice["message"] = json!({"role": "assistant", "content": null});
    }
    // Some servers send a whole message in place of a delta, or repeat it after the deltas.
    let is_empty = |message: &Value| message["content"].is_null() && message["tool_calls"].is_null();
    if part["delta"].as_object().is_some_and(|delta| !delta.is_empty()) {
        add_delta(field(choice, "message")?, calls, &part["delta"])?;
    } else if part["message"].is_object() && is_empty(&choice["message"]) {
        add_delta(field(choice, "message")?, calls, &part["message"])?;
    }
    add_logprobs(field(choice, "logprobs")?, &part["logprobs"])?;
    if part["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty()) {
        choice["finish_reason"] = part["finish_reason"].clone();
    }
    Some(())
}

/// The index of a choice or of a call. Some servers send it as text or as a decimal.
fn index_of(part: &Value) -> Option<u64> {
    let index = &part["index"];
    let of_decimal = || index.as_f64().map(|index| index as u64);
    index.as_u64().or_else(of_decimal).or_else(|| index.as_str()?.parse().ok())
}

/// The finish reason of a complete choice: that of its calls, where the server has none or a general one.
fn finish_reason(choice: &Value) -> &str {
    let reason = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()).unwrap_or("stop");
    let has_calls = choice["message"]["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    if has_calls && reason == "stop" { "tool_calls" } else { reason }
}

fn add_delta(message: &mut Value, known: &mut KnownCalls, delta: &Value) -> Option<()> {
    for (key, value) in delta.as_object().into_iter().flatten() {
        match key.as_str() {
            "role" if value.is_null() => {}
            "role" => *field(message, key)? = value.clone(),
            "function_call" => add_function(field(message, key)?, value)?,
            "tool_calls" => {
                let calls = field(message, key)?;
                if !calls.is_array() {
                    *calls = json!([]);
                }
                let calls = calls.as_array_mut()?;
                // Calls of one chunk are different calls.
                let count = calls.len();
                for (position, part) in objects(value)?.iter().enumerate() {
                    let is_after_new = position > 0 && calls.len() > count;
                    let at = known.position(calls, part, is_after_new).unwrap_or_else(|first| {
                        calls.push(first);
                        calls.len() - 1
                    });
                    known.add(calls.get_mut(at).filter(|_| at < MAX_ITEMS)?, at, part)?;
                }
            }
            "audio" => add_audio(field(message, key)?, value)?,
            // Some servers send texts and lists of parts in turn.
            "content" if message[key].is_array() != value.is_array() => {
                let content = field(message, key)?;
                if !content.is_array() {
                    *content = parts(content)?.into();
                }
                content.as_array_mut()?.extend(parts(value)?);
            }
            key => append(message, key, value)?,
        }
    }
    Some(())
}

/// Adds a piece of audio. All but its data and its transcript is set.
fn add_audio(audio: &mut Value, part: &Value) -> Option<()> {
    for (key, value) in part.as_object().into_iter().flatten() {
        match key.as_str() {
            "data" | "transcript" => append(audio, key, value)?,
            key => *field(audio, key)? = value.clone(),
        }
    }
    (part.is_object() || part.is_null()).then_some(())
}

fn parts(content: &Value) -> Option<Vec<Value>> {
    match content {
        Value::Array(parts) => Some(parts.clone()),
        content => content_blocks(content, "text").map(Cow::into_owned),
    }
}

/// The calls of a choice by what identifies them: the position of the last one in each case.
#[derive(Default)]
struct KnownCalls {
    by_index: HashMap<u64, usize>,
    by_id: HashMap<String, usize>,
    by_id_and_index: HashMap<(String, u64), usize>,
    states: Vec<KnownCallState>,
}

#[derive(Default)]
struct KnownCallState {
    /// The nesting of the arguments.
    depth: JsonDepth,
    /// Whether the name was repeated after the arguments: other arguments are those of a second call.
    is_named_again: bool,
}

impl KnownCalls {
    /// The position of the call that `part` continues, or else the beginning of a new call. A call has an id, an
    /// index, or both. Some servers send neither, one index for all calls, or another id with every piece of a
    /// call.
    fn position(&self, calls: &[Value], part: &Value, is_after_new: bool) -> Result<usize, Value> {
        let (id, name, index) = (id_of(part), name_of(part), index_of(part));
        let with_id = id.and_then(|id| {
            let last = *self.by_id.get(id)?;
            match (index, index_of(&calls[last])) {
                (Some(index), Some(_)) => self.by_id_and_index.get(&(id.to_owned(), index)).copied(),
                _ => Some(last),
            }
        });
        let at_index = || match index {
            Some(index) => self.by_index.get(&index).copied(),
            None if is_after_new && name.is_some() => None,
            None => calls.len().checked_sub(1),
        };
        let Some(at) = with_id.or_else(at_index) else { return Err(json!({})) };
        if with_id.is_some() {
            return Ok(at);
        }
        let (call, state) = (&calls[at], &self.states[at]);
        let has_ended = is_complete(state.depth, arguments_of(call));
        let is_other_id = id.is_some() && call["id"].is_string();
        let begins = match (name, name_of(call)) {
            (None, Some(known))
                if has_ended && state.is_named_again && id.is_none() && !is_blank_piece(part) =>
            {
                return Err(json!({"function": {"name": known, "arguments": ""}}));
            }
            (None, _) | (_, None) => false,
            // The name may come in pieces, of which the last may be repeated.
            (Some(name), Some(known)) if name != known => {
                is_other_id || has_ended || !function_of(call)["arguments"].is_string()
            }
            (Some(_), Some(_)) => is_other_id || has_ended && !is_blank_piece(part),
        };
        if begins { Err(json!({})) } else { Ok(at) }
    }

    /// Adds a piece to the call at this position.
    fn add(&mut self, call: &mut Value, at: usize, part: &Value) -> Option<()> {
        if at == self.states.len() {
            self.states.push(KnownCallState::default());
        }
        let state = &mut self.states[at];
        state.is_named_again |= name_of(part).is_some() && is_complete(state.depth, arguments_of(call));
        let depth = &mut state.depth;
        let read = match arguments_of(call) {
            // Empty arguments may be replaced.
            "{}" => {
                *depth = JsonDepth::new();
                0
            }
            arguments => arguments.len(),
        };
        let was_known = (id_of(call).is_some(), index_of(call).is_some());
        add_call(call, part)?;
        depth.push(arguments_of(call).as_bytes().get(read..).unwrap_or_default());
        let (id, index) = (id_of(call), index_of(call));
        if was_known != (id.is_some(), index.is_some()) {
            let set_last = |last: &mut usize| *last = at.max(*last);
            if let Some(index) = index {
                set_last(self.by_index.entry(index).or_default());
            }
            if let Some(id) = id {
                set_last(self.by_id.entry(id.to_owned()).or_default());
            }
            if let (Some(id), Some(index)) = (id, index) {
                set_last(self.by_id_and_index.entry((id.to_owned(), index)).or_default());
            }
        }
        Some(())
    }
}

fn id_of(call: &Value) -> Option<&str> {
    call["id"].as_str().filter(|id| !id.is_empty())
}

/// The function of a call, or the tool of a custom one.
fn function_of(call: &Value) -> &Value {
    if call["function"].is_object() { &call["function"] } else { &call["custom"] }
}

fn name_of(call: &Value) -> Option<&str> {
    function_of(call)["name"].as_str().filter(|name| !name.is_empty())
}

fn arguments_of(call: &Value) -> &str {
    function_of(call)["arguments"].as_str().unwrap_or_default()
}

/// Whether a piece of a call has nothing of its arguments.
fn is_blank_piece(part: &Value) -> bool {
    let function = function_of(part);
    let text = |arguments: &Value| arguments_text(arguments).as_str().unwrap_or_default().trim().is_empty();
    text(&function["arguments"]) && text(&function["input"])
}

/// Whether arguments with this nesting are a whole object or list, a string that contains one, or null.
fn is_complete(depth: JsonDepth, arguments: &str) -> bool {
    depth.is_closed() || !depth.is_open() && (arguments.starts_with('"') || arguments == "null")
}

/// Adds a piece of a call. What identifies a call is set once: some servers repeat it with every piece.
fn add_call(call: &mut Value, part: &Value) -> Option<()> {
    for (key, value) in part.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "function" | "custom" => add_function(field(call, key)?, value)?,
            "index" if index_of(part).is_none() => {}
            "index" => *field(call, key)? = index_of(part).into(),
            key if call[key].as_str().is_some_and(|known| !known.is_empty()) => {}
            key => *field(call, key)? = value.clone(),
        }
    }
    Some(())
}

/// Adds a piece of the function of a call. Its name may come in pieces before the arguments, or be repeated.
fn add_function(function: &mut Value, part: &Value) -> Option<()> {
    if !part.is_object() {
        return part.is_null().then_some(());
    }
    if !function.is_object() {
        let key = if part["input"].is_string() { "input" } else { "arguments" };
        *function = json!({"name": "", key: ""});
    }
    let may_continue = function["arguments"] == "" && function["name"] != part["name"];
    if part["name"].is_string() && (function["name"] == "" || may_continue) {
        append(function, "name", &part["name"])?;
    }
    append(function, "input", &part["input"])?;
    let piece = arguments_text(&part["arguments"]);
    match (function["arguments"].as_str().unwrap_or_default(), piece.as_str().unwrap_or_default()) {
        (_, "") => {}
        // An object is whole, and may be sent again at the end.
        (known, more) if !part["arguments"].is_string() && known == more => {}
        // Empty arguments that stand for those to come.
        ("{}", more) if more.trim_start().starts_with('{') => function["arguments"] = piece,
        (_, more) => append(function, "arguments", &more.into())?,
    }
    Some(())
}

fn add_logprobs(logprobs: &mut Value, part: &Value) -> Option<()> {
    if logprobs.is_null() && part.is_object() {
        *logprobs = part.clone();
    } else {
        for (key, value) in part.as_object().into_iter().flatten() {
            append(logprobs, key, value)?;
        }
    }
    Some(())
}

/// The fields of a completion that are in all of its chunks. Others are in the first one.
const COMMON_FIELDS: [&str; 5] = ["id", "object", "created", "model", "system_fingerprint"];

pub(super) fn events(completion: &Value) -> Option<Vec<NamedEvent>> {
    let choices = objects(&completion["choices"])?;
    let count = choices.len();
    if count == 0 || count > MAX_ITEMS || !choices.iter().all(|choice| choice["message"].is_object()) {
        return None;
    }
    let mut chunk = json!({});
    for (key, value) in completion.as_object()?.iter().filter(|(key, _)| *key != "choices" && *key != "usage")
    {
        chunk[key] = value.clone();
    }
    chunk["object"] = "chat.completion.chunk".into();
    let mut common = chunk.clone();
    common.as_object_mut()?.retain(|key, _| COMMON_FIELDS.contains(&key.as_str()));
    check_copies(std::iter::once((&common, 2 * count)))?;
    let mut events: Vec<NamedEvent> = Vec::new();
    let mut push = |choice: Value| {
        let mut chunk = std::mem::replace(&mut chunk, common.clone());
        chunk["choices"] = json!([choice]);
        events.push(("", chunk));
    };
    for choice in choices {
        let mut delta = choice["message"].clone();
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (index, call) in calls.into_iter().flatten().enumerate() {
            call.as_object_mut()?.insert("index".into(), index.into());
            if let Some(function) = call.get_mut("function").filter(|function| function.is_object()) {
                function["arguments"] = arguments_text(&function["arguments"]);
            }
        }
        if let Some(function) = delta.get_mut("function_call").filter(|function| function.is_object()) {
            function["arguments"] = arguments_text(&function["arguments"]);
        }
        let (index, logprobs) = (index_of(choice).unwrap_or_default(), &choice["logprobs"]);
        push(json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null}));
    }
    for choice in choices {
        let (index, reason) = (index_of(choice).unwrap_or_default(), finish_reason(choice));
        push(json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason}));
    }
    // In the last chunk, as from DeepSeek and Groq: whether the caller requested a chunk of its own is
    // unknown.
    if let Some((_, last)) = events.last_mut()
        && completion["usage"].is_object()
    {
        last["usage"] = completion["usage"].clone();
    }
    events.push(("", String::from_utf8_lossy(DONE).into()));
    Some(events)
}
