use std::fmt;

/// Why a layer rejected the request. Further reasons may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionReason {
    /// The circuit is open because of failures or slow calls.
    CircuitOpen,
    /// The circuit is open because the account's quota is exhausted.
    QuotaExhausted,
    /// The circuit was forced open.
    CircuitForcedOpen,
    /// The circuit is half-open, and all its probes are in flight.
    ProbesInFlight,
    /// The circuit has just closed, and the call exceeds the share that is admitted.
    RampUp,
    /// A quota has no capacity left, and calls are not queued.
    RateLimitReached,
    /// A quota has no capacity within the maximum wait.
    MaxWaitExceeded,
    /// A quota has no capacity left, and its queue is full.
    RateQueueFull,
    /// A quota has no capacity before the deadline.
    RateLimitPastDeadline,
    /// All permits are in use, and calls are not queued.
    TooManyInFlight,
    /// All permits are in use, and the queue for them is full.
    QueueFull,
    /// No permit was released within the queue timeout, or soon enough for an answer before the deadline.
    QueueTimeout,
    /// The deadline has passed, or leaves no time for an attempt.
    DeadlineExceeded,
    /// The timeout header is not a number of seconds above 0.
    InvalidTimeoutSeconds,
    /// The timeout header is not a whole number of milliseconds above 0.
    InvalidTimeoutMillis,
    /// The timeout header has not the format of `grpc-timeout`.
    InvalidGrpcTimeout,
    /// The request cannot be expressed in the dialect of the target.
    Untranslatable,
    /// The request body is longer than a body that is translated may be.
    BodyTooLong,
    /// States are kept by model, and the request has none.
    NoModel,
    /// The service of a target has not addressed the request.
    NotAddressed,
}

impl RejectionReason {
    /// The reason as it appears in messages: one clause in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit open",
            Self::QuotaExhausted => "quota exhausted, circuit open",
            Self::CircuitForcedOpen => "circuit held open",
            Self::ProbesInFlight => "circuit half-open, probes under way",
            Self::RampUp => "circuit just closed, traffic held back",
            Self::RateLimitReached => "rate limit reached",
            Self::MaxWaitExceeded => "rate limit reached and max_wait exceeded",
            Self::RateQueueFull => "rate limit reached and too many waiting",
            Self::RateLimitPastDeadline => "rate limit reached past the deadline",
            Self::TooManyInFlight => "too many calls in flight",
            Self::QueueFull => "too many calls in flight, and the queue is full",
            Self::QueueTimeout => "no permit in time",
            Self::DeadlineExceeded => "deadline leaves no time for an attempt",
            Self::InvalidTimeoutSeconds => "timeout header is not a number of seconds above 0",
            Self::InvalidTimeoutMillis => "timeout header is not a whole number of milliseconds above 0",
            Self::InvalidGrpcTimeout => {
                "timeout header is not up to 8 digits above 0 and one of H, M, S, m, u, n"
            }
            Self::Untranslatable => "request cannot be translated",
            Self::BodyTooLong => "request body is too long to be translated",
            Self::NotAddressed => "service of the target set neither URL, key nor model",
            Self::NoModel => {
                "key_by is model, and the request has neither a key::Model extension nor a buffered body with a model"
            }
        }
    }
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs and error messages contain these texts, and alerts may search for them.
    #[test]
    fn the_texts_do_not_change() {
        for (reason, text) in [
            (RejectionReason::CircuitOpen, "circuit open"),
            (RejectionReason::QuotaExhausted, "quota exhausted, circuit open"),
            (RejectionReason::CircuitForcedOpen, "circuit held open"),
            (RejectionReason::ProbesInFlight, "circuit half-open, probes under way"),
            (RejectionReason::RampUp, "circuit just closed, traffic held back"),
            (RejectionReason::RateLimitReached, "rate limit reached"),
            (RejectionReason::MaxWaitExceeded, "rate limit reached and max_wait exceeded"),
            (RejectionReason::RateQueueFull, "rate limit reached and too many waiting"),
            (RejectionReason::RateLimitPastDeadline, "rate limit reached past the deadline"),
            (RejectionReason::TooManyInFlight, "too many calls in flight"),
            (RejectionReason::QueueFull, "too many calls in flight, and the queue is full"),
            (RejectionReason::QueueTimeout, "no permit in time"),
            (RejectionReason::DeadlineExceeded, "deadline leaves no time for an attempt"),
            (RejectionReason::Untranslatable, "request cannot be translated"),
            (RejectionReason::BodyTooLong, "request body is too long to be translated"),
            (RejectionReason::NotAddressed, "service of the target set neither URL, key nor model"),
        ] {
            assert_eq!((reason.as_str(), reason.to_string().as_str()), (text, text));
        }
    }
}
