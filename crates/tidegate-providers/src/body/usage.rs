//! Token usage in the body of a response that is not a stream.

use memchr::{memchr2, memchr3};
use tidegate_core::{Scan, ScanProgress, StreamState, Usage};

use crate::dialect::all_rules;
use crate::dialect::usage_field::UsageCounts;
use crate::json::walk::{Leaf, walk};

/// Searches the top level of a JSON response for `usage` (`usageMetadata` at Google) as its bytes pass, and
/// parses nothing else.
///
/// All dialects have the usage at the top level of such a response. At deeper levels the same key may be an
/// argument of a tool or a field of generated JSON. So strings are skipped and open objects are counted. At
/// most the object under the key is buffered. An object that is longer than any usage is ignored.
#[derive(Default)]
pub(crate) struct UsageScan {
    at: ScanPosition,
    /// Number of open objects, not counting that of a usage. Arrays are not counted: one may enclose the
    /// whole body.
    open_objects: u32,
    buffer: Vec<u8>,
    state: StreamState,
}

/// The position of the scan in the body.
#[derive(Clone, Copy, Debug, Default)]
enum ScanPosition {
    /// Outside of any string.
    #[default]
    Outside,
    /// In a string that is skipped, possibly after a backslash.
    Text { is_escaped: bool },
    /// In a string that may be the key; the number of its bytes that match so far.
    Key(usize),
    /// After the key.
    Colon,
    /// After the colon.
    Value,
    /// In the usage object at this depth, possibly in a string, possibly after a backslash.
    Usage { depth: u32, in_text: bool, is_escaped: bool },
}

const KEY: &[u8] = b"usageMetadata";
const SHORT_KEY: usize = b"usage".len();

/// Maximum size of a usage object. The longest one seen, with all details, has about 700 bytes.
const MAX_USAGE: usize = 4 * 1024;

impl Scan for UsageScan {
    fn push(&mut self, bytes: &[u8]) -> ScanProgress {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match self.at {
                ScanPosition::Outside => self.pass_outside(rest),
                ScanPosition::Text { is_escaped: false } => self.pass_text(rest),
                ScanPosition::Usage { in_text, is_escaped: false, .. } => self.pass_usage(rest, in_text),
                _ => self.pass(rest, Some(0)),
            };
            rest = &rest[length..];
        }
        ScanProgress::default()
    }

    fn finish(&mut self) -> ScanProgress {
        ScanProgress::default()
    }

    fn state(&self) -> &StreamState {
        &self.state
    }
}

/// The bytes that are looked at one by one before a search begins, which costs more than it saves for short
/// texts.
const NEAR: usize = 16;

/// The position of the first byte that is wanted. `search` finds it among those that are not near.
#[inline]
fn position(
    bytes: &[u8],
    is_wanted: impl Fn(u8) -> bool,
    search: impl FnOnce(&[u8]) -> Option<usize>,
) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    near.iter().position(|byte| is_wanted(*byte)).or_else(|| search(far).map(|at| near.len() + at))
}

/// The position of the next byte outside of strings that opens or closes something.
fn structure(bytes: &[u8]) -> Option<usize> {
    position(bytes, |byte| matches!(byte, b'"' | b'{' | b'}'), |far| memchr3(b'"', b'{', b'}', far))
}

/// The position of the next byte of a string that ends it, or begins an escape.
fn text_end(bytes: &[u8]) -> Option<usize> {
    position(bytes, |byte| matches!(byte, b'"' | b'\\'), |far| memchr2(b'"', b'\\', far))
}

impl UsageScan {
    /// Passes the bytes up to the next one that changes the position, and returns their number.
    fn pass_outside(&mut self, bytes: &[u8]) -> usize {
        let Some(at) = structure(bytes) else { return bytes.len() };
        self.at = self.outside_text(bytes[at]);
        at + 1
    }

    fn pass_text(&mut self, bytes: &[u8]) -> usize {
        let Some(at) = text_end(bytes) else { return bytes.len() };
        self.at = match bytes[at] {
            b'"' => ScanPosition::Outside,
            _ => ScanPosition::Text { is_escaped: true },
        };
        at + 1
    }

    fn pass_usage(&mut self, bytes: &[u8], in_text: bool) -> usize {
        self.pass(bytes, if in_text { text_end(bytes) } else { structure(bytes) })
    }

    fn pass(&mut self, bytes: &[u8], changes_at: Option<usize>) -> usize {
        let length = changes_at.map_or(bytes.len(), |at| at + 1);
        self.buffer_usage(&bytes[..length]);
        if let Some(at) = changes_at {
            self.step(bytes[at]);
        }
        length
    }

    /// Buffers bytes of a usage object. One that is too long to be a usage counts as any other object from
    /// then on.
    fn buffer_usage(&mut self, bytes: &[u8]) {
        let ScanPosition::Usage { depth, in_text, is_escaped } = self.at else { return };
        if self.buffer.len() + bytes.len() <= MAX_USAGE {
            return self.buffer.extend_from_slice(bytes);
        }
        self.open_objects = self.open_objects.saturating_add(depth);
        self.at = if in_text { ScanPosition::Text { is_escaped } } else { ScanPosition::Outside };
    }

