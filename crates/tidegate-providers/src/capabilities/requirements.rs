use tidegate_core::Requirements;

use crate::endpoint::Endpoint;
use crate::json::walk::{Leaf, walk};
use crate::prompt;

/// Bytes per token in prose that is easy to read. Code and numbers have fewer bytes per token, and some
/// models count a few more tokens than others. So a request that just fits is sent, and the provider decides.
const ASCII_BYTES_PER_TOKEN: u64 = 5;

/// Bytes per token for Cyrillic or Devanagari. Older models count twice as many tokens.
const OTHER_BYTES_PER_TOKEN: u64 = 8;

/// Reads the requirements of a JSON request in any dialect.
pub(super) fn read(body: &[u8]) -> Requirements {
    let mut bytes = [0, 0];
    let count = |text: &str| {
        // An escape may encode any script.
        let ascii = if text.contains("\\u") { 0 } else { text.bytes().filter(u8::is_ascii).count() as u64 };
        let length = prompt::length(text);
        bytes[0] += ascii.min(length);
        bytes[1] += length.saturating_sub(ascii);
    };
    let Some(prompt) = prompt::read(body, count) else { return Requirements::default() };
    let max_output = prompt.estimated_at(Endpoint::Unknown).max_output;
    let tokens = match max_output {
        // Each text has the context for itself.
        Some(0) if prompt.is_embedding => 0,
        _ => bytes[0] / ASCII_BYTES_PER_TOKEN + bytes[1] / OTHER_BYTES_PER_TOKEN,
    };
    let mut needs = Requirements { tokens, max_output, ..Requirements::default() };
    walk(body, |path, leaf| match (path, leaf) {
        (["tools" | "functions"], Leaf::Object) => needs.tools = true,
        (["messages", "content", "type"] | ["messages", "content", "content", "type"], Leaf::Text(kind))
        | (["input", "type"] | ["input", "content", "type"], Leaf::Text(kind)) => {
            needs.images |= matches!(kind, "image" | "image_url" | "input_image");
        }
        (
            [
                "contents",
                "parts",
                "inlineData" | "inline_data" | "fileData" | "file_data",
                "mimeType" | "mime_type",
            ],
            Leaf::Text(kind),
        ) => needs.images |= kind.starts_with("image/") || kind.starts_with(r"image\/"),
        (
            ["response_format" | "output_format", "type"] | ["text" | "output_config", "format", "type"],
            Leaf::Text(kind),
        ) => needs.schema |= kind == "json_schema",
        (
            [
                "generationConfig" | "generation_config",
                "responseSchema" | "response_schema" | "responseJsonSchema" | "response_json_schema",
            ],
            Leaf::Object,
        ) => needs.schema = true,
        _ => {}
    });
    needs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_core::Estimate;

    use super::*;

    const NOTHING: Requirements =
        Requirements { tokens: 0, max_output: None, tools: false, images: false, schema: false };

    #[test]
    fn tools_images_and_schemas_are_found_in_every_dialect() {
        for (body, expected) in [
            (r#"{"tools":[{"type":"function"}]}"#, Requirements { tools: true, ..NOTHING }),
            (r#"{"functions":[{}]}"#, Requirements { tools: true, ..NOTHING }),
            (r#"{"tools":[],"tool_choice":"none"}"#, NOTHING),
            (
                r#"{"messages":[{"content":[{"type":"image_url"}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (r#"{"messages":[{"content":[{"type":"image"}]}]}"#, Requirements { images: true, ..NOTHING }),
            (
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (r#"{"input":[{"content":[{"type":"input_image"}]}]}"#, Requirements { images: true, ..NOTHING }),
            (
                r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png"}}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (
                r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png"}}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (
                r#"{"contents":[{"parts":[{"fileData":{"mimeType":"image\/png"}}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (
                r#"{"contents":[{"parts":[{"file_data":{"mime_type":"image/png"}}]}]}"#,
                Requirements { images: true, ..NOTHING },
            ),
            (r#"{"contents":[{"parts":[{"file_data":{"mime_type":"text/plain"}}]}]}"#, NOTHING),
            (r#"{"input":[{"type":"input_image"}]}"#, Requirements { images: true, ..NOTHING }),
            (r#"{"generation_config":{"response_schema":{}}}"#, Requirements { schema: true, ..NOTHING }),
            (
                r#"{"generation_config":{"response_json_schema":{}}}"#,
                Requirements { schema: true, ..NOTHING },
            ),
            (r#"{"response_format":{"type":"json_schema"}}"#, Requirements { schema: true, ..NOTHING }),
            (r#"{"text":{"format":{"type":"json_schema"}}}"#, Requirements { schema: true, ..NOTHING }),
            (
                r#"{"output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}}}"#,
                Requirements { schema: true, ..NOTHING },
            ),
            (
                r#"{"output_format":{"type":"json_schema","schema":{"type":"object"}}}"#,
                Requirements { schema: true, ..NOTHING },
            ),
            (r#"{"output_config":{"format":null,"effort":"low"}}"#, NOTHING),
            (r#"{"generationConfig":{"responseSchema":{}}}"#, Requirements { schema: true, ..NOTHING }),
            (r#"{"generationConfig":{"responseJsonSchema":{}}}"#, Requirements { schema: true, ..NOTHING }),
            (
                r#"{"response_format":{"type":"json_object"},"max_tokens":7}"#,
                Requirements { max_output: Some(7), ..NOTHING },
            ),
            // The input of a tool call is not an image for the model.
            (r#"{"messages":[{"content":[{"type":"tool_use","input":{"type":"image"}}]}]}"#, NOTHING),
            ("no JSON", NOTHING),
            ("", NOTHING),
        ] {
            let needs = read(body.as_bytes());
            assert_eq!(Requirements { tokens: 0, ..needs }, expected, "{body}");
        }
    }

    /// A model embeds each text of a list by itself, so that their sum exceeds no window.
    #[test]
    fn embeddings_require_no_context() {
        let text = "word ".repeat(1_000);
        for body in [
            format!(r#"{{"model":"text-embedding-3-small","input":["{text}","{text}"]}}"#),
            format!(r#"{{"requests":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#),
            r#"{"input":[[15339,1917]]}"#.to_owned(),
        ] {
            assert_eq!(read(body.as_bytes()), Requirements { max_output: Some(0), ..NOTHING }, "{body}");
        }
    }

    /// Regression: a request for the likelihood of its prompt was taken for one for embeddings.
    #[test]
    fn a_request_without_output_requires_the_context_of_its_prompt() {
        let text = "word ".repeat(1_000);
        for body in [
            format!(r#"{{"model":"m","prompt":"{text}","max_tokens":0,"echo":true,"logprobs":1}}"#),
            format!(r#"{{"model":"m","messages":[{{"content":"{text}"}}],"max_tokens":0}}"#),
            format!(r#"{{"model":"m","input":"{text}","max_output_tokens":0}}"#),
        ] {
            let expected = Requirements { tokens: 1_000, max_output: Some(0), ..NOTHING };
            assert_eq!(read(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn requirements_count_fewer_tokens_than_the_estimate_and_none_for_images() {
        let of =
            |text: &str| read(format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#).as_bytes());
        assert_eq!(of(&"word ".repeat(1_000)).tokens, 1_000);
        assert_eq!(of(&"сло ".repeat(1_000)).tokens, 6_000 / 8 + 1_000 / 5);
        assert_eq!(of(&"\\u4f60".repeat(1_000)).tokens, 3_000 / 8);
        let image = format!("data:image/png;base64,{}", "iVBORw0KGgo/".repeat(9_000));
        let part = format!(r#"[{{"type":"image_url","image_url":{{"url":"{image}"}}}}]"#);
        let body = format!(r#"{{"messages":[{{"role":"user","content":{part}}}]}}"#);
        assert_eq!(read(body.as_bytes()).tokens, 0);
    }

    proptest! {
        #[test]
        fn no_body_panics_or_requires_more_than_its_estimate(text in "[{}\\[\\]\":,\\\\ a-zé0-9]{0,200}", body: Vec<u8>) {
            for body in [text.as_bytes(), &body] {
                let estimated = crate::prompt::PromptEstimate.estimate(&http::HeaderMap::new(), body);
                prop_assert!(read(body).tokens <= estimated.input);
            }
        }
    }
}
