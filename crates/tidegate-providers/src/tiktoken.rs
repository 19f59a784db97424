use std::fmt;

use http::{HeaderMap, Uri};
use tidegate_core::{ByLength, Estimate, Estimated};
use tiktoken_rs::CoreBPE;

use crate::endpoint::Endpoint;
use crate::prompt::{BYTES_PER_TOKEN, endpoint_at, length, read};

/// Counts the tokens of a prompt with the vocabulary of OpenAI's models.
///
/// The count is exact for texts. What a provider adds around them (roles, tools) is estimated as by
/// [`PromptEstimate`](crate::PromptEstimate), and so are images. It is some hundred times slower: about a
/// millisecond for 10 KiB, on the calling thread. The vocabulary is part of the binary, takes a few
/// megabytes, and is unpacked at first use.
#[derive(Clone, Copy)]
pub struct Tiktoken(&'static CoreBPE);

/// Longer words are estimated: tokenizing takes time quadratic in their length, and a single one of a
/// megabyte would block the thread.
const MAX_WORD: usize = 1024;

/// Longer texts are estimated: their length is a good enough estimate.
const MAX_TEXT: usize = 256 * 1024;

impl Tiktoken {
    /// An estimator with the vocabulary of `model`, such as `gpt-4o`. `None` for an unknown model.
    #[must_use]
    pub fn for_model(model: &str) -> Option<Self> {
        tiktoken_rs::bpe_for_model(model).ok().map(Self)
    }

    fn count_at(&self, endpoint: Endpoint, headers: &HeaderMap, body: &[u8]) -> Estimated {
        let mut tokens = 0_u64;
        match read(body, |text| tokens = tokens.saturating_add(self.count(text))) {
            Some(fields) => {
                let estimated = fields.estimated_at(endpoint);
                Estimated { input: estimated.input.saturating_add(tokens), ..estimated }
            }
            None => ByLength.estimate(headers, body),
        }
    }

    fn count(&self, written: &str) -> u64 {
        let is_word = |word: &str| word.len() <= MAX_WORD;
        if written.len() <= MAX_TEXT && written.split_ascii_whitespace().all(is_word) {
            // The text is a JSON string with escapes, which are decoded first.
            let text = if written.contains('\\') {
                serde_json::from_str(&format!("\"{written}\"")).unwrap_or_else(|_| written.to_owned())
            } else {
                return self.0.count_ordinary(written) as u64;
            };
            return self.0.count_ordinary(&text) as u64;
        }
        length(written).div_ceil(BYTES_PER_TOKEN)
    }
}

impl Estimate for Tiktoken {
    fn estimate(&self, headers: &HeaderMap, body: &[u8]) -> Estimated {
        self.count_at(Endpoint::Unknown, headers, body)
    }

    fn estimate_at(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Estimated {
        self.count_at(endpoint_at(uri, body), headers, body)
    }
}

impl fmt::Debug for Tiktoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tiktoken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::PromptEstimate;

    #[test]
    fn counts_as_the_model_does() {
        let exact = Tiktoken::for_model("gpt-4o").unwrap();
        // OpenAI's own example, from its cookbook: 6 tokens.
        assert_eq!(exact.count("tiktoken is great!"), 6);
        assert_eq!(exact.count(r"\u4f60\u597d"), exact.count("你好"));
        let body = r#"{"messages":[{"role":"user","content":"tiktoken is great!"}],"max_tokens":7}"#;
        let estimated = exact.estimate(&HeaderMap::new(), body.as_bytes());
        assert_eq!((estimated.input, estimated.max_output), (6 + 4, Some(7)));
        assert!(Tiktoken::for_model("somebody/else").is_none());
    }

    /// Compares the rule of thumb with the exact count.
    #[test]
    fn the_quick_estimate_is_close_for_prose() {
        let exact = Tiktoken::for_model("gpt-4o").unwrap();
        for text in [
            "Keeps to the pace of the provider: it waits for its turn instead of being told that there were too many requests, and listens when it is told.",
            "Ein Glas Wasser steht auf dem Tisch, und niemand weiß, wer es dort hingestellt hat, bevor die Sonne unterging.",
            "Стакан воды стоит на столе, и никто не знает, кто его туда поставил до захода солнца.",
            "一杯水放在桌子上，没有人知道是谁在日落之前把它放在那里的。",
        ] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
            let of =
                |estimate: &dyn Estimate| estimate.estimate(&HeaderMap::new(), body.as_bytes()).input as f64;
            let ratio = of(&PromptEstimate) / of(&exact);
            assert!((0.7..2.0).contains(&ratio), "{ratio}: {text}");
        }
    }

    #[test]
    fn a_word_of_a_megabyte_is_not_tokenized() {
        let exact = Tiktoken::for_model("gpt-4o").unwrap();
        assert_eq!(exact.count(&"a".repeat(1 << 20)), 1 << 18);
        assert_eq!(exact.count(&"a ".repeat(1 << 20)), 1 << 19);
    }
}
