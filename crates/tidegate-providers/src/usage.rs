//! The tokens that a provider counted for an answer in one piece.

use tidegate_core::{Pulse, Scan, StreamState, Usage};

use crate::stream::leaves::{Leaf, walk};

/// Looks for `usage` (`usageMetadata` at Google) in a JSON answer as it passes, and reads nothing else.
///
/// A quote inside of a text is written `\"`, so the key is never found in what the model said. At most the object
/// behind the key is kept; what is longer than any usage is none.
#[derive(Default)]
pub(crate) struct UsageScan {
    at: At,
    kept: Vec<u8>,
    state: StreamState,
}

/// Where in the answer it stands.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Before any quote.
    #[default]
    Outside,
    /// So many bytes into what may be the key.
    Key(usize),
    /// Behind the key.
    Colon,
    /// Behind the colon.
    Value,
    /// In the object, so deep; maybe in a text, maybe behind a backslash.
    Object { depth: u32, in_text: bool, is_escaped: bool },
}

const KEY: &[u8] = b"usageMetadata";
const SHORT_KEY: usize = b"usage".len();

/// The longest seen, with all its details, has about 700 bytes.
const LIMIT: usize = 4 * 1024;

impl Scan for UsageScan {
    fn push(&mut self, bytes: &[u8]) -> Pulse {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.at {
                At::Outside => match memchr::memchr(b'"', rest) {
                    Some(quote) => {
                        self.at = At::Key(0);
                        &rest[quote + 1..]
                    }
                    None => return Pulse::default(),
                },
                _ => {
                    self.step(rest[0]);
                    &rest[1..]
                }
            };
        }
        Pulse::default()
    }

    fn finish(&mut self) -> Pulse {
        Pulse::default()
    }

    fn state(&self) -> &StreamState {
        &self.state
    }
}

