//! Durations in Go's format: `12ms`, `7.66s`, `6m0s`, `10h17m5.7s`.

use std::time::Duration;

use tidegate_core::{Reset, RetryHint};

/// Units, longest first, so that `ms` is not parsed as a minute and an `s`.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Parses the whole of `text` as a duration. A number needs a unit: `1m` is a minute, and `1` is rejected.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    match prefix(text.trim())? {
        (duration, "") => Some(duration),
        _ => None,
    }
}

/// Parses the whole of `text` as a duration, as a number of seconds, or as a point in time: a date or a Unix
/// time. A number between, of more seconds than a day has, is neither, and is rejected.
pub(crate) fn reset(text: &str) -> Option<Reset> {
    parse(text).map(Reset::In).or_else(|| match Reset::read(text)? {
        Reset::In(wait) if wait > RetryHint::MAX_WAIT => None,
        reset => Some(reset),
    })
}

/// Parses the duration at the start of `text`, and returns the rest as well.
pub(crate) fn prefix(text: &str) -> Option<(Duration, &str)> {
    let (mut total, mut rest) = part(text)?;
    while let Some((more, after)) = part(rest) {
        (total, rest) = (total.saturating_add(more), after);
    }
    Some((total, rest))
}

/// Parses the decimal number at the start of `text`, and returns the rest as well. Signs and exponents are
/// not accepted. The point in `12.` ends a sentence.
pub(crate) fn decimal(text: &str) -> Option<(f64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let fraction = text[whole..].strip_prefix('.').map_or(0, digits);
    let length = if fraction > 0 { whole + 1 + fraction } else { whole };
    let (number, rest) = text.split_at(length);
    if whole == 0 { None } else { Some((number.parse().ok()?, rest)) }
}

/// Upper bound of a parsed duration: longer than any wait that is accepted, and short enough for additions.
const MAX: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// `amount` times `unit` seconds, capped at two days, since no longer wait is accepted.
pub(crate) fn from_units(amount: f64, unit: f64) -> Duration {
    Duration::try_from_secs_f64(amount * unit).map_or(MAX, |wait| wait.min(MAX))
}

fn part(text: &str) -> Option<(Duration, &str)> {
    let (amount, rest) = decimal(text)?;
    let (unit, rest) = UNITS.iter().find_map(|&(name, unit)| Some((unit, rest.strip_prefix(name)?)))?;
    Some((from_units(amount, unit), rest))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn parses_go_durations() {
        for (text, ms) in [
            ("12ms", 12),
            ("1s", 1_000),
            ("7.66s", 7_660),
            ("6m0s", 360_000),
            ("2m59.56s", 179_560),
            ("10h17m5.7s", 37_025_700),
            ("1500us", 1),
            ("0s", 0),
        ] {
            let read = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read.as_millis(), ms, "{text}");
        }
        assert_eq!(parse("2.463586755s"), Some(Duration::new(2, 463_586_755)));
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn one_m_is_a_minute_and_a_bare_number_is_rejected() {
        assert_eq!(parse("1m"), Some(Duration::from_secs(60)));
        for bad in
            ["1", "", "m", "-1s", "+1s", "1 s", "1e3s", "1.s", ".5s", "NaNs", "infs", "1s1", "1d", "٣s"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn an_absurd_number_does_not_panic() {
        let absurd = format!("{}h", "9".repeat(400));
        assert_eq!(parse(&absurd), Some(MAX));
        assert!(parse(&"99999999999h".repeat(50)).is_some());
    }

    #[test]
    fn bare_seconds_of_at_most_a_day_are_a_duration() {
        let within = |millis| Some(Reset::In(Duration::from_millis(millis)));
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
        for (text, expected) in [
            ("12", within(12_000)),
            ("11.38", within(11_380)),
            ("1m", within(60_000)),
            ("86400", within(86_400_000)),
            ("86401", None),
            ("1793880000", Some(Reset::At(noon))),
            ("1793880000000", Some(Reset::At(noon))),
            ("2026-11-05T12:00:00Z", Some(Reset::At(noon))),
            ("12 ", None),
            ("-1", None),
            ("1e3", None),
            ("", None),
        ] {
            assert_eq!(reset(text), expected, "{text}");
        }
    }
}
