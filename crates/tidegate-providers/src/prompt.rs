use http::{HeaderMap, Uri};
use tidegate_core::{ByLength, Estimate, Estimated};

use crate::endpoint::{Endpoint, answer_at};
use crate::json::walk::{Leaf, Visited, number, visit};

/// Estimates the tokens of a request from its JSON, in any dialect.
///
/// Four bytes of text count as a token: OpenAI's rule of thumb for English ("1 token ~= 4 chars in English",
/// in its help centre). In UTF-8 it roughly holds for other scripts as well, since characters with more
/// tokens have more bytes: about half a token for a Cyrillic letter, three quarters for a Chinese one. An
/// escape counts as the character that it encodes. Every message adds 4 tokens, for its role and its framing.
/// In tool definitions and in the arguments and results of calls the field names count as well. A prompt may be a list of tokens, which are counted. A
/// request for embeddings has no output: at the path of an endpoint for embeddings, or at an unknown one, as far as its
/// fields or the name of its model show that it is one.
///
/// Images, audio and files in base64 are not text, except in the fields that have text in every API. Each counts
/// as 765 tokens, which OpenAI charges for a square image of 1024 pixels in high detail. Anthropic's rule
/// (width x height / 750) gives about the same for an image of 800 x 720. For a long file this is too low, and
/// the difference is settled when the response reports its usage. The same holds for a long text without a blank
/// and without any character that base64 does not have.
///
/// The estimate is not exact: code and numbers take more tokens than prose. A limit that settles by the usage
/// that the provider reports does not need exact estimates. Nothing is allocated. A prompt of 100 KiB takes
/// some ten microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptEstimate;

/// Tokens of an image, or of any other content that is not text.
const TOKENS_PER_MEDIUM: u64 = 765;

/// Tokens for the role and the framing of each message.
const TOKENS_PER_MESSAGE: u64 = 4;

/// A request as its JSON shows it.
pub(crate) struct PromptFields {
    /// Its input covers the tokens beside the texts of the prompt.
    pub(crate) estimated: Estimated,
    /// It is for embeddings, as far as this shows.
    pub(crate) is_embedding: bool,
}

pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// Upper bound of the number of choices, higher than at any provider.
const MAX_CHOICES: u64 = 128;

impl Estimate for PromptEstimate {
    fn estimate(&self, headers: &HeaderMap, body: &[u8]) -> Estimated {
        estimate(Endpoint::Unknown, headers, body)
    }

