//! The timeout of a caller, in a request header.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::{ErrorCode, Gate, Rejection, RejectionReason};

/// A request header with the time that the caller will wait for the response.
///
/// There is no standard header, and those in use differ in their unit. The unit is therefore part of the
/// definition here, and never guessed from the value. A header of our own would be `x-request-timeout-ms`,
/// with the unit in its name as in `retry-after-ms`. A value can only shorten the time that the program
/// allows, and is capped at [`MAX`](Self::MAX). A value that is not a time above zero is rejected with E1001,
/// since a caller that meant a second must not wait for ten minutes.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutHeader {
    name: HeaderName,
    format: TimeoutFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeoutFormat {
    Seconds,
    Millis,
    Grpc,
}

impl TimeoutHeader {
    /// The largest accepted time: one day.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// A header in seconds, with fractions, such as `x-stainless-timeout`, which the client libraries of
    /// several providers send.
    pub const fn seconds(name: HeaderName) -> Self {
        Self { name, format: TimeoutFormat::Seconds }
    }

    /// A header in milliseconds, such as `x-request-timeout-ms` or Envoy's `x-envoy-expected-rq-timeout-ms`.
    pub const fn millis(name: HeaderName) -> Self {
        Self { name, format: TimeoutFormat::Millis }
    }

    /// `grpc-timeout`: up to eight digits and a unit, one of `H`, `M`, `S`, `m`, `u` and `n` (gRPC over
    /// HTTP2).
    pub const fn grpc() -> Self {
        Self { name: HeaderName::from_static("grpc-timeout"), format: TimeoutFormat::Grpc }
    }

    /// The header of this name, with the unit by convention: `grpc-timeout` as in gRPC, milliseconds if the
    /// name ends in `-ms`, else seconds.
    pub fn named(name: HeaderName) -> Self {
        match name.as_str() {
            "grpc-timeout" => Self::grpc(),
            text if text.ends_with("-ms") => Self::millis(name),
            _ => Self::seconds(name),
        }
    }

    /// Removes the header from `headers` and returns its time; of several values, the shortest.
    ///
    /// # Errors
    ///
    /// A value is not a time above zero in the unit of the header.
    pub fn take(&self, headers: &mut HeaderMap) -> Result<Option<Duration>, Rejection> {
        let mut shortest = None;
        for value in headers.get_all(&self.name) {
            let time = value.to_str().ok().and_then(|text| self.format.read(text.trim()));
            let Some(time) = time else { return Err(self.format.rejection()) };
            shortest = Some(shortest.map_or(time, |shortest: Duration| shortest.min(time)));
        }
        if shortest.is_some() {
            headers.remove(&self.name);
        }
        Ok(shortest)
    }
}

impl TimeoutFormat {
    fn read(self, text: &str) -> Option<Duration> {
        let time = match self {
            Self::Seconds => decimal(text)?,
            Self::Millis => digits(text)?,
            Self::Grpc => grpc(text)?,
        };
        (!time.is_zero()).then(|| time.min(TimeoutHeader::MAX))
    }

    fn rejection(self) -> Rejection {
        Rejection::new(Gate::Deadline, ErrorCode::InvalidRequest).because(match self {
            Self::Seconds => RejectionReason::InvalidTimeoutSeconds,
            Self::Millis => RejectionReason::InvalidTimeoutMillis,
            Self::Grpc => RejectionReason::InvalidGrpcTimeout,
        })
    }
}

/// Digits and at most one point; no signs, no exponents, no `inf`.
fn decimal(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Some(Duration::try_from_secs_f64(text.parse().ok()?).unwrap_or(Duration::MAX))
}

/// Digits only; a number that overflows is the longest time.
fn digits(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_or(Duration::MAX, Duration::from_millis))
}

fn grpc(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if count.is_empty() || count.len() > 8 || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = count.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 60 * 60),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn header(name: &'static str) -> TimeoutHeader {
        TimeoutHeader::named(HeaderName::from_static(name))
    }

    fn take(name: &'static str, values: &[&[u8]]) -> Result<Option<u128>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let time = header(name).take(&mut headers).map_err(|rejection| rejection.reason().as_str())?;
        assert!(headers.is_empty(), "the header is removed");
        Ok(time.map(|time| time.as_millis()))
    }

    const MS: &str = "x-request-timeout-ms";
    const DAY: u128 = 24 * 60 * 60 * 1_000;

    /// Pitfall P32 (docs/pitfalls.md): a value read in the wrong unit.
    #[test]
    fn the_header_name_sets_the_unit() {
        assert_eq!(take(MS, &[b"1500"]), Ok(Some(1_500)));
        assert_eq!(take("x-envoy-expected-rq-timeout-ms", &[b" 20 "]), Ok(Some(20)));
        assert_eq!(take("x-stainless-timeout", &[b"600"]), Ok(Some(600_000)));
        assert_eq!(take("request-timeout", &[b"1.5"]), Ok(Some(1_500)));
        for (value, millis) in
            [(&b"2H"[..], 7_200_000), (b"3M", 180_000), (b"5S", 5_000), (b"70m", 70), (b"2000u", 2)]
        {
            assert_eq!(take("grpc-timeout", &[value]), Ok(Some(millis)));
        }
        assert_eq!(take(MS, &[]), Ok(None));
        assert_eq!(take(MS, &[b"900", b"300", b"600"]), Ok(Some(300)), "the shortest holds");
    }

    /// Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn a_time_is_capped_at_a_day() {
        assert_eq!(take(MS, &[b"99999999999999999999999999999999"]), Ok(Some(DAY)));
        assert_eq!(take("request-timeout", &[&[b'9'; 400]]), Ok(Some(DAY)));
        assert_eq!(take("grpc-timeout", &[b"99999999H"]), Ok(Some(DAY)));
    }

    /// Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn an_invalid_time_is_rejected_with_the_expected_unit() {
        for bad in [&b""[..], b"0", b"-1", b"+1", b"1.5", b"1e3", b"inf", b"NaN", b"30s", b"\xff", b"1, 2"] {
            let reason = "timeout header is not a whole number of milliseconds above 0";
            assert_eq!(take(MS, &[b"100", bad]), Err(reason), "{bad:?}");
        }
        for bad in [&b"0.0"[..], b"1.2.3", b".", b"-1", b"1e3", b"inf"] {
            let reason = "timeout header is not a number of seconds above 0";
            assert_eq!(take("request-timeout", &[bad]), Err(reason), "{bad:?}");
        }
        for bad in [&b"S"[..], b"0S", b"123456789S", b"1s", b"1", b"1.5S", b"-1S", b"1\xe4"] {
            let reason = "timeout header is not up to 8 digits above 0 and one of H, M, S, m, u, n";
            assert_eq!(take("grpc-timeout", &[bad]), Err(reason), "{bad:?}");
        }
    }

    proptest! {
        /// Pitfall P32 (docs/pitfalls.md).
        #[test]
        fn no_value_panics_or_exceeds_a_day(
            value in prop_oneof!["[ -~]{0,20}", "[0-9.]{1,40}", "[0-9]{1,9}[HMSmun]"],
        ) {
            for name in [MS, "request-timeout", "grpc-timeout"] {
                if let Ok(Some(time)) = take(name, &[value.as_bytes()]) {
                    prop_assert!(time <= DAY);
                }
            }
        }
    }
}
