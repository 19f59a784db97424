//! Translates a chat completion into an Anthropic message response.

use serde::Serialize;
use serde_json::{Value, json};
use tidegate_providers::stream::{Dialect, Event};

use super::call_arguments::CallArguments;
use super::call_ids::ResponseCallIds;
use super::call_pieces::CallPiece;
use super::chat_content::{ChatPiece, choice_index, has_image, one_or_many, pieces_of, text_index};
use super::content::raw;
use super::exact_arguments::with_argument_text;
use super::messages::ContentBlock;
use super::repair;
use super::stop_reason::{is_cut_off, is_of_calls, stop_reason};
use super::stop_sequences::StopSequenceSearch;
use super::tool_names::ToolNames;
use super::usage::TokenUsage;

#[derive(Serialize)]
struct OutgoingMessage<'a> {
    id: &'a Value,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a Value,
    content: Vec<ContentBlock>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Value,
}

/// Returns `None` if `body` is not a completion, if it reports an error, or if not all of its content can be
/// translated: a call that is missing, or is incomplete although the response was not cut off, or content in
/// an unknown form.
pub(super) fn read(
    body: &[u8],
    omits_reasoning: bool,
    tool_names: &ToolNames,
    mut stops: StopSequenceSearch,
) -> Option<Vec<u8>> {
    let completion: Value = serde_json::from_str(&with_argument_text(repair::decode(body))).ok()?;
    let choices = one_or_many(&completion["choices"]);
    let text_index = text_index(choices)?;
    let parsed = Dialect::Chat.read(Event { data: body, ..Event::default() });
    // An error, or a finish reason that reports one.
    if parsed.error.is_some() {
        return None;
    }
    let (mut pieces, mut reason) = (Vec::new(), "");
    for choice in choices {
        let is_of_text = choice_index(choice) == text_index;
        // A delta, and a text of the older completions API, instead of the message.
        let forms = [&choice["message"], &choice["delta"]].map(|form| pieces_of(form, is_of_text));
        let mut found = forms.into_iter().find(|pieces| !pieces.is_empty()).unwrap_or_default();
        if found.is_empty() && is_of_text {
            found.extend(choice["text"].as_str().filter(|text| !text.is_empty()).map(ChatPiece::Text));
        }
        let is_translated = is_of_text || !found.is_empty();
        if let Some(of_choice) = choice["finish_reason"].as_str()
            && is_translated
            && !is_cut_off(reason)
        {
            reason = of_choice;
        }
        pieces.append(&mut found);
    }
    let has_content = !pieces.is_empty();
    let mut content: Vec<ContentBlock> = Vec::new();
    for piece in &pieces {
        // Adjacent pieces are one block, as in a stream.
        let before = content.last_mut().and_then(|last| match piece {
            ChatPiece::Thinking(_) => last.thinking.as_mut(),
            ChatPiece::Text(_) => last.text.as_mut(),
            ChatPiece::Call(_) | ChatPiece::Encrypted => None,
        });
        match (*piece, before) {
            (ChatPiece::Thinking(_), _) if omits_reasoning => {}
            (ChatPiece::Thinking(text) | ChatPiece::Text(text), Some(before)) => before.push_str(text),
            (ChatPiece::Thinking(text), None) => {
                let (thinking, signature) = (Some(text.to_owned()), Some(String::new()));
                content.push(ContentBlock { thinking, signature, ..ContentBlock::of("thinking") });
            }
            (ChatPiece::Text(text), None) => content.push(ContentBlock::text(text.to_owned())),
            (ChatPiece::Call(_) | ChatPiece::Encrypted, _) => {}
        }
    }
    let is_cut = |block: &mut ContentBlock| block.text.as_mut().is_some_and(|text| stops.cut(text));
    if let Some(last) = content.iter_mut().position(is_cut) {
        content.truncate(last + 1);
    }
    let stop_sequence = stops.found();
    let mut call_ids = ResponseCallIds::for_response(&completion);
    let mut has_calls = false;
    // The calls come after all text, and a stop sequence before all calls.
    for piece in pieces.iter().filter(|_| stop_sequence.is_none()) {
        let ChatPiece::Call(call) = *piece else { continue };
        let call = CallPiece::read(call).ok().filter(|call| !call.name.is_empty())?;
        let arguments = CallArguments::unless_cut_off(&call.arguments, reason).ok()?;
        let Some(arguments) = arguments else { continue };
        has_calls = true;
        content.push(ContentBlock {
            id: Some(call_ids.assign(call.id())),
            name: Some(tool_names.original(&call.name).to_owned()),
            input: Some(raw(arguments.trim())?),
            ..ContentBlock::of("tool_use")
        });
    }
    // The caller would send such a block back, and Anthropic rejects blank text.
    content.retain(|block| block.text.as_ref().is_none_or(|text| !text.trim().is_empty()));
    let is_missing = is_of_calls(reason) && !has_calls && stop_sequence.is_none();
    let holds_image = |choice: &Value| has_image(&choice["message"]) || has_image(&choice["delta"]);
    let is_answer = |block: &ContentBlock| matches!(&*block.kind, "text" | "tool_use");
    let has_only_image =
        choices.iter().any(holds_image) && stop_sequence.is_none() && !content.iter().any(is_answer);
    if is_missing || has_only_image || parsed.is_token && !has_content {
        return None;
    }
    let mut token_usage = TokenUsage::default();
    token_usage.update_from_chat(&completion["usage"]);
    let message = OutgoingMessage {
        id: &completion["id"],
        kind: "message",
        role: "assistant",
        model: &completion["model"],
        content,
        stop_reason: if stop_sequence.is_some() { "stop_sequence" } else { stop_reason(reason, has_calls) },
        stop_sequence,
        usage: token_usage.as_messages(),
    };
    serde_json::to_vec(&message).ok()
}

/// The `message_start` event.
pub(super) fn message_start(id: &Value, model: &Value) -> Value {
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": TokenUsage::default().as_messages(),
    });
    json!({"type": "message_start", "message": message})
}
