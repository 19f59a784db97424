use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde::Deserialize;
use tidegate_core::ChatQuestion;

use crate::request_fields::{RequestFields, for_each_element, type_of};

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
    let mut context = SECRET.build_hasher();
    let mut last: Option<&str> = None;
    for_each_element(request.raw("messages")?, |message| {
        if let Some(before) = last.replace(message.get()) {
            before.hash(&mut context);
        }
        Some(())
    })?;
    let last = RequestFields::read(last?.as_bytes())?;
    if last.read_as::<String>("role")? != "user" {
        return None;
    }
    let prompt = text(last.raw("content")?)?;
    // The whole path is hashed, because some providers name the model only there.
    path.hash(&mut context);
    // Fields are hashed as written. Parsing them would cost more than the additional matches are worth.
    for (name, written) in request.iter().filter(|(name, _)| !IGNORED_FIELDS.contains(name)) {
        (name, written).hash(&mut context);
    }
    // The other fields of the last message (such as `name`) are part of the context.
    last.iter().filter(|(name, _)| *name != "content").for_each(|field| field.hash(&mut context));
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

/// Whether the request requires a response format, a tool call, audio or log probabilities.
fn requires_more_than_text(request: &RequestFields) -> bool {
    let must_call = |choice: &str| {
        let kind = serde_json::from_str(choice).ok().or_else(|| type_of(choice));
        choice != "null" && !matches!(kind.as_deref(), Some("auto" | "none"))
    };
    let wants_audio = |modes: &str| match serde_json::from_str::<Option<Vec<String>>>(modes) {
        Ok(modes) => modes.into_iter().flatten().any(|mode| mode != "text"),
        Err(_) => true,
    };
    request.has_format()
        || request.raw("tool_choice").is_some_and(must_call)
        || request.raw("modalities").is_some_and(wants_audio)
        || request.raw("logprobs") == Some("true")
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// The texts of a message content; `None` if it holds anything but text.
fn text(content: &str) -> Option<String> {
    if content.starts_with('"') {
        return serde_json::from_str(content).ok();
    }
    let mut texts: Option<String> = None;
    for_each_element(content, |part| {
        let part: TextPart = serde_json::from_str(part.get()).ok().filter(|_| part.get().starts_with('{'))?;
        if part.r#type != "text" {
            return None;
        }
        match &mut texts {
            Some(texts) => {
                texts.push('\n');
                texts.push_str(&part.text);
            }
            None => texts = Some(part.text),
        }
        Some(())
    })?;
    Some(texts.unwrap_or_default())
}

/// A part of a message content. Its other fields do not matter.
#[derive(Deserialize)]
struct TextPart {
    r#type: String,
    text: String,
}
