//! Decides, as plain code, whether another target may succeed.

use crate::{Error, ErrorCode, FailureKind, Gate, Outcome, Rejection};

/// The failures that cause a fallback.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FallbackPolicy {
    pub(crate) on_context_length: bool,
    pub(crate) on_content_filter: bool,
}

impl FallbackPolicy {
    pub(crate) fn falls_back(self, outcome: &Outcome) -> bool {
        let Outcome::Failure(failure) = outcome else { return false };
        let is_too_long =
            failure.kind == FailureKind::ContextLength || failure.code == ErrorCode::RequestTooLarge;
        failure.code.is_fallbackable()
            || (self.on_context_length && is_too_long)
            || (self.on_content_filter && failure.kind == FailureKind::ContentFilter)
    }

    /// Whether an error causes a fallback. Rejections by tidegate's gates do, because another target may have
    /// the time or capacity, or understand the request; rejections for a mistake of the caller do not.
    pub(crate) fn falls_back_from(self, error: &Error) -> bool {
        match error.rejection() {
            Some(rejection) => self.falls_back_from_rejection(rejection),
            None => self.falls_back(&Outcome::of_error(&**error)),
        }
    }

    /// The same for the rejection in an error.
    pub(crate) fn falls_back_from_rejection(self, rejection: &Rejection) -> bool {
        rejection.gate() == Gate::Translate || rejection.code() != ErrorCode::InvalidRequest
    }
}

/// Whether the provider refused what the target adds to the request, its model and its key: it has no such
/// model, or does not permit it. That decides nothing about other targets.
pub(crate) fn is_refusal(outcome: &Outcome) -> bool {
    outcome.failure().is_some_and(|failure| {
        matches!(failure.code, ErrorCode::PermissionDenied | ErrorCode::NotFound)
            && failure.kind != FailureKind::ContentFilter
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    /// Seed item 17.
    #[test]
    fn the_code_decides_and_two_failure_kinds_can_be_added() {
        let strict = FallbackPolicy::default();
        for code in ErrorCode::ALL {
            assert_eq!(strict.falls_back(&Failure::new(code).into()), code.is_fallbackable(), "{code}");
        }
        let lenient = FallbackPolicy { on_context_length: true, on_content_filter: true };
        let kind = |kind| Outcome::from(Failure { kind, ..Failure::new(ErrorCode::InvalidRequest) });
        for outcome in [kind(FailureKind::ContextLength), kind(FailureKind::ContentFilter)] {
            assert!(!strict.falls_back(&outcome) && lenient.falls_back(&outcome));
        }
        assert!(!lenient.falls_back(&kind(FailureKind::Response)));
        assert!(!lenient.falls_back(&Outcome::Success) && !lenient.falls_back(&Outcome::Neutral));
    }

    #[test]
    fn rejections_and_broken_connections_fall_back() {
        let rejected = |gate| Error::from(Rejection::new(gate, ErrorCode::Overloaded));
        assert!(FallbackPolicy::default().falls_back_from(&rejected(Gate::CircuitBreaker)));
        assert!(FallbackPolicy::default().falls_back_from(&rejected(Gate::Deadline)));
        assert!(FallbackPolicy::default().falls_back_from(&Error::boxed("connection reset")));
        // An invalid header does not fall back; a request that cannot be expressed in one dialect does.
        let invalid = |gate| Error::from(Rejection::new(gate, ErrorCode::InvalidRequest));
        assert!(!FallbackPolicy::default().falls_back_from(&invalid(Gate::Deadline)));
        assert!(FallbackPolicy::default().falls_back_from(&invalid(Gate::Translate)));
    }
}