    fn estimate_at(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Estimated {
        estimate(endpoint_at(uri, body), headers, body)
    }
}

fn estimate(endpoint: Endpoint, headers: &HeaderMap, body: &[u8]) -> Estimated {
    let mut bytes = 0;
    match read(body, |text| bytes += length(text)) {
        Some(fields) => {
            let estimated = fields.estimated_at(endpoint);
            let input = estimated.input.saturating_add(bytes.div_ceil(BYTES_PER_TOKEN));
            Estimated { input, ..estimated }
        }
        None => ByLength.estimate(headers, body),
    }
}

/// The endpoint of a request, as far as its path shows it.
pub(crate) fn endpoint_at(uri: &Uri, body: &[u8]) -> Endpoint {
    let known = answer_at(uri.path(), uri.query().unwrap_or_default(), Some(body));
    known.map_or(Endpoint::Unknown, |(endpoint, _)| endpoint)
}

impl PromptFields {
    /// The estimate for a request at `endpoint`. Servers of other endpoints ignore the fields of a request for
    /// embeddings.
    pub(crate) fn estimated_at(&self, endpoint: Endpoint) -> Estimated {
        let has_no_output = self.is_embedding && matches!(endpoint, Endpoint::Unknown | Endpoint::Embeddings);
        let none = has_no_output.then_some(0);
        Estimated { max_output: self.estimated.max_output.or(none), ..self.estimated }
    }
}

/// Reads the output limit and the number of choices of a JSON request. Each text of the prompt is passed to
/// `count` as it is written. `None` if the body is no JSON object, or not valid to its end: what follows would
/// not be counted.
pub(crate) fn read(body: &[u8], mut count: impl FnMut(&str)) -> Option<PromptFields> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let (mut read, mut is_embedding, mut is_conversation) = (Estimated::default(), false, false);
    let mut key_bytes = 0;
    let mut each = |path: &[&str], leaf| match (path, leaf) {
        (
            ["max_tokens" | "max_completion_tokens" | "max_output_tokens" | "max_tokens_to_sample"]
            | ["generationConfig" | "generation_config", "maxOutputTokens" | "max_output_tokens"]
            | ["inferenceConfig", "maxTokens"],
            leaf,
        ) => read.max_output = read.max_output.max(whole_number(leaf)),
        (["n"] | ["generationConfig" | "generation_config", "candidateCount"], leaf) => {
            let answers = whole_number(leaf).map(|number| number.clamp(1, MAX_CHOICES));
            read.answers = answers.unwrap_or(read.answers);
        }
        (path, Leaf::Text(text)) => {
            is_embedding |= is_of_embedding(path, text);
            is_conversation |= matches!(path, ["messages" | "contents", ..]);
            if is_medium(path, text) {
                read.input += TOKENS_PER_MEDIUM;
            } else if is_prompt(path) {
                count(text);
            } else if matches!(path, ["messages" | "contents" | "input", "role"]) {
                read.input += TOKENS_PER_MESSAGE;
            }
        }
        (["prompt"], Leaf::Number(_)) => read.input += 1,
        (["input"], Leaf::Number(_)) => (read.input, is_embedding) = (read.input + 1, true),
        (["dimensions"], Leaf::Number(_)) => is_embedding = true,
        _ => {}
    };
    let is_whole = visit(body, |path, visited| {
        match visited {
            Visited::Leaf(leaf) => each(path, leaf),
            Visited::Key(key) if is_own_json(path) => key_bytes += length(key),
            Visited::Key(_) => {}
        }
        true
    });
    read.input += key_bytes.div_ceil(BYTES_PER_TOKEN);
    let is_embedding = is_embedding && !is_conversation;
    is_whole.then_some(PromptFields { estimated: read, is_embedding })
}

/// A whole number, or a text that is one: servers that check types loosely read both.
fn whole_number(leaf: Leaf<'_>) -> Option<u64> {
    match leaf {
        Leaf::Number(number) => Some(number),
        Leaf::Text(text) => number(text.trim().as_bytes()),
        _ => None,
    }
}

/// Whether a text at `path` is part of the prompt. All others are settings and identifiers.
fn is_prompt(path: &[&str]) -> bool {
    match path {
        [
            "messages" | "contents" | "input" | "inputs" | "content" | "requests",
            ..,
            "role" | "type" | "id" | "tool_call_id" | "media_type",
        ] => is_own_json(path),
        [
            "messages" | "contents" | "input" | "prompt" | "system" | "instructions" | "tools" | "functions"
            | "systemInstruction" | "system_instruction" | "toolConfig" | "response_format" | "message"
            | "chat_history" | "documents" | "text" | "content" | "texts" | "inputs" | "inputText",
            ..,
        ]
        | ["requests", "content", ..] => true,
        _ => false,
    }
}

/// Whether only a request for embeddings has such a text at `path`.
fn is_of_embedding(path: &[&str], text: &str) -> bool {
    match path {
        ["model"] => text.contains("embed"),
        ["encoding_format" | "input_type" | "texts"] | ["content", ..] | ["requests", "content", ..] => true,
        _ => false,
    }
}

fn is_tool_definition(path: &[&str]) -> bool {
    matches!(path, ["tools" | "functions" | "toolConfig" | "response_format", ..])
}

