use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// One of the 13 standard error codes of the AI-Protocol, version 2.
///
/// The code decides how a failure is handled. If it [is retryable](Self::is_retryable), the same provider may
/// be called again. If it [is fallbackable](Self::is_fallbackable), another provider may be called.
///
/// ```
/// use tidegate_core::ErrorCode;
///
/// let code = ErrorCode::QuotaExhausted;
/// assert_eq!(code.code(), "E2002");
/// assert!(!code.is_retryable() && code.is_fallbackable());
/// assert_eq!("quota_exhausted".parse(), Ok(code));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// E1001: the request is malformed, or a parameter is wrong or missing.
    InvalidRequest,
    /// E1002: the credential is missing, wrong or expired.
    Authentication,
    /// E1003: the credential is valid but does not permit the request.
    PermissionDenied,
    /// E1004: the model or endpoint does not exist.
    NotFound,
    /// E1005: the request exceeds the context window of the model, or the size limit of the API.
    RequestTooLarge,
    /// E2001: too many requests or tokens in a short time.
    RateLimited,
    /// E2002: the account's quota or budget is used up.
    QuotaExhausted,
    /// E3001: the provider, or the connection to it, failed.
    ServerError,
    /// E3002: the provider is available but has no capacity.
    Overloaded,
    /// E3003: no response in time.
    Timeout,
    /// E4001: the request conflicts with the state of the resource.
    Conflict,
    /// E4002: the caller cancelled the request.
    Cancelled,
    /// E9999: none of the others.
    Unknown,
}

/// The category of an [`ErrorCode`], given by its first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// E1xxx: the request is at fault.
    Client,
    /// E2xxx: a limit was reached.
    Rate,
    /// E3xxx: the provider is at fault.
    Server,
    /// E4xxx: lifecycle or state.
    Operational,
    /// E9xxx: anything else.
    Unknown,
}

impl ErrorCode {
    /// All codes, in numerical order.
    pub const ALL: [Self; 13] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::PermissionDenied,
        Self::NotFound,
        Self::RequestTooLarge,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::ServerError,
        Self::Overloaded,
        Self::Timeout,
        Self::Conflict,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// The code as the protocol writes it: `E2001`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "E1001",
            Self::Authentication => "E1002",
            Self::PermissionDenied => "E1003",
            Self::NotFound => "E1004",
            Self::RequestTooLarge => "E1005",
            Self::RateLimited => "E2001",
            Self::QuotaExhausted => "E2002",
            Self::ServerError => "E3001",
            Self::Overloaded => "E3002",
            Self::Timeout => "E3003",
            Self::Conflict => "E4001",
            Self::Cancelled => "E4002",
            Self::Unknown => "E9999",
        }
    }

    /// The name as the protocol writes it: `rate_limited`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::ServerError => "server_error",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The category of the code.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::InvalidRequest
            | Self::Authentication
            | Self::PermissionDenied
            | Self::NotFound
            | Self::RequestTooLarge => Category::Client,
            Self::RateLimited | Self::QuotaExhausted => Category::Rate,
            Self::ServerError | Self::Overloaded | Self::Timeout => Category::Server,
            Self::Conflict | Self::Cancelled => Category::Operational,
            Self::Unknown => Category::Unknown,
        }
    }

    /// Whether the same request may succeed at the same provider later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::ServerError | Self::Overloaded | Self::Timeout | Self::Conflict
        )
    }

    /// Whether the same request may succeed at another provider now.
    #[must_use]
    pub const fn is_fallbackable(self) -> bool {
        matches!(
            self,
            Self::Authentication
                | Self::RateLimited
                | Self::QuotaExhausted
                | Self::ServerError
                | Self::Overloaded
                | Self::Timeout
        )
    }

    /// Whether the failure shows that the provider is unhealthy. Rate limits and errors of the caller do not.
    #[must_use]
    pub const fn counts_against_health(self) -> bool {
        matches!(self.category(), Category::Server)
    }

    /// The HTTP status for this code in a response that tidegate creates itself.
    #[must_use]
    pub const fn http_status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited | Self::QuotaExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerError | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Cancelled => CLIENT_CLOSED_REQUEST,
        }
    }

    /// The code for a status about which nothing else is known. `None` for 1xx, 2xx and 3xx.
    #[must_use]
    pub const fn from_status(status: StatusCode) -> Option<Self> {
        Some(match status.as_u16() {
            ..400 => return None,
            401 | 407 => Self::Authentication,
            402 => Self::QuotaExhausted,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            409 => Self::Conflict,
            413 => Self::RequestTooLarge,
            // The server does not answer over this connection, or not yet: no error of the request.
            421 | 425 => Self::ServerError,
            429 => Self::RateLimited,
            498 | 503 | 529 => Self::Overloaded,
            499 => Self::Cancelled,
            400..500 => Self::InvalidRequest,
            _ => Self::ServerError,
        })
    }
}

