use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr, memchr2};

use crate::json::fast_path::JsonKey;

/// An event that is content and nothing else, by which the next one is recognized: in most streams they
/// differ in one text.
///
/// What makes an event content are its keys, and that its text is not empty. So an event with another text is
/// content, too.
#[derive(Default)]
pub(super) struct ContentTemplate {
    event: Vec<u8>,
    /// The text without its quotes; empty if there is no template.
    text: Range<usize>,
}

/// A longer event is not kept.
const MAX_EVENT: usize = 4 * 1024;

/// The keys of generated text in all dialects.
static TEXT_KEYS: LazyLock<[JsonKey; 7]> = LazyLock::new(|| {
    [
        r#""content""#,
        r#""text""#,
        r#""reasoning_content""#,
        r#""arguments""#,
        r#""partial_json""#,
        r#""thinking""#,
        r#""delta""#,
    ]
    .map(JsonKey::new)
});

impl ContentTemplate {
    /// Whether `event` differs from the template in its text only.
    pub(super) fn matches(&self, event: &[u8]) -> bool {
        let (before, after) = (&self.event[..self.text.start], &self.event[self.text.end..]);
        let text = event.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        // A backslash at the end would escape the quote after the text.
        let is_text =
            |text: &[u8]| !text.is_empty() && !text.ends_with(b"\\") && memchr(b'"', text).is_none();
        !self.text.is_empty() && text.is_some_and(is_text)
    }

    /// The length of the text of an event that matches.
    pub(super) fn text_length(&self, event: &[u8]) -> usize {
        event.len().saturating_sub(self.event.len() - self.text.len())
    }

    /// Replaces the template by an event that is content and nothing else.
    pub(super) fn set(&mut self, event: &[u8]) {
        let text = TEXT_KEYS.iter().find_map(|key| text(event, key)).filter(|_| event.len() <= MAX_EVENT);
        self.text = text.unwrap_or_default();
        self.event.clear();
        if !self.text.is_empty() {
            self.event.extend_from_slice(event);
        }
    }
}

/// The value of the first `key`, if it is a text that is not empty.
fn text(event: &[u8], key: &JsonKey) -> Option<Range<usize>> {
    let value = key.after(event)?.strip_prefix(b"\"")?;
    let start = event.len() - value.len();
    let mut length = 0;
    loop {
        length += memchr2(b'"', b'\\', &value[length..])?;
        if value[length] == b'"' {
            return (length > 0).then_some(start..start + length);
        }
        length = (length + 2).min(value.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::Dialect;

    const CHAT: &str =
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}]}"#;

    fn template(event: &str) -> ContentTemplate {
        let mut template = ContentTemplate::default();
        template.set(event.as_bytes());
        template
    }

    fn chat(text: &str) -> String {
        CHAT.replace("TEXT", text)
    }

    #[test]
    fn an_event_with_another_text_matches() {
        for event in [
            CHAT,
            r#"{"choices":[{"delta":{"content":"","reasoning_content":"TEXT"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"TEXT"}}]}}]}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"TEXT"}}"#,
            r#"{"type":"response.output_text.delta","item_id":"i","delta":"TEXT"}"#,
        ] {
            let template = template(&event.replace("TEXT", r#"a \"b\\"#));
            for text in ["b", " tide", "é\\n", "null", "{"] {
                assert!(template.matches(event.replace("TEXT", text).as_bytes()), "{event} {text}");
            }
        }
    }

    #[test]
    fn an_event_with_another_difference_does_not_match() {
        let template = template(&chat("a"));
        for event in [
            chat(""),
            chat(r#"b","usage":{"a":"1"#),
            chat("b\\"),
            chat("b").replace("null", r#""stop""#),
            chat("b").replace(r#""index":0"#, r#""index":1"#),
            chat("b").replace("}]}", "}]"),
            String::new(),
        ] {
            assert!(!template.matches(event.as_bytes()), "{event}");
        }
        for event in
            ["", "{}", r#"{"content":""}"#, r#"{"content":"a"#, r#"{"content":"a\"#, r#"{"content":7}"#]
        {
            let template = self::template(event);
            assert!(!template.matches(event.as_bytes()) && template.event.is_empty(), "{event}");
        }
        assert!(!self::template(&chat(&"a".repeat(MAX_EVENT))).matches(chat("a").as_bytes()));
    }

    proptest! {
        /// Whatever the text is, an event that matches is content by its keys as well.
        #[test]
        fn what_matches_is_content_only(
            first in r#"[a-z\\"]{1,6}"#,
            next in r#"[a-z\\":,{}]{0,12}|","usage":\{\}|"usage"|usage"#,
        ) {
            let is_content_only = Dialect::Chat.rules().is_content_only;
            prop_assume!(is_content_only(chat(&first).as_bytes()));
            if template(&chat(&first)).matches(chat(&next).as_bytes()) {
                prop_assert!(is_content_only(chat(&next).as_bytes()), "{} {}", first, next);
            }
        }

        #[test]
        fn no_bytes_panic(event: Vec<u8>, text in r#"("content":)?"[\\"a]{0,8}"#, next: Vec<u8>) {
            for event in [&event[..], text.as_bytes()] {
                let mut template = ContentTemplate::default();
                template.set(event);
                let _ = (template.matches(&next), template.matches(event));
            }
        }
    }
}
