use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde_json::Value;
use tidegate_core::ChatQuestion;

use crate::content_text::{ContentPiece, pieces};
use crate::request_fields::RequestFields;

/// Values of [`ChatQuestion::dialect`].
const CHAT: &str = "chat";
pub(super) const MESSAGES: &str = "messages";

/// Fields that affect the wording of the response but not the question or the identity of the user. They are
/// not part of the context digest. All other fields are, known or unknown.
const IGNORED_FIELDS: [&str; 14] = [
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

/// A random key per process, so that a caller cannot construct a context with the digest of another.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn read(path: &str, body: &[u8]) -> Option<ChatQuestion> {
    let dialect = match path {
        path if path.ends_with("/chat/completions") => CHAT,
        path if path.ends_with("/messages") => MESSAGES,
        _ => return None,
    };
    let request = RequestFields::read(body)?;
    if request.get("n").is_some_and(|n| !n.is_null() && n != 1) || requires_more_than_text(&request) {
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
    // The whole path is hashed, because some providers name the model only there.
    path.hash(&mut context);
    // Fields are hashed as written. Parsing them would cost more than the additional matches are worth.
    for (name, written) in request.iter().filter(|(name, _)| !IGNORED_FIELDS.contains(name)) {
        (name, written).hash(&mut context);
    }
    // The other fields of the last message (such as `name`) are part of the context.
    for (name, value) in last.as_object()?.iter().filter(|(name, _)| *name != "content") {
        (name, value.to_string()).hash(&mut context);
    }
    before.iter().for_each(|message| message.get().hash(&mut context));
    let model = request.get("model").and_then(|model| Some(model.as_str()?.to_owned())).unwrap_or_default();
    let streams = request.get("stream") == Some(Value::Bool(true));
    let include_usage = request.get("stream_options").is_some_and(|options| options["include_usage"] == true);
    Some(ChatQuestion {
        prompt,
        context: context.finish(),
        model,
        max_tokens: max_tokens(&request),
        streams,
        include_usage,
        dialect,
    })
}

/// The lower of the two limits, if both are set. A limit that is not a valid number counts as 0, because its
/// meaning is unknown.
fn max_tokens(request: &RequestFields) -> Option<u64> {
    let limits = ["max_completion_tokens", "max_tokens"].into_iter().filter_map(|limit| request.get(limit));
    limits.filter(|limit| !limit.is_null()).map(|limit| limit.as_u64().unwrap_or(0)).min()
}

/// Whether the request requires a response format, a tool call, audio or log probabilities.
fn requires_more_than_text(request: &RequestFields) -> bool {
    let get = |name: &str| request.get(name).unwrap_or_default();
    let has_form = |format: &Value| !format.is_null() && format["type"] != "text";
    let must_call = |choice: &Value| match choice {
        Value::Null => false,
        Value::String(choice) => choice != "auto" && choice != "none",
        choice => !matches!(choice["type"].as_str(), Some("auto" | "none")),
    };
    let wants_audio =
        get("modalities").as_array().is_some_and(|modes| modes.iter().any(|mode| mode != "text"));
    has_form(&get("response_format"))
        || has_form(&get("output_config")["format"])
        || !get("output_format").is_null()
        || must_call(&get("tool_choice"))
        || wants_audio
        || get("logprobs") == true
}

/// The texts of a message content; `None` if it holds anything but text.
fn text(content: &Value) -> Option<String> {
    let text = |piece| if let ContentPiece::Text(text) = piece { Some(text) } else { None };
    Some(pieces(content).map(text).collect::<Option<Vec<_>>>()?.join("\n"))
}
