use std::ffi::OsString;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::{DurationText, found};

use super::GatewayConfigError;

/// The settings of the connections to providers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with connect_timeout, idle_timeout, ping_interval or ping_timeout"
)]
pub(crate) struct ConnectionSettings {
    /// The time to connect, with the look-up of the name and the handshake of TLS. A reachable provider accepts a connection sooner, and the next target may be
    /// faster.
    #[serde(with = "DurationText")]
    pub(crate) connect_timeout: Duration,
    /// How long an idle connection is kept. Servers close idle connections themselves, common ones after 5 s
    /// or 60 s, and a request that meets such a moment has to be sent again.
    #[serde(with = "DurationText")]
    pub(crate) idle_timeout: Duration,
    /// A ping is sent on an HTTP/2 connection on which nothing has arrived for this time.
    #[serde(with = "DurationText")]
    pub(crate) ping_interval: Duration,
    /// An HTTP/2 connection whose ping is not answered within this time is closed, and its calls fail.
    #[serde(with = "DurationText")]
    pub(crate) ping_timeout: Duration,
}

/// The variables that name a proxy to other clients, in either case.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// A warning for each variable that names a proxy.
pub(super) fn unread_proxies(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = String> {
    let is_proxy = |name: &OsString| PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy));
    variables.filter(move |(name, value)| is_proxy(name) && !value.is_empty()).map(|(name, _)| {
        let name = name.to_string_lossy();
        format!("{name}: nothing reads it, providers are connected to without a proxy")
    })
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl ConnectionSettings {
    pub(super) fn check(&self) -> Result<(), GatewayConfigError> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
        ];
        GatewayConfigError::all(times.map(|(key, time)| check_time(format!("connections.{key}"), time)))
    }
}

/// Checks that `time` can be waited for: a clock cannot be as far ahead as the longest duration.
pub(super) fn check_time(key: impl Into<String>, time: Duration) -> Result<(), GatewayConfigError> {
    if !time.is_zero() && time <= LONGEST {
        return Ok(());
    }
    let found = found(humantime::format_duration(time));
    Err(GatewayConfigError::new(key, format!("expected more than 0s and at most 1day{found}")))
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(4),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
        }
    }
}
