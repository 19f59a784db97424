use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Uri};

/// Estimates how many tokens a request will use, before it is sent.
///
/// A token limit has to reserve before the real usage is known. Implementations are pure and must be fast:
/// the estimate is computed once per attempt, over the whole prompt. It is corrected by the usage that the
/// provider reports. An estimate that is too high causes a wait; one that is too low causes a debt that later
/// requests wait for.
pub trait Estimate: Send + Sync + 'static {
    /// Estimates the usage of a request. `body` is empty if it is not buffered.
    fn estimate(&self, headers: &HeaderMap, body: &[u8]) -> Estimated;

    /// Estimates the usage of a request at `uri`, the path of which may show what it requests. By default the URI
    /// is ignored.
    fn estimate_at(&self, _uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Estimated {
        self.estimate(headers, body)
    }
}

/// The estimated token usage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimated {
    /// Tokens of the prompt.
    pub input: u64,
    /// The most tokens that one completion may have, if the request sets it.
    pub max_output: Option<u64>,
    /// The number of requested completions; usually 1.
    pub answers: u64,
}

/// Counts four bytes of the body as one token, and expects one completion of any length. For a body that is
/// not buffered the `Content-Length` header is used.
///
/// The estimate for bodies of an unknown format. The JSON around a prompt is counted as well, and so is an
/// image.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByLength;

impl Default for Estimated {
    /// No prompt, and one completion of any length.
    fn default() -> Self {
        Self { input: 0, max_output: None, answers: 1 }
    }
}

impl Estimated {
    /// The upper bound for the estimated output of a request: more than any model generates. Without it, a
    /// request for a million million tokens would block the limit for all callers.
    pub const MAX_OUTPUT: u64 = 1_000_000;

    /// The most tokens of all completions together, at most [`MAX_OUTPUT`](Self::MAX_OUTPUT). A completion
    /// without a limit in the request counts as `usual` tokens.
    #[must_use]
    pub const fn output(&self, usual: u64) -> u64 {
        let each = match self.max_output {
            Some(most) => most,
            None => usual,
        };
        let all = each.saturating_mul(self.answers);
        if all < Self::MAX_OUTPUT { all } else { Self::MAX_OUTPUT }
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
    fn a_request_without_a_body_has_an_estimate_of_zero() {
        let of = |body: &str| ByLength.estimate(&HeaderMap::new(), body.as_bytes());
        assert_eq!((of("").input, of("").output(500)), (0, 0));
        assert_eq!((of("12345").input, of("12345").output(500)), (2, 500));
        assert_eq!(Estimated { answers: 3, ..of("1") }.output(u64::MAX), Estimated::MAX_OUTPUT);
        let headers = [(CONTENT_LENGTH, "4000".parse().unwrap())].into_iter().collect();
        assert_eq!(ByLength.estimate(&headers, &[]).input, 1_000);
    }
}
