//! Whether another target may do better, as plain code.

use crate::{BoxError, ErrorCode, FailureKind, Gate, Outcome, Rejection};

/// Which failures are worth asking somebody else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy {
    pub(super) on_context_length: bool,
    pub(super) on_content_filter: bool,
}

impl Policy {
    pub(super) fn falls_back(self, outcome: &Outcome) -> bool {
        let Outcome::Failure(failure) = outcome else { return false };
        let too_long =
            failure.cause == FailureKind::ContextLength || failure.code == ErrorCode::RequestTooLarge;
        failure.code.is_fallbackable()
            || (self.on_context_length && too_long)
            || (self.on_content_filter && failure.cause == FailureKind::ContentFilter)
    }

    /// The same for an error. A refusal of ours is worth it: what this target has no time or room for, or cannot be told,
    /// another may; unless the caller made a mistake.
    pub(super) fn falls_back_from(self, error: &BoxError) -> bool {
        match Rejection::find(&**error) {
            Some(refusal) => refusal.gate() == Gate::Translate || refusal.code() != ErrorCode::InvalidRequest,
            None => self.falls_back(&Outcome::of_error(&**error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    #[test]
    fn the_code_decides_and_two_causes_may_be_added() {
        let strict = Policy::default();
        for code in ErrorCode::ALL {
            assert_eq!(strict.falls_back(&Failure::new(code).into()), code.is_fallbackable(), "{code}");
        }
        let lenient = Policy { on_context_length: true, on_content_filter: true };
        let cause = |cause| Outcome::from(Failure { cause, ..Failure::new(ErrorCode::InvalidRequest) });
        for outcome in [cause(FailureKind::ContextLength), cause(FailureKind::ContentFilter)] {
            assert!(!strict.falls_back(&outcome) && lenient.falls_back(&outcome));
        }
        assert!(!lenient.falls_back(&cause(FailureKind::Answer)));
        assert!(!lenient.falls_back(&Outcome::Success) && !lenient.falls_back(&Outcome::Neutral));
    }

    #[test]
    fn our_own_refusals_and_broken_connections_fall_back() {
        let rejected = |gate| BoxError::from(Rejection::new(gate, ErrorCode::Overloaded));
        assert!(Policy::default().falls_back_from(&rejected(Gate::CircuitBreaker)));
        assert!(Policy::default().falls_back_from(&rejected(Gate::Deadline)));
        assert!(Policy::default().falls_back_from(&"connection reset".into()));
        // A header that cannot be read, and a request that one dialect has no words for.
        let mistaken = |gate| BoxError::from(Rejection::new(gate, ErrorCode::InvalidRequest));
        assert!(!Policy::default().falls_back_from(&mistaken(Gate::Deadline)));
        assert!(Policy::default().falls_back_from(&mistaken(Gate::Translate)));
    }
}
