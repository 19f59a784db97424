//! How long the caller waits, in its own words.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::{ErrorCode, Gate, Rejection};

/// A header in which a caller says how long it will wait for its answer.
///
/// There is no standard one, and those in use differ in their unit; so the unit is part of the header's definition
/// here, and never guessed from the value. Ours would be `x-request-timeout-ms`, as `retry-after-ms` says its unit
/// in its name. A value can only shorten what the program allows; one longer than [`MAX`](Self::MAX) is taken as
/// that, and one that is no time above zero is refused with E1001, since a caller who meant a second must not wait
/// for ten minutes.
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
    /// The longest time that is believed: one day.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// A header of seconds, fractions allowed, such as `x-stainless-timeout`, which the client libraries of several
    /// providers send.
    #[must_use]
    pub const fn seconds(name: HeaderName) -> Self {
        Self { name, format: TimeoutFormat::Seconds }
    }

    /// A header of milliseconds, such as `x-request-timeout-ms` or Envoy's `x-envoy-expected-rq-timeout-ms`.
    #[must_use]
    pub const fn millis(name: HeaderName) -> Self {
        Self { name, format: TimeoutFormat::Millis }
    }

    /// `grpc-timeout`: up to eight digits and a unit, one of `H`, `M`, `S`, `m`, `u` and `n` (gRPC over HTTP2).
    #[must_use]
    pub const fn grpc() -> Self {
        Self { name: HeaderName::from_static("grpc-timeout"), format: TimeoutFormat::Grpc }
    }

    /// The header of this name, by the custom of names: `grpc-timeout` as gRPC has it, milliseconds where the name
    /// ends in `-ms`, else seconds.
    #[must_use]
    pub fn named(name: HeaderName) -> Self {
        match name.as_str() {
            "grpc-timeout" => Self::grpc(),
            text if text.ends_with("-ms") => Self::millis(name),
            _ => Self::seconds(name),
        }
    }

    /// Takes the header out of `headers`, and says how long the caller waits; of several values the shortest holds.
    ///
    /// # Errors
    ///
    /// A value is no time above zero in the unit of the header.
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
            Self::Seconds => "timeout header is not a number of seconds above 0",
            Self::Millis => "timeout header is not a whole number of milliseconds above 0",
            Self::Grpc => "timeout header is not up to 8 digits above 0 and one of H, M, S, m, u, n",
        })
    }
}

/// Digits and at most one point: neither signs, exponents nor `inf`.
fn decimal(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Some(Duration::try_from_secs_f64(text.parse().ok()?).unwrap_or(Duration::MAX))
}

/// Digits alone; more of them than a number holds are a long time.
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
        let time = header(name).take(&mut headers).map_err(|rejection| rejection.reason())?;
        assert!(headers.is_empty(), "it is taken out");
        Ok(time.map(|time| time.as_millis()))
    }

    const MS: &str = "x-request-timeout-ms";
    const DAY: u128 = 24 * 60 * 60 * 1_000;

    /// P32: a value read in the wrong unit.
    #[test]
    fn p32_the_name_tells_the_unit() {
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

    #[test]
    fn p32_a_time_beyond_all_reason_is_a_day() {
        assert_eq!(take(MS, &[b"99999999999999999999999999999999"]), Ok(Some(DAY)));
        assert_eq!(take("request-timeout", &[&[b'9'; 400]]), Ok(Some(DAY)));
        assert_eq!(take("grpc-timeout", &[b"99999999H"]), Ok(Some(DAY)));
    }

    #[test]
    fn p32_what_is_no_time_is_refused_by_its_unit() {
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
        #[test]
        fn p32_no_value_panics_or_lasts_longer_than_a_day(
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
