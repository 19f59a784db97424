use std::time::SystemTime;

use http::HeaderMap;
use http::response::Parts;
use tidegate_core::{Classify, Failure, Outcome};

use crate::Provider;
use crate::answer::Answer;

/// Judges the answers of one provider by status, headers and error body.
///
/// The default is for [`Provider::Other`]; it recognises every shape and word that the named ones do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderClassifier {
    provider: Provider,
}

impl ProviderClassifier {
    /// A classifier for the answers of `provider`.
    #[must_use]
    pub const fn new(provider: Provider) -> Self {
        Self { provider }
    }

    /// The provider whose answers it judges.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// The failure that `body` tells of where no status does: an error event inside a stream, or an answer of
    /// 200 that holds only an error. `None` if it is not an error.
    #[must_use]
    pub fn failure_in(&self, body: &[u8]) -> Option<Failure> {
        // Only headers can tell a moment, so no clock is needed without them.
        let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
        let answer = Answer::read(self.provider, None, &headers, body, now);
        answer.is_error().then(|| answer.failure(now))
    }
}

impl From<Provider> for ProviderClassifier {
    fn from(provider: Provider) -> Self {
        Self::new(provider)
    }
}

impl Classify for ProviderClassifier {
    /// From 400 up. An answer with 2xx is a success by its head, and its body is the caller's from the first byte.
    fn wants_body(&self, head: &Parts) -> bool {
        head.status.as_u16() >= 400
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Outcome {
        if !self.wants_body(head) {
            return Outcome::Success;
        }
        Answer::read(self.provider, Some(head.status), &head.headers, body, now).failure(now).into()
    }
}