    fn step(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            // Also behind a usage that is too long.
            (ScanPosition::Text { is_escaped: false }, b'"') => ScanPosition::Outside,
            (ScanPosition::Text { is_escaped }, byte) => {
                ScanPosition::Text { is_escaped: !is_escaped && byte == b'\\' }
            }
            (ScanPosition::Key(SHORT_KEY), b'"') => ScanPosition::Colon,
            (ScanPosition::Key(matched), b'"') if matched == KEY.len() => ScanPosition::Colon,
            (ScanPosition::Key(_), b'"') => ScanPosition::Outside,
            (ScanPosition::Key(matched), byte) if KEY.get(matched) == Some(&byte) => {
                ScanPosition::Key(matched + 1)
            }
            (ScanPosition::Key(_), byte) => ScanPosition::Text { is_escaped: byte == b'\\' },
            (ScanPosition::Colon, b':') => ScanPosition::Value,
            (at @ (ScanPosition::Colon | ScanPosition::Value), b' ' | b'\t' | b'\r' | b'\n') => at,
            (ScanPosition::Value, b'{') => {
                self.buffer.clear();
                self.buffer.push(byte);
                ScanPosition::Usage { depth: 1, in_text: false, is_escaped: false }
            }
            (ScanPosition::Outside | ScanPosition::Colon | ScanPosition::Value, byte) => {
                self.outside_text(byte)
            }
            (ScanPosition::Usage { depth: 1, in_text: false, .. }, b'}') => {
                self.read();
                ScanPosition::Outside
            }
            (ScanPosition::Usage { depth, in_text, is_escaped }, byte) => ScanPosition::Usage {
                depth: match byte {
                    b'{' if !in_text => depth + 1,
                    b'}' if !in_text => depth - 1,
                    _ => depth,
                },
                in_text: in_text ^ (byte == b'"' && !is_escaped),
                is_escaped: in_text && byte == b'\\' && !is_escaped,
            },
        };
    }

    /// Handles a byte outside of strings.
    fn outside_text(&mut self, byte: u8) -> ScanPosition {
        match byte {
            b'"' if self.open_objects == 1 => return ScanPosition::Key(0),
            b'"' => return ScanPosition::Text { is_escaped: false },
            b'{' => self.open_objects = self.open_objects.saturating_add(1),
            b'}' => self.open_objects = self.open_objects.saturating_sub(1),
            _ => {}
        }
        ScanPosition::Outside
    }

    /// Parses the buffered usage. The field names of all dialects are read together, since none has two
    /// meanings.
    fn read(&mut self) {
        let mut counts = UsageCounts::default();
        walk(&self.buffer, |path, leaf| {
            let Leaf::Number(number) = leaf else { return };
            if let Some(field) = all_rules().find_map(|rules| (rules.usage_field)(path)) {
                counts.set(field, number);
            }
        });
        let usage = counts.usage_of_whole();
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
        for (body, input, output) in [
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
            assert_eq!(usage_of([body.as_bytes()]), Some((Some(input), Some(output))), "{body}");
        }
    }

    #[test]
    fn finds_the_cached_tokens_of_every_dialect() {
        for (body, input, cache_read, cache_written) in [
            (
                r#"{"usage":{"prompt_tokens":90,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":64}}}"#,
                90,
                64,
                None,
            ),
            (
                r#"{"usage":{"input_tokens":90,"input_tokens_details":{"cached_tokens":64},"output_tokens":1}}"#,
                90,
                64,
                None,
            ),
            (
                r#"{"usage":{"input_tokens":5,"cache_creation_input_tokens":100,"cache_read_input_tokens":900,"cache_creation":{"ephemeral_5m_input_tokens":100},"output_tokens":7}}"#,
                105,
                900,
                Some(100),
            ),
            (
                r#"{"usageMetadata":{"promptTokenCount":80,"cachedContentTokenCount":60,"candidatesTokenCount":3}}"#,
                80,
                60,
                None,
            ),
            (
                r#"{"usage":{"inputTokens":30,"cacheReadInputTokens":40,"cacheWriteInputTokens":20,"outputTokens":6}}"#,
                50,
                40,
                Some(20),
            ),
            // OpenAI's prompt contains what was written.
            (
                r#"{"usage":{"prompt_tokens":2600,"completion_tokens":1,"total_tokens":2640,"prompt_tokens_details":{"cached_tokens":2000,"cache_write_tokens":400}}}"#,
                2600,
                2000,
                Some(400),
            ),
            (
                r#"{"usage":{"input_tokens":2600,"output_tokens":1,"input_tokens_details":{"cached_tokens":2000,"cache_write_tokens":400}}}"#,
                2600,
                2000,
                Some(400),
            ),
            // DeepSeek's own fields, beside those of OpenAI or without them.
            (
                r#"{"usage":{"prompt_tokens":90,"completion_tokens":1,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":26}}"#,
                90,
                64,
                None,
            ),
            (
                r#"{"usage":{"prompt_tokens":90,"prompt_cache_hit_tokens":64,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens":1}}"#,
                90,
                64,
                None,
            ),
            // Moonshot's and Cohere's.
            (r#"{"usage":{"prompt_tokens":90,"completion_tokens":1,"cached_tokens":64}}"#, 90, 64, None),
            (
                r#"{"usage":{"tokens":{"input_tokens":71,"output_tokens":2},"cached_tokens":64}}"#,
                71,
                64,
                None,
            ),
        ] {
            let mut scan = UsageScan::default();
            scan.push(body.as_bytes());
            let usage = scan.state().usage.unwrap();
            assert_eq!(
                (usage.input, usage.cache_read, usage.cache_written),
                (Some(input), Some(cache_read), cache_written),
                "{body}"
            );
        }
    }

    #[test]
    fn a_usage_inside_content_or_arguments_is_ignored() {
        for body in [
            r#"{"content":"{\"usage\":{\"prompt_tokens\":9}}"}"#,
            r#"{"content":"usage","x":{"prompt_tokens":9}}"#,
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":-9}}"#,
            r#"{"my_usage":{"prompt_tokens":9},"usages":{"prompt_tokens":9}}"#,
            r#"{"usage":{"prompt_tokens":9"#,
            // Arguments of a tool and generated JSON may contain any field names.
            r#"{"choices":[{"message":{"tool_calls":[{"function":{"arguments":{"usage":{"prompt_tokens":9}}}}]}}]}"#,
            r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":9}}}]}"#,
            r#"{"a":{"b":"{"},"c":{"usage":{"prompt_tokens":9}}}"#,
            r#"{"a":[[{"usage":{"prompt_tokens":9}}]]}"#,
            r#"{"usage":{"prompt_tokens":"#,
            r#""usage":{"prompt_tokens":9}"#,
            "",
        ] {
            assert_eq!(usage_of([body.as_bytes()]), None, "{body}");
        }
    }

    /// Regression: an argument of a tool was used as the usage, since it came last.
    #[test]
    fn the_top_level_usage_counts_wherever_another_one_is() {
        for body in [
            r#"{"usage":{"prompt_tokens":1},"choices":[{"message":{"arguments":{"usage":{"prompt_tokens":9}}}}]}"#,
            r#"{"a":{"usage":{"prompt_tokens":9}},"usage":{"prompt_tokens":1},"b":{"usage":{"prompt_tokens":9}}}"#,
            r#"[{"a":"\"{","usageMetadata":{"promptTokenCount":1}},{"b":{"usage":{"prompt_tokens":9}}}]"#,
            r#"{"usage":null,"x":"usage","y":{},"usage":{"prompt_tokens":1}}"#,
            r#"{"us\"age":"usage","usage"  :{"prompt_tokens":1}}"#,
        ] {
            for cut in 0..body.len() {
                let (head, tail) = body.as_bytes().split_at(cut);
                assert_eq!(usage_of([head, tail]), Some((Some(1), None)), "{cut} of {body}");
            }
        }
    }

    #[test]
    fn the_buffer_is_bounded_by_the_size_of_a_usage() {
        let mut scan = UsageScan::default();
        scan.push(br#"{"usage":{"x":""#);
        for _ in 0..1_000 {
            scan.push(&[b'x'; 1024]);
        }
        assert!(scan.buffer.capacity() <= 2 * MAX_USAGE);
        scan.push(br#""}, "usage":{"prompt_tokens":1}}"#);
        assert_eq!(scan.state().usage.and_then(|usage| usage.input), Some(1));
    }

    /// Regression: the quote after the longest usage was passed over, and the rest was read as text.
    #[test]
    fn what_follows_a_long_usage_is_found_however_it_is_cut() {
        let long = "x".repeat(MAX_USAGE);
        for text in [long.clone(), long.clone() + r#"\""#, long + r"\\"] {
            let body = format!(r#"{{"usage":{{"x":"{text}"}},"usage":{{"prompt_tokens":1}}}}"#);
            for cut in [0, 20, MAX_USAGE, MAX_USAGE + 15, MAX_USAGE + 16, MAX_USAGE + 17] {
                let (head, tail) = body.as_bytes().split_at(cut);
                assert_eq!(usage_of([head, tail]), Some((Some(1), None)), "{cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_chunking_finds_the_same(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let body = br#"{"usages":"usage","x":"\"usage\"","usage" : {"prompt_tokens":9,"completion_tokens":12,"n":{"a":"}"}},"id":1}"#;
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            cuts.sort_unstable();
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([body.len()]);
            let pieces = starts.zip(ends).map(|(start, end)| &body[start..end]);
            prop_assert_eq!(usage_of(pieces), Some((Some(9), Some(12))));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[{}\":,\\\\usage 0-9]{0,200}") {
            let _ = (usage_of([&bytes[..]]), usage_of([text.as_bytes()]));
        }
    }
}
