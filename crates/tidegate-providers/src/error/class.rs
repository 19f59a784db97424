use http::StatusCode;
use tidegate_core::{ErrorCode, FailureKind, LimitScope};

/// What an error code, a phrase or a status indicates about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailureClass {
    pub(crate) code: ErrorCode,
    pub(crate) kind: FailureKind,
    pub(crate) scope: LimitScope,
}

impl FailureClass {
    /// A rate limit of a short period.
    pub(crate) const RATE: Self = Self::of(ErrorCode::RateLimited);
    /// A limit per day, per month or the like.
    pub(crate) const DAILY: Self = Self { scope: LimitScope::Daily, ..Self::of(ErrorCode::QuotaExhausted) };
    /// Credit or a spend limit is exhausted; a payment is required.
    pub(crate) const SPEND: Self = Self { scope: LimitScope::Spend, ..Self::of(ErrorCode::QuotaExhausted) };
    /// This request costs more than is left, or than its user may spend. It is neutral, since others may be
    /// served.
    pub(crate) const SPEND_OF_REQUEST: Self = Self { kind: FailureKind::NotProcessed, ..Self::SPEND };
    /// A network in front of the provider refused the request, of which the client may be the cause. It is
    /// neutral, since others may be served.
    pub(crate) const REFUSED_BY_NETWORK: Self =
        Self { kind: FailureKind::NotProcessed, ..Self::of(ErrorCode::ServerError) };
    /// The provider has no capacity.
    pub(crate) const OVERLOAD: Self = Self::of(ErrorCode::Overloaded);
    /// Too long for this model. Only a body can show this: a bare 413 does not show what was too large.
    pub(crate) const CONTEXT: Self =
        Self { kind: FailureKind::ContextLength, ..Self::of(ErrorCode::RequestTooLarge) };
    /// Rejected by a content filter.
    pub(crate) const FILTER: Self =
        Self { kind: FailureKind::ContentFilter, ..Self::of(ErrorCode::InvalidRequest) };
    /// The output of the model cannot be parsed, or the messages cannot be rendered.
    pub(crate) const OUTPUT: Self =
        Self { kind: FailureKind::ModelOutput, ..Self::of(ErrorCode::ServerError) };
    /// A class with the code and no further details.
    pub(crate) const fn of(code: ErrorCode) -> Self {
        Self { code, kind: FailureKind::Response, scope: LimitScope::Momentary }
    }

    /// The class of a status. 402 concerns billing at every provider.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::PAYMENT_REQUIRED => Some(Self::SPEND),
            StatusCode::MISDIRECTED_REQUEST | StatusCode::TOO_EARLY => Some(Self::REFUSED_BY_NETWORK),
            _ => ErrorCode::from_status(status).map(Self::of),
        }
    }

    /// Whether it distinguishes only between an error of the client and one of the server.
    pub(crate) fn is_vague(self) -> bool {
        self == Self::of(ErrorCode::InvalidRequest) || self == Self::of(ErrorCode::ServerError)
    }
}
