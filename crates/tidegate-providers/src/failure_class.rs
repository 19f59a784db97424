use tidegate_core::{ErrorCode, FailureKind, LimitScope};

/// What a word, a phrase or a status says about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailureClass {
    pub(crate) code: ErrorCode,
    pub(crate) kind: FailureKind,
    pub(crate) scope: LimitScope,
}

impl FailureClass {
    /// Too many for now.
    pub(crate) const RATE: Self = Self::of(ErrorCode::RateLimited);
    /// Too many for today, or for the month.
    pub(crate) const DAILY: Self = Self { scope: LimitScope::Daily, ..Self::of(ErrorCode::QuotaExhausted) };
    /// Somebody has to pay first.
    pub(crate) const SPEND: Self = Self { scope: LimitScope::Spend, ..Self::of(ErrorCode::QuotaExhausted) };
    /// The provider has no room.
    pub(crate) const OVERLOAD: Self = Self::of(ErrorCode::Overloaded);
    /// Too long for this model. Only a body says so: a bare 413 leaves open what was too large.
    pub(crate) const CONTEXT: Self =
        Self { kind: FailureKind::ContextLength, ..Self::of(ErrorCode::RequestTooLarge) };
    /// Refused for what it is about.
    pub(crate) const FILTER: Self =
        Self { kind: FailureKind::ContentFilter, ..Self::of(ErrorCode::InvalidRequest) };

    /// The code and nothing else.
    pub(crate) const fn of(code: ErrorCode) -> Self {
        Self { code, kind: FailureKind::Response, scope: LimitScope::Momentary }
    }

    /// The meaning of a status. 402 is about money whoever sends it.
    pub(crate) fn of_status(status: http::StatusCode) -> Option<Self> {
        if status == http::StatusCode::PAYMENT_REQUIRED {
            return Some(Self::SPEND);
        }
        ErrorCode::from_status(status).map(Self::of)
    }

    /// Whether it says no more than whose fault it was.
    pub(crate) fn is_vague(self) -> bool {
        self == Self::of(ErrorCode::InvalidRequest) || self == Self::of(ErrorCode::ServerError)
    }
}