/// Whether `path` leads into JSON of the caller's own, whose keys have no meaning to the API: the arguments of a tool
/// call in the history, the result of one, a document, or a schema.
fn is_own_json(path: &[&str]) -> bool {
    (is_tool_definition(path) && !matches!(path, ["tools", "input_image_mask", ..]))
        || matches!(
            path,
            ["messages", "content", "input", ..]
                | ["messages", "tool_calls", "function", "arguments", ..]
                | ["messages", "content", "document", "data", ..]
                | ["documents", "data", ..]
                | ["messages", "content", "toolUse", "input", ..]
                | ["messages", "content", "toolResult", "content", "json", ..]
                | ["contents", "parts", "functionCall" | "function_call", "args", ..]
                | ["contents", "parts", "functionResponse" | "function_response", "response", ..]
        )
}

/// Whether a text is an image or a file: a URL, or base64. In a field of the prompt that has text in every API the
/// model reads it as it is, whatever it looks like.
fn is_medium(path: &[&str], text: &str) -> bool {
    let is_url = matches!(
        path,
        [.., "image_url"] | [.., "image_url", "url"] | [.., "fileData" | "file_data", "fileUri" | "file_uri"]
    );
    // NVIDIA's embeddings of images.
    let is_input_image = || path == ["input"] && text.starts_with("data:image/");
    let may_be_file = || !(is_text_field(path) && is_prompt(path)) || is_input_image();
    let is_file = || file_in(text.as_bytes()).is_some_and(|file| may_be_file() && is_base64(file));
    (is_url || is_file()) && !is_own_json(path)
}

/// Whether a field has text in every API: no file is sent in it.
fn is_text_field(path: &[&str]) -> bool {
    matches!(
        path.last().copied().unwrap_or_default(),
        "content"
            | "text"
            | "texts"
            | "input"
            | "inputs"
            | "inputText"
            | "output"
            | "arguments"
            | "instructions"
            | "prompt"
            | "prompt_string"
            | "system"
            | "message"
            | "query"
            | "queries"
            | "title"
            | "name"
            | "description"
            | "context"
            | "thinking"
            | "reasoning"
            | "reasoning_content"
            | "refusal"
            | "transcript"
            | "summary"
            | "snippet"
            | "code"
            | "logs"
            | "stdout"
            | "stderr"
    )
}

/// What has to be base64 if `text` is a file: what follows the beginning of a `data:` URL, or the whole of a long
/// run that mixes lower case, upper case and digits, as neither prose nor a repeated letter does.
fn file_in(text: &[u8]) -> Option<&[u8]> {
    const MAX_HEAD: usize = 1024;
    const RUN: usize = 512;
    if text.starts_with(b"data:") {
        let at = text[..text.len().min(MAX_HEAD)].windows(7).position(|part| part == b"base64,")?;
        return Some(&text[at + 7..]);
    }
    let run = text.get(..RUN)?;
    let has = |is_it: fn(&u8) -> bool| run.iter().any(is_it);
    let is_mixed = run.iter().all(|byte| is_of_base64(*byte) || *byte == b'\\')
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit);
    is_mixed.then_some(text)
}

const fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

/// Whether a text is base64 to its end, perhaps in lines. Some serializers escape three of its characters.
fn is_base64(text: &[u8]) -> bool {
    const ESCAPED: [&[u8]; 4] = [b"/", b"u002b", b"u002f", b"u003d"];
    /// Encoders break lines after 64 or 76 characters. Words are shorter.
    const SHORTEST_LINE: usize = 60;
    // Without an exit within a chunk it is checked many bytes at once.
    let is_plain = |text: &[u8]| {
        text.chunks(64).all(|chunk| chunk.iter().fold(true, |is_plain, byte| is_plain & is_of_base64(*byte)))
    };
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = (&rest[..at], &rest[at + 1..]);
        let is_known = |known: &&[u8]| {
            escape.get(..known.len()).is_some_and(|escape| escape.eq_ignore_ascii_case(known))
        };
        // A line begins with the letter of the break before it.
        let is_line = || before.len() <= 1 || before.len() >= SHORTEST_LINE;
        let is_last = || escape.iter().all(|byte| b"\\nr".contains(byte));
        let is_break = matches!(escape.first(), Some(b'n' | b'r')) && (is_line() || is_last());
        if !is_plain(before) || !is_break && !ESCAPED.iter().any(is_known) {
            return false;
        }
        rest = escape;
    }
    is_plain(rest)
}

