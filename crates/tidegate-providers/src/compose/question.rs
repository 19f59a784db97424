use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde_json::Value;
use tidegate_core::ChatQuestion;

use super::{CHAT, MESSAGES};
use crate::fields::Fields;

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

/// Nobody can make up a context whose digest is another's.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn read(path: &str, body: &[u8]) -> Option<ChatQuestion> {
    let dialect = match path {
        path if path.ends_with("/chat/completions") => CHAT,
        path if path.ends_with("/messages") => MESSAGES,
        _ => return None,
    };
    let request = Fields::read(body)?;
    if request.get("n").is_some_and(|n| !n.is_null() && n != 1) || wants_more_than_text(&request) {
        return None;
    }
    let messages = request.messages()?;
    let (last, before) = messages.split_last()?;
    let last: Value = serde_json::from_str(last.get()).ok()?;
    if last["role"] != "user" {
        return None;
    }
    let prompt = text(&last["content"])?;
    let mut context = SECRET.build_hasher();
    // Of the whole path: some name the model in it, and nowhere else.
    path.hash(&mut context);
    // As they are written: to take apart what is long, and not the prompt, costs more than it would find.
    for (name, written) in request.iter().filter(|(name, _)| !IMMATERIAL.contains(name)) {
        (name, written).hash(&mut context);
    }
    // Who says it may be asked about, too.
    for (name, value) in last.as_object()?.iter().filter(|(name, _)| *name != "content") {
        (name, value.to_string()).hash(&mut context);
    }
    before.iter().for_each(|message| message.get().hash(&mut context));
    let model = request.get("model").and_then(|model| Some(model.as_str()?.to_owned())).unwrap_or_default();
    let streams = request.get("stream") == Some(Value::Bool(true));
    let tells_usage = request.get("stream_options").is_some_and(|options| options["include_usage"] == true);
    Some(ChatQuestion {
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
fn max_tokens(request: &Fields) -> Option<u64> {
    let limits = ["max_completion_tokens", "max_tokens"].into_iter().filter_map(|limit| request.get(limit));
    limits.filter(|limit| !limit.is_null()).map(|limit| limit.as_u64().unwrap_or(0)).min()
}

/// Whether the answer has to have a form, to call a tool, to be heard, or to come with numbers.
fn wants_more_than_text(request: &Fields) -> bool {
    let get = |name: &str| request.get(name).unwrap_or_default();
    let has_form = |format: &Value| !format.is_null() && format["type"] != "text";
    let must_call = |choice: &Value| match choice {
        Value::Null => false,
        Value::String(choice) => choice != "auto" && choice != "none",
        choice => !matches!(choice["type"].as_str(), Some("auto" | "none")),
    };
    let is_heard = get("modalities").as_array().is_some_and(|modes| modes.iter().any(|mode| mode != "text"));
    has_form(&get("response_format"))
        || has_form(&get("output_config")["format"])
        || !get("output_format").is_null()
        || must_call(&get("tool_choice"))
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
