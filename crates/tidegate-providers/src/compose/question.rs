use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};
use tidegate_core::Question;

use super::{CHAT, MESSAGES};

/// Fields that change how something is said, and not what is asked or by whom. All others count, known or not.
const IMMATERIAL: [&str; 14] = [
    "frequency_penalty",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "n",
    "presence_penalty",
    "seed",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "top_k",
    "top_p",
];

pub(super) fn read(path: &str, body: &[u8]) -> Option<Question> {
    let dialect = match path {
        path if path.ends_with("/chat/completions") => CHAT,
        path if path.ends_with("/messages") => MESSAGES,
        _ => return None,
    };
    let request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    if request.get("n").is_some_and(|n| !n.is_null() && n != 1) || wants_more_than_text(&request) {
        return None;
    }
    let (last, before) = request.get("messages")?.as_array()?.split_last()?;
    if last["role"] != "user" {
        return None;
    }
    let prompt = text(&last["content"])?;
    let mut context = DefaultHasher::new();
    // Of the whole path: some name the model in it, and nowhere else.
    path.hash(&mut context);
    let fields = request.iter().filter(|(name, _)| !IMMATERIAL.contains(&&***name));
    // Who says it may be asked about, too.
    let about_prompt = last.as_object()?.iter().filter(|(name, _)| *name != "content");
    for (name, value) in fields.chain(about_prompt) {
        (name, value.to_string()).hash(&mut context);
    }
    before.iter().for_each(|message| message.to_string().hash(&mut context));
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let streams = request.get("stream").and_then(Value::as_bool) == Some(true);
    let tells_usage = request.get("stream_options").is_some_and(|options| options["include_usage"] == true);
    Some(Question {
        prompt,
        context: context.finish(),
        model,
        max_tokens: max_tokens(&request),
        streams,
        tells_usage,
        dialect,
    })
}

/// The lower one, should there be two limits; of one that is no number of tokens nobody knows what would keep it.
fn max_tokens(request: &Map<String, Value>) -> Option<u64> {
    let limits = ["max_completion_tokens", "max_tokens"].into_iter().filter_map(|limit| request.get(limit));
    limits.filter(|limit| !limit.is_null()).map(|limit| limit.as_u64().unwrap_or(0)).min()
}

/// Whether the answer has to have a form, to call a tool, to be heard, or to come with numbers.
fn wants_more_than_text(request: &Map<String, Value>) -> bool {
    let get = |name: &str| request.get(name).unwrap_or(&Value::Null);
    let has_form = |format: &Value| !format.is_null() && format["type"] != "text";
    let must_call = |choice: &Value| match choice {
        Value::Null => false,
        Value::String(choice) => choice != "auto" && choice != "none",
        choice => !matches!(choice["type"].as_str(), Some("auto" | "none")),
    };
    let is_heard = get("modalities").as_array().is_some_and(|modes| modes.iter().any(|mode| mode != "text"));
    has_form(get("response_format"))
        || has_form(&get("output_config")["format"])
        || !get("output_format").is_null()
        || must_call(get("tool_choice"))
        || is_heard
        || get("logprobs") == true
}

/// The text of a message that is nothing else.
fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| part["text"].as_str().filter(|_| part["type"] == "text"));
            texts.collect::<Option<Vec<_>>>().map(|texts| texts.join("\n"))
        }
        _ => None,
    }
}
