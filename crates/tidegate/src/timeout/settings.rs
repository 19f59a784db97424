use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::classify::StreamClocks;
use crate::settings::{ConfigError, DurationText, OptionalDurationText, more_than_no_time};
use crate::stack::{CallLimits, TimeoutHeader};

/// The timeouts of a call, of its attempts and of its streams, and their defaults; the part `timeout` of a
/// configuration.
///
/// `attempt` is the limit of a [`TimeoutLayer`](crate::TimeoutLayer), the next four are the [`StreamClocks`]
/// of a [`ClassifyLayer`](crate::ClassifyLayer), and the stack applies `total` and `header` to the whole
/// call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The whole call, waits and attempts together; none by default.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
    /// The header with which a caller can shorten `total`; none by default. `grpc-timeout` is read as in
    /// gRPC, a name that ends in `-ms`, such as `"x-request-timeout-ms"`, in milliseconds, and any other in
    /// seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// One attempt, to the last byte of its response; 600 s by default.
    #[serde(with = "DurationText")]
    pub attempt: Duration,
    /// From the call to the first token of a stream; 120 s by default.
    #[serde(with = "DurationText")]
    pub first_token: Duration,
    /// Between two tokens of a stream, pings not counted; 120 s by default.
    #[serde(with = "DurationText")]
    pub token_gap: Duration,
    /// Between two events of a stream, pings counted; 120 s by default.
    #[serde(with = "DurationText")]
    pub frame_gap: Duration,
    /// Between two chunks of a stream; 120 s by default.
    #[serde(with = "DurationText")]
    pub byte_gap: Duration,
}

impl Settings {
    /// The default of `attempt`.
    pub(crate) const ATTEMPT: Duration = Duration::from_secs(600);

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("attempt", self.attempt),
            ("total", self.total.unwrap_or(Duration::MAX)),
            ("first_token", self.first_token),
            ("token_gap", self.token_gap),
            ("frame_gap", self.frame_gap),
            ("byte_gap", self.byte_gap),
        ];
        let checks = limits.into_iter().map(|(key, limit)| more_than_no_time(key, limit));
        ConfigError::all(checks.chain([self.header_name().map(drop)]))
    }

    fn header_name(&self) -> Result<Option<HeaderName>, ConfigError> {
        let Some(name) = &self.header else { return Ok(None) };
        let invalid = |_| ConfigError::expected("header", "the name of a header", format_args!("{name:?}"));
        name.parse().map(Some).map_err(invalid)
    }

    /// The timeouts of a stream.
    pub fn stream_clocks(&self) -> StreamClocks {
        StreamClocks::new()
            .first_token(self.first_token)
            .token_gap(self.token_gap)
            .frame_gap(self.frame_gap)
            .byte_gap(self.byte_gap)
    }

    /// The time limits of the whole call.
    ///
    /// # Errors
    ///
    /// A timeout is zero, or `header` is not the name of a header.
    pub fn call_limits(&self) -> Result<CallLimits, ConfigError> {
        self.check()?;
        let mut limits = CallLimits::new();
        if let Some(total) = self.total {
            limits = limits.total_timeout(total);
        }
        if let Some(name) = self.header_name()? {
            limits = limits.timeout_header(TimeoutHeader::named(name));
        }
        Ok(limits)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            total: None,
            header: None,
            attempt: Self::ATTEMPT,
            first_token: StreamClocks::DEFAULT,
            token_gap: StreamClocks::DEFAULT,
            frame_gap: StreamClocks::DEFAULT,
            byte_gap: StreamClocks::DEFAULT,
        }
    }
}