/// 499, which nginx introduced for "client closed request". No standard defines a status for it.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::REQUEST_TIMEOUT,
};

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// From the number of a code, or from its name.
impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = ErrorCode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a standard error code such as E2001 or rate_limited")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ErrorCode, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(NumberOrName)
    }
}

/// The text is neither the number nor the name of a standard error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a standard error code such as E2001 or rate_limited")]
pub struct UnknownErrorCode;

/// Parses a code by number (`E2001`) or by name (`rate_limited`), with the aliases of the protocol.
impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;

    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        let standard = Self::ALL.into_iter().find(|code| code.code() == text || code.name() == text);
        standard
            .or(match text {
                "capability_not_declared" | "unsupported_capability" => Some(Self::RequestTooLarge),
                "insufficient_quota" => Some(Self::QuotaExhausted),
                _ => None,
            })
            .ok_or(UnknownErrorCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the protocol: code, name, retryable, fallbackable, status.
    const TABLE: [(&str, &str, bool, bool, u16); 13] = [
        ("E1001", "invalid_request", false, false, 400),
        ("E1002", "authentication", false, true, 401),
        ("E1003", "permission_denied", false, false, 403),
        ("E1004", "not_found", false, false, 404),
        ("E1005", "request_too_large", false, false, 413),
        ("E2001", "rate_limited", true, true, 429),
        ("E2002", "quota_exhausted", false, true, 429),
        ("E3001", "server_error", true, true, 500),
        ("E3002", "overloaded", true, true, 503),
        ("E3003", "timeout", true, true, 504),
        ("E4001", "conflict", true, false, 409),
        ("E4002", "cancelled", false, false, 499),
        ("E9999", "unknown", false, false, 500),
    ];

    #[test]
    fn every_code_has_the_flags_of_the_protocol() {
        for (code, row) in ErrorCode::ALL.into_iter().zip(TABLE) {
            let flags = (code.is_retryable(), code.is_fallbackable(), code.http_status().as_u16());
            assert_eq!((code.code(), code.name(), flags.0, flags.1, flags.2), row);
            assert_eq!(code.code().parse(), Ok(code));
            assert_eq!(code.name().parse(), Ok(code));
        }
        assert_eq!("E1234".parse::<ErrorCode>(), Err(UnknownErrorCode));
    }

    #[test]
    fn every_status_has_a_code_or_is_not_an_error() {
        for status in 100..1000 {
            let code = ErrorCode::from_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(code.is_none(), status < 400, "{status}");
        }
        for (status, code) in [
            (400, "E1001"),
            (401, "E1002"),
            (402, "E2002"),
            (403, "E1003"),
            (404, "E1004"),
            (408, "E3003"),
            (409, "E4001"),
            (413, "E1005"),
            (407, "E1002"),
            (418, "E1001"),
            (421, "E3001"),
            (425, "E3001"),
            (422, "E1001"),
            (429, "E2001"),
            (498, "E3002"),
            (499, "E4002"),
            (500, "E3001"),
            (502, "E3001"),
            (503, "E3002"),
            (504, "E3003"),
            (529, "E3002"),
            (520, "E3001"),
        ] {
            let got = ErrorCode::from_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(got.map(ErrorCode::code), Some(code), "{status}");
        }
    }
}
