use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use tidegate_core::ChatQuestion;

use crate::content_text::{ContentPiece, pieces};
use crate::request_fields::{RawJson, RequestFields};

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
    let has_one_answer = matches!(request.raw("n"), None | Some("null" | "1"));
    if !has_one_answer || requires_more_than_text(&request) {
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
    let model = request.read_as("model").unwrap_or_default();
    let streams = request.raw("stream") == Some("true");
    let stream_options: Option<StreamOptions> = request.read_as("stream_options");
    let include_usage = stream_options.is_some_and(|options| options.include_usage);
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
    let limits = ["max_completion_tokens", "max_tokens"].into_iter().filter_map(|limit| request.raw(limit));
    limits.filter(|limit| *limit != "null").map(|limit| limit.parse().unwrap_or(0)).min()
}

/// Whether the request requires a response format, a tool call, audio or log probabilities. Nothing is built of the fields but
/// their type: they may be as long as a request.
fn requires_more_than_text(request: &RequestFields) -> bool {
    let has_form = |format: &str| format != "null" && type_of(format).as_deref() != Some("text");
    let must_call = |choice: &str| {
        let kind = serde_json::from_str(choice).ok().or_else(|| type_of(choice));
        choice != "null" && !matches!(kind.as_deref(), Some("auto" | "none"))
    };
    let wants_audio = |modes: &str| match serde_json::from_str::<Option<Vec<String>>>(modes) {
        Ok(modes) => modes.into_iter().flatten().any(|mode| mode != "text"),
        Err(_) => true,
    };
    let output_config: Option<OutputConfig> = request.read_as("output_config");
    request.raw("response_format").is_some_and(has_form)
        || output_config.and_then(|config| config.format).is_some_and(|format| has_form(format.get()))
        || request.raw("output_format").is_some_and(|format| format != "null")
        || request.raw("tool_choice").is_some_and(must_call)
        || request.raw("modalities").is_some_and(wants_audio)
        || request.raw("logprobs") == Some("true")
}

/// The field `type` of an object.
fn type_of(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: Option<String>,
    }
    serde_json::from_str::<Typed>(json).ok()?.r#type
}

#[derive(Deserialize)]
struct OutputConfig {
    format: Option<RawJson>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// The texts of a message content; `None` if it holds anything but text.
fn text(content: &Value) -> Option<String> {
    let text = |piece| if let ContentPiece::Text(text) = piece { Some(text) } else { None };
    Some(pieces(content).map(text).collect::<Option<Vec<_>>>()?.join("\n"))
}