impl UsageScan {
    fn step(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Key(SHORT_KEY), b'"') => At::Colon,
            (At::Key(matched), b'"') if matched == KEY.len() => At::Colon,
            (At::Key(matched), byte) if KEY.get(matched) == Some(&byte) => At::Key(matched + 1),
            (At::Colon, b':') => At::Value,
            (at @ (At::Colon | At::Value), b' ' | b'\t' | b'\r' | b'\n') => at,
            (At::Value, b'{') => {
                self.kept.clear();
                self.kept.push(byte);
                At::Object { depth: 1, in_text: false, is_escaped: false }
            }
            // A quote may be the one before the key.
            (At::Outside | At::Key(_) | At::Colon | At::Value, b'"') => At::Key(0),
            (At::Outside | At::Key(_) | At::Colon | At::Value, _) => At::Outside,
            (At::Object { depth, in_text, is_escaped }, byte) => self.keep(byte, depth, in_text, is_escaped),
        };
    }

    fn keep(&mut self, byte: u8, depth: u32, in_text: bool, is_escaped: bool) -> At {
        if self.kept.len() == LIMIT {
            return At::Outside;
        }
        self.kept.push(byte);
        let depth = match byte {
            b'{' if !in_text => depth + 1,
            b'}' if !in_text => depth - 1,
            _ => depth,
        };
        if depth == 0 {
            self.read();
            return At::Outside;
        }
        let in_text = in_text ^ (byte == b'"' && !is_escaped);
        At::Object { depth, in_text, is_escaped: byte == b'\\' && !is_escaped }
    }

    /// The names of all dialects: none of them means another thing in another.
    fn read(&mut self) {
        let (mut usage, mut total) = (Usage::default(), None);
        let (mut written, mut thoughts) = (0, 0);
        walk(&self.kept, |path, leaf| {
            let Leaf::Number(number) = leaf else { return };
            match path {
                ["prompt_tokens" | "input_tokens" | "promptTokenCount" | "inputTokens"]
                | ["tokens", "input_tokens"] => usage.input = Some(number),
                ["completion_tokens" | "output_tokens" | "candidatesTokenCount" | "outputTokens"]
                | ["tokens", "output_tokens"] => usage.output = Some(number),
                // What is written to the cache counts against the limits as input does; what is read from it does not.
                ["cache_creation_input_tokens" | "cacheWriteInputTokens"] => written = number,
                ["thoughtsTokenCount"] => thoughts = number,
                ["total_tokens" | "totalTokenCount" | "totalTokens"] => total = Some(number),
                _ => {}
            }
        });
        if usage.output.is_none() {
            usage.output = total.zip(usage.input).map(|(total, input)| total.saturating_sub(input));
        } else {
            usage.output = usage.output.map(|output| output.saturating_add(thoughts));
        }
        usage.input = usage.input.map(|input| input.saturating_add(written));
        if usage != Usage::default() {
            self.state.usage = Some(usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(Option<u64>, Option<u64>)> {
        let mut scan = UsageScan::default();
        for piece in pieces {
            scan.push(piece);
        }
        scan.finish();
        scan.state().usage.map(|usage| (usage.input, usage.output))
    }

    #[test]
    fn finds_the_usage_of_every_dialect() {
        for (answer, input, output) in [
            (
                r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4}}}"#,
                9,
                12,
            ),
            (
                r#"{"usage" : { "input_tokens":5, "output_tokens":7, "output_tokens_details":{"reasoning_tokens":3} },"id":"x"}"#,
                5,
                7,
            ),
            (
                r#"{"usage":{"input_tokens":5,"cache_creation_input_tokens":100,"cache_read_input_tokens":900,"output_tokens":7}}"#,
                105,
                7,
            ),
            (
                r#"{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":3,"thoughtsTokenCount":40,"totalTokenCount":51}}"#,
                8,
                43,
            ),
            (
                r#"{"usage":{"billed_units":{"input_tokens":1},"tokens":{"input_tokens":71,"output_tokens":2}}}"#,
                71,
                2,
            ),
            (r#"{"usage":{"inputTokens":30,"outputTokens":6,"totalTokens":36}}"#, 30, 6),
            (r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, 8, 0),
            (
                r#"{"a":"}{\"usage\":{\"prompt_tokens\":1}","usage":{"note":"}\\\"","prompt_tokens":2,"completion_tokens":3}}"#,
                2,
                3,
            ),
        ] {
            assert_eq!(usage_of([answer.as_bytes()]), Some((Some(input), Some(output))), "{answer}");
        }
    }

    #[test]
    fn what_the_model_says_of_usage_is_no_usage() {
        for answer in [
            r#"{"content":"{\"usage\":{\"prompt_tokens\":9}}"}"#,
            r#"{"content":"usage","x":{"prompt_tokens":9}}"#,
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":-9}}"#,
            r#"{"my_usage":{"prompt_tokens":9},"usages":{"prompt_tokens":9}}"#,
            r#"{"usage":{"prompt_tokens":9"#,
            "",
        ] {
            assert_eq!(usage_of([answer.as_bytes()]), None, "{answer}");
        }
    }

    #[test]
    fn no_more_is_kept_than_a_usage_has() {
        let mut scan = UsageScan::default();
        scan.push(br#"{"usage":{"x":""#);
        for _ in 0..1_000 {
            scan.push(&[b'x'; 1024]);
        }
        assert!(scan.kept.capacity() <= 2 * LIMIT);
        scan.push(br#""}, "usage":{"prompt_tokens":1}}"#);
        assert_eq!(scan.state().usage.and_then(|usage| usage.input), Some(1));
    }

    proptest! {
        #[test]
        fn any_chunking_finds_the_same(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let answer = br#"{"usages":"usage","x":"\"usage\"","usage" : {"prompt_tokens":9,"completion_tokens":12,"n":{"a":"}"}},"id":1}"#;
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(answer.len())).collect();
            cuts.sort_unstable();
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([answer.len()]);
            let pieces = starts.zip(ends).map(|(start, end)| &answer[start..end]);
            prop_assert_eq!(usage_of(pieces), Some((Some(9), Some(12))));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[{}\":,\\\\usage 0-9]{0,200}") {
            let _ = (usage_of([&bytes[..]]), usage_of([text.as_bytes()]));
        }
    }
}
