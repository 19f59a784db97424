use http::HeaderMap;

/// Tells, before a request is sent, how many tokens it will take.
///
/// A limit in tokens has to reserve before it knows. Pure, and quick: it runs once for every attempt, over the
/// whole prompt. What it tells is corrected by what the provider counts; being wrong costs a wait, or a debt that is waited
/// off later.
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

/// Four bytes of the body are a token, and there is one answer of any length.
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
    /// The most tokens of all answers together, one of which has `usual` if the request does not say.
    #[must_use]
    pub const fn output(&self, usual: u64) -> u64 {
        let each = match self.max_output {
            Some(most) => most,
            None => usual,
        };
        each.saturating_mul(self.answers)
    }
}

impl Estimate for ByLength {
    fn estimate(&self, _: &HeaderMap, body: &[u8]) -> Estimated {
        let max_output = if body.is_empty() { Some(0) } else { None };
        Estimated { input: body.len().div_ceil(4) as u64, max_output, ..Estimated::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_body_asks_for_nothing() {
        let of = |body: &str| ByLength.estimate(&HeaderMap::new(), body.as_bytes());
        assert_eq!((of("").input, of("").output(500)), (0, 0));
        assert_eq!((of("12345").input, of("12345").output(500)), (2, 500));
        assert_eq!(Estimated { answers: 3, ..of("1") }.output(u64::MAX), u64::MAX);
    }
}