/// The length in UTF-8 of the text that a JSON string encodes.
pub(crate) fn length(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut saved, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        let escaped = at + found + 1;
        // `\n` encodes one byte, and `\u4f60` three. Half of a surrogate pair counts as two.
        let (written, meant) = match bytes.get(escaped) {
            Some(b'u') => match bytes.get(escaped + 1..escaped + 3) {
                Some(b"00") => (6, 1),
                Some([b'd' | b'D', _]) => (6, 2),
                _ => (6, 3),
            },
            _ => (2, 1),
        };
        saved += written - meant;
        at = (escaped - 1 + written).min(bytes.len());
    }
    (bytes.len() as u64).saturating_sub(saved as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(body: &str) -> Estimated {
        PromptEstimate.estimate(&HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn counts_the_prompt_of_every_dialect_and_not_the_json_around_it() {
        let text = "x".repeat(400);
        for (body, around) in [
            (format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{text}"}}]}}"#), 4),
            (
                format!(
                    r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}}]}}"#
                ),
                4,
            ),
            (format!(r#"{{"system":"{text}","messages":[]}}"#), 0),
            (format!(r#"{{"instructions":"","input":"{text}","stream":true}}"#), 0),
            (format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{text}"}}]}}]}}"#), 4),
            (format!(r#"{{"prompt":"{text}","user":"somebody","stop":["a","b"]}}"#), 0),
            (format!(r#"{{"model":"e","content":{{"role":"user","parts":[{{"text":"{text}"}}]}}}}"#), 0),
            (
                format!(
                    r#"{{"requests":[{{"model":"models/e","content":{{"parts":[{{"text":"{text}"}}]}},"taskType":"t"}}]}}"#
                ),
                0,
            ),
            (format!(r#"{{"texts":["{text}"],"input_type":"search_document"}}"#), 0),
            (format!(r#"{{"inputs":"{text}","truncate":true}}"#), 0),
            (format!(r#"{{"inputs":[{{"content":[{{"type":"text","text":"{text}"}}]}}]}}"#), 0),
            (format!(r#"{{"inputText":"{text}"}}"#), 0),
        ] {
            assert_eq!(of(&body).input, 100 + around, "{body}");
        }
    }

    /// Regression: what was nested too deeply, or not valid, hid the prompt that follows.
    #[test]
    fn nothing_before_a_prompt_hides_it() {
        let text = "x".repeat(40_000);
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        for ahead in ["1", "[}", "}", r#""\""#, &deep] {
            let body = format!(r#"{{"x":{ahead},"messages":[{{"role":"user","content":"{text}"}}]}}"#);
            assert!(of(&body).input >= 10_000, "{ahead}: {:?}", of(&body));
        }
    }

    /// Regression: what looked like a file counted as one in any field, and a text under the key of a type or an id
    /// counted as nothing at any depth.
    #[test]
    fn no_field_hides_a_text_that_the_model_reads() {
        let text = "word ".repeat(8_000);
        let base64 = "iVBORw0KGgo/".repeat(100);
        let chinese = "天地玄黄".repeat(4_000);
        let lines = r"word\n".repeat(8_000);
        let user = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
        let tool =
            |input: &str| user(&format!(r#"[{{"type":"tool_use","id":"t","name":"f","input":{input}}}]"#));
        for body in [
            user(&format!(r#""data:,base64, {text}""#)),
            user(&format!(r#""data:image/png;base64,{}""#, base64.repeat(40))),
            user(&format!(r#""{base64} {text}""#)),
            user(&format!(r#"[{{"type":"text","text":"{base64}{text}"}}]"#)),
            user(&format!(r#"[{{"type":"document","source":{{"type":"text","data":"{base64} {text}"}}}}]"#)),
            user(&format!(r#"[{{"source":{{"type":"text","data":"data:,base64,{chinese}"}}}}]"#)),
            user(&format!(r#"[{{"source":{{"type":"text","data":"data:,base64,{lines}"}}}}]"#)),
            user(&format!(r#"[{{"source":{{"type":"text","data":"{base64}{chinese}"}}}}]"#)),
            user(&format!(r#"[{{"source":{{"type":"text","data":"{base64}\u0020{lines}"}}}}]"#)),
            user(&format!(r#"[{{"type":"document","document":{{"data":{{"id":"{text}"}}}}}}]"#)),
            user(&format!(r#"[{{"type":"document","document":{{"data":"{}"}}}}]"#, base64.repeat(40))),
            format!(r#"{{"documents":[{{"data":{{"image":"{}"}}}}]}}"#, base64.repeat(40)),
            tool(&format!(r#"{{"id":"{text}"}}"#)),
            tool(&format!(r#"{{"a":{{"type":"{text}"}}}}"#)),
            tool(&format!(r#"{{"image_url":"{text}"}}"#)),
            tool(&format!(r#"{{"data":"{}"}}"#, base64.repeat(40))),
            format!(r#"{{"contents":[{{"parts":[{{"functionCall":{{"args":{{"role":"{text}"}}}}}}]}}]}}"#),
            format!(
                r#"{{"contents":[{{"parts":[{{"functionResponse":{{"response":{{"id":"{text}"}}}}}}]}}]}}"#
            ),
            format!(r#"{{"messages":[{{"content":[{{"toolUse":{{"input":{{"type":"{text}"}}}}}}]}}]}}"#),
            // Keys, whatever their values are.
            format!(
                r#"{{"tools":[{{"function":{{"parameters":{{"properties":{{"{text}":{{"type":"a"}}}}}}}}}}]}}"#
            ),
            format!(r#"{{"tools":[{{"input_schema":{{"properties":{{"{text}":true}}}}}}]}}"#),
            tool(&format!(r#"{{"{text}":1}}"#)),
            tool(&format!(r#"{{"a":{{"b":[{{"{text}":null}}]}}}}"#)),
            format!(r#"{{"messages":[{{"tool_calls":[{{"function":{{"arguments":{{"{text}":[]}}}}}}]}}]}}"#),
        ] {
            assert!(of(&body).input >= 10_000, "{:?} {:.120}", of(&body), body);
        }
        let name = tool(r#"{"type":"a"}"#);
        assert_eq!(of(&name).input, TOKENS_PER_MESSAGE + 2, "a type and an id of the API are not counted");
    }

    #[test]
    fn finds_the_output_limit_and_the_number_of_choices() {
        for (body, max_output, answers) in [
            (r#"{"max_tokens":7}"#, Some(7), 1),
            (r#"{"max_completion_tokens":7,"max_tokens":3}"#, Some(7), 1),
            (r#"{"max_output_tokens":7}"#, Some(7), 1),
            (r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#, Some(7), 2),
            (r#"{"inferenceConfig":{"maxTokens":7}}"#, Some(7), 1),
            (r#"{"max_tokens":null,"n":4}"#, None, 4),
            (r#"{"max_tokens":-1,"n":0}"#, None, 1),
            (r#"{"messages":[{"content":"max_tokens","max_tokens":9}],"n":999999}"#, None, 128),
            // As servers read them that check types loosely. Regression: these were no limits.
            (r#"{"max_tokens":10000.0,"n":50.0}"#, Some(10_000), 50),
            (r#"{"max_tokens":"10000","n":"2"}"#, Some(10_000), 2),
            (r#"{"max_tokens":" 1e4 ","n":5e1}"#, Some(10_000), 50),
            (r#"{"max_tokens":0.5,"n":"inf"}"#, None, 1),
        ] {
            let estimated = of(body);
            assert_eq!((estimated.max_output, estimated.answers), (max_output, answers), "{body}");
        }
    }

    /// Regression: a field of embeddings in a chat hid all of its output, since most servers ignore it.
    #[test]
    fn only_a_request_for_embeddings_has_no_output() {
        for field in [
            r#""dimensions":1"#,
            r#""encoding_format":"float""#,
            r#""input_type":"x""#,
            r#""input":[1]"#,
            r#""content":"x""#,
            r#""texts":["x"]"#,
        ] {
            let chat = format!(r#"{{{field},"messages":[{{"role":"user","content":"x"}}]}}"#);
            assert_eq!(of(&chat).max_output, None, "{chat}");
            let body = format!(r#"{{"input":"x",{field}}}"#);
            for (path, max_output) in [
                ("/v1/responses", None),
                ("/v1/completions", None),
                ("/v1/embeddings", Some(0)),
                ("/v1/unknown", Some(0)),
            ] {
                let uri = Uri::from_static(path);
                let estimated = PromptEstimate.estimate_at(&uri, &HeaderMap::new(), body.as_bytes());
                assert_eq!(estimated.max_output, max_output, "{path} {body}");
            }
        }
    }

    /// Regression: LangChain sends the texts of embeddings as tokens, which were counted as nothing.
    #[test]
    fn a_prompt_of_tokens_counts_each_of_them() {
        let tokens = vec!["15339"; 8_191].join(",");
        for key in ["input", "prompt"] {
            assert_eq!(of(&format!(r#"{{"{key}":[{tokens}],"seed":7,"n":2}}"#)).input, 8_191);
            let nested = format!(r#"{{"{key}":[[{tokens}],[0,{tokens}]],"user":"x"}}"#);
            assert_eq!(of(&nested).input, 2 * 8_191 + 1);
        }
        assert_eq!(of(r#"{"input":[{"content":[{"type":"x","n":5}]}],"logit_bias":{"5":7}}"#).input, 0);
    }

    /// Regression: embeddings without a usage used up the output that they cannot have.
    #[test]
    fn embeddings_have_no_output() {
        for body in [
            r#"{"model":"text-embedding-3-small","input":"word"}"#,
            r#"{"model":"a","input":"word","encoding_format":"base64"}"#,
            r#"{"input":["word"],"dimensions":256}"#,
            r#"{"input":[[15339,1917]]}"#,
            r#"{"texts":["word"]}"#,
            r#"{"model":"a","input":"word","input_type":"query"}"#,
            r#"{"content":{"parts":[{"text":"word"}]}}"#,
            r#"{"requests":[{"content":{"parts":[{"text":"word"}]}}]}"#,
        ] {
            assert_eq!(of(body).output(500), 0, "{body}");
        }
        for body in [
            r#"{"model":"gpt-4o","input":"embed the word"}"#,
            r#"{"model":"gpt-4o","input":[{"role":"user","content":"embed"}]}"#,
            r#"{"model":"gpt-3.5-turbo-instruct","prompt":[15339,1917]}"#,
            r#"{"inputs":"word"}"#,
            r#"{"inputText":"word"}"#,
        ] {
            assert_eq!(of(body).output(500), 500, "{body}");
        }
        assert_eq!(of(r#"{"model":"embedded","max_tokens":7}"#).output(500), 7);
    }

    #[test]
    fn an_image_is_not_counted_as_text() {
        let image = "iVBORw0KGgo/".repeat(20_000);
        for body in [
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{image}"}}}}]}}]}}"#),
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}"#.to_owned(),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"input_audio","input_audio":{{"data":"{image}"}}}}]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"file","file":{{"file_data":"data:application/pdf;base64,{image}"}}}}]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"image","source":{{"data":"{image}"}}}}]}}]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"assistant","content":[{{"type":"thinking","signature":"{image}"}}]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"user","content":"","images":["{image}"]}}]}}"#),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"image":{{"source":{{"bytes":"{image}"}}}}}}]}}]}}"#),
        ] {
            assert_eq!(of(&body).input, TOKENS_PER_MEDIUM + TOKENS_PER_MESSAGE, "{}", &body[..80]);
        }
        let url = format!("data:application/pdf;base64,{image}");
        let lines: Vec<_> =
            image.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let lines = lines.join(r"\r\n");
        for (part, files) in [
            (format!(r#""input_audio":"{image}""#), 1),
            (format!(r#""document_url":"{url}""#), 1),
            (format!(r#""document_url":"data:application/pdf;name=Annual Report.pdf;base64,{image}""#), 1),
            (format!(r#""document_url":"data:application/pdf;base64,{lines}\r\n""#), 1),
            (format!(r#""a_new_field":"{lines}""#), 1),
            (format!(r#""video":["{url}","{url}"]"#), 2),
            (format!(r#""audio":"{url}""#), 1),
            (format!(r#""video_base64":"{image}","audio_base64":"{image}""#), 2),
            (format!(r#""image_embeds":"{image}","audio_embeds":{{"a":"{image}"}}"#), 2),
            (format!(r#""encrypted_stdout":"{image}","encrypted_index":"{image}""#), 2),
            (format!(r#""a_new_field":"{image}""#), 1),
            (format!(r#""a_new_field":"{}""#, image.replace('/', r"\/")), 1),
            (format!(r#""a_new_field":"{}\u003D\u003d""#, image.replace('/', r"\u002F")), 1),
            (format!(r#""a_new_field":"{}""#, image.replace('/', r"\u002B")), 1),
        ] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":[{{{part}}}]}}]}}"#);
            assert_eq!(of(&body).input, files * TOKENS_PER_MEDIUM + TOKENS_PER_MESSAGE, "{:.80}", body);
        }
        let mask = format!(r#"{{"messages":[],"tools":[{{"input_image_mask":{{"image_url":"{url}"}}}}]}}"#);
        assert_eq!(of(&mask).input, TOKENS_PER_MEDIUM + 4, "with the key in the tool");
        for body in [
            format!(r#"{{"prompt":{{"multimodal_data":["{image}"]}}}}"#),
            format!(r#"{{"model":"nvidia/nvclip","input":["data:image/png;base64,{image}"]}}"#),
            format!(r#"{{"input":[{{"type":"reasoning","reasoning_opaque":"{image}"}}]}}"#),
        ] {
            assert_eq!(of(&body).input, TOKENS_PER_MEDIUM, "{:.80}", body);
        }
        let words = r"word\n".repeat(20_000);
        let words = format!(r#"{{"messages":[{{"content":[{{"a_new_field":"data:,base64,{words}"}}]}}]}}"#);
        assert!(of(&words).input > 10_000);
        let inline =
            format!(r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"","data":"{image}"}}}}]}}]}}"#);
        assert_eq!(of(&inline).input, TOKENS_PER_MEDIUM);
    }

    #[test]
    fn an_escape_counts_as_the_character_that_it_encodes() {
        assert_eq!(length("ab"), 2);
        assert_eq!(length(r"a\nb"), 3);
        assert_eq!(length(r#"\"\\"#), 2);
        assert_eq!(length(r"\u0041"), 1);
        assert_eq!(length(r"\u4f60\u597d"), 6);
        assert_eq!(length(r"\ud83d\ude00"), 4);
        assert_eq!(length(r"a\"), 1);
        assert_eq!(length(r"\u4f"), 1);
    }

    #[test]
    fn tools_count_with_the_names_of_their_fields() {
        let tool =
            r#"{"tools":[{"type":"function","function":{"name":"weather","description":"tells it"}}]}"#;
        assert_eq!(of(tool).input, 13);
    }

    #[test]
    fn a_body_that_is_not_a_json_object_is_counted_by_its_length() {
        assert_eq!((of("12345678").input, of("").max_output), (2, Some(0)));
    }

    proptest! {
        #[test]
        fn no_body_panics_or_exceeds_the_bound_of_its_length(body: Vec<u8>, text in "[{}\\[\\]\":,\\\\ a-z0-9]{0,200}") {
            for body in [&body[..], text.as_bytes()] {
                let estimated = PromptEstimate.estimate(&HeaderMap::new(), body);
                prop_assert!(estimated.input <= body.len() as u64 + TOKENS_PER_MEDIUM * 8 * body.len() as u64);
            }
        }
    }
}
