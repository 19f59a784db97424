//! What a caller accepts as an answer: one that is complete, and proves it.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

/// The starts of a token in a stream of OpenAI's and of Anthropic's dialect. All texts of the testkit start
/// with a `t`.
const TOKENS: [&[u8]; 2] = [br#""content":"t"#, br#""text":"t"#];

/// Whether this part of a stream contains a token.
pub(crate) fn has_token(frame: &[u8]) -> bool {
    TOKENS.iter().any(|token| memmem::find(frame, token).is_some())
}

/// Whether a body is a whole answer: a text, the reason why it ended, and in a stream its terminator.
pub(crate) fn is_complete(frames: &[Bytes], is_stream: bool) -> bool {
    let body = frames.concat();
    if is_stream {
        let ends = [(r#""finish_reason":""#, "data: [DONE]"), (r#""stop_reason":""#, r#""message_stop""#)];
        let has = |text: &str| memmem::find(&body, text.as_bytes()).is_some();
        return has_token(&body) && ends.iter().any(|(reason, end)| has(reason) && has(end));
    }
    let Ok(answer) = serde_json::from_slice::<Value>(&body) else { return false };
    let choice = &answer["choices"][0];
    let is_text = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    (is_text(&choice["message"]["content"]) && is_text(&choice["finish_reason"]))
        || (is_text(&answer["content"][0]["text"]) && is_text(&answer["stop_reason"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(body: &str, is_stream: bool) -> bool {
        is_complete(&[Bytes::copy_from_slice(body.as_bytes())], is_stream)
    }

    #[test]
    fn an_answer_proves_that_it_is_complete() {
        let whole = r#"{"choices":[{"message":{"content":"t1 "},"finish_reason":"stop"}]}"#;
        assert!(complete(whole, false));
        assert!(complete(r#"{"content":[{"type":"text","text":"t1 "}],"stop_reason":"end_turn"}"#, false));
        for body in ["", "{}", &whole[..40], r#"{"choices":[]}"#, r#"{"error":{"message":"no"}}"#] {
            assert!(!complete(body, false), "{body}");
        }
        let token = "data: {\"choices\":[{\"delta\":{\"content\":\"t1 \"}}]}\n\n";
        let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert!(complete(&format!("{token}{stop}data: [DONE]\n\n"), true));
        for body in ["", token, &format!("{token}data: [DONE]\n\n"), &format!("{stop}data: [DONE]\n\n")] {
            assert!(!complete(body, true), "{body}");
        }
    }
}
