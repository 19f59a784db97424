//! Times in reports: milliseconds, and RFC 3339.

use std::time::{Duration, SystemTime};

use serde::Serializer;

pub(crate) fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Serialises a time in RFC 3339, to the millisecond.
pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
