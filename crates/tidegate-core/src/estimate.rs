use http::HeaderMap;
use http::header::CONTENT_LENGTH;

/// Tells, before a request is sent, how many tokens it will take.
///
/// A limit in tokens has to reserve before it knows. Pure, and quick: it runs once for every attempt, over the
/// whole prompt. What it tells is corrected by what the provider counts; being wrong costs a wait, or a debt that
/// is waited off later.
pub trait Estimate: Send + Sync + 'static {
    /// What a request will take. `body` is empty where it is not at hand.
    fn estimate(&self, headers: &HeaderMap, body: &[u8]) -> Estimated;
}

/// What a request will take, as far as it can be known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimated {
    /// Tokens of the prompt.
    pub input: u64,
    /// The most tokens that one answer may have, if the request names it.
    pub max_output: Option<u64>,
    /// How many answers are asked for; 1 for most.
    pub answers: u64,
}

/// Four bytes of the body are a token, and there is one answer of any length. Of a body that is not at hand the
/// length is taken that the headers tell.
///
/// For who knows nothing of the body. The JSON around a prompt is counted with it, and so is an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByLength;

impl Default for Estimated {
    /// No prompt, and one answer of any length.
    fn default() -> Self {
        Self { input: 0, max_output: None, answers: 1 }
    }
}

impl Estimated {
    /// The most tokens that an answer is believed to be asked for: more than any model gives. A request for a million
    /// million would block the limit for everybody.
    pub const MOST_OUTPUT: u64 = 1_000_000;

    /// The most tokens of all answers together, at most [`MOST_OUTPUT`](Self::MOST_OUTPUT); one of them has `usual`
    /// if the request does not say.
    #[must_use]
    pub const fn output(&self, usual: u64) -> u64 {
        let each = match self.max_output {
            Some(most) => most,
            None => usual,
        };
        let all = each.saturating_mul(self.answers);
        if all < Self::MOST_OUTPUT { all } else { Self::MOST_OUTPUT }
    }
}

impl Estimate for ByLength {
    fn estimate(&self, headers: &HeaderMap, body: &[u8]) -> Estimated {
        let length = match body.len() {
            0 => declared_length(headers),
            length => length as u64,
        };
        let max_output = if length == 0 { Some(0) } else { None };
        Estimated { input: length.div_ceil(4), max_output, ..Estimated::default() }
    }
}

fn declared_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_body_asks_for_nothing() {
        let of = |body: &str| ByLength.estimate(&HeaderMap::new(), body.as_bytes());
        assert_eq!((of("").input, of("").output(500)), (0, 0));
        assert_eq!((of("12345").input, of("12345").output(500)), (2, 500));
        assert_eq!(Estimated { answers: 3, ..of("1") }.output(u64::MAX), Estimated::MOST_OUTPUT);
        let headers = [(CONTENT_LENGTH, "4000".parse().unwrap())].into_iter().collect();
        assert_eq!(ByLength.estimate(&headers, &[]).input, 1_000);
    }
}
