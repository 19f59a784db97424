//! Waits in the text of a message: "Please try again in 5.289s", "retry after 12 seconds".

use std::time::Duration;

use tidegate_core::Reset;

use crate::text::go_duration::{decimal, from_units, prefix};
use crate::text::word_match::after_phrase;

/// The phrases that precede a wait.
const LEAD_PHRASES: [&str; 7] =
    ["try again in", "try again after", "retry in", "retry after", "reset after", "reset in", "wait"];

/// The phrases that precede a point in time.
const MOMENT_PHRASES: [&str; 8] = [
    "try again at",
    "try again after",
    "retry at",
    "retry after",
    "reset at",
    "resets at",
    "reset after",
    "until",
];

const UNITS: [(&[&str], f64); 5] = [
    (&["millisecond", "milliseconds"], 1e-3),
    (&["second", "seconds", "sec", "secs"], 1.0),
    (&["minute", "minutes", "min", "mins"], 60.0),
    (&["hour", "hours", "hr", "hrs"], 3600.0),
    (&["day", "days"], 86_400.0),
];

/// The first wait in `message` that is not zero, if there is one.
pub(crate) fn wait(message: &str) -> Option<Duration> {
    LEAD_PHRASES.into_iter().find_map(|lead| {
        let mut rest = after_phrase(message, lead)?;
        loop {
            if let Some(wait) = duration(rest).filter(|wait| !wait.is_zero()) {
                return Some(wait);
            }
            rest = after_phrase(rest, lead)?;
        }
    })
}

/// The point in time in `message` at which a wait ends, if there is one: a date in RFC 3339, or a Unix time.
pub(crate) fn moment(message: &str) -> Option<Reset> {
    MOMENT_PHRASES
        .into_iter()
        .find_map(|lead| {
            let rest = after_phrase(message, lead)?.trim_start();
            let end =
                rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')')).unwrap_or(rest.len());
            let word = rest[..end].trim_matches(['"', '\'', '.']);
            Reset::read(word).filter(|reset| matches!(reset, Reset::At(_)))
        })
        .or_else(|| minute(after_phrase(message, "regain access on")?))
}

/// Parses Anthropic's `2026-04-01 at 00:00 UTC` at the start of `text`.
fn minute(text: &str) -> Option<Reset> {
    let (date, rest) = text.trim_start().split_once(" at ")?;
    let (time, rest) = rest.split_once(' ')?;
    rest.starts_with("UTC").then(|| Reset::read(&format!("{date}T{time}:00Z")))?
}

/// Parses the duration at the start of `text`, in Go's format or spelled out. A number without a unit is
/// rejected.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim_start();
    if let Some((wait, rest)) = prefix(text)
        && !rest.starts_with(char::is_alphanumeric)
    {
        return Some(wait);
    }
    let (mut total, mut rest) = spelled_out(text)?;
    while let Some((more, after)) = spelled_out(rest) {
        (total, rest) = (total.saturating_add(more), after);
    }
    Some(total)
}

/// Parses a duration such as `12 seconds`, and returns the rest as well.
fn spelled_out(text: &str) -> Option<(Duration, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let text = text.strip_prefix("and ").unwrap_or(text);
    let (amount, rest) = decimal(text)?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let is_name = |known: &&str| known.eq_ignore_ascii_case(name);
    let (_, unit) = UNITS.into_iter().find(|(names, _)| names.iter().any(is_name))?;
    Some((from_units(amount, unit), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_wait_from_a_sentence() {
        for (message, ms) in [
            ("Limit reached. Please try again in 5.289s. Need more?", 5_289),
            ("Please retry after 12 seconds.", 12_000),
            ("try again in 6m0s", 360_000),
            ("Please retry in 10h17m5.7s.", 37_025_700),
            ("Please try again in 20ms. See the docs.", 20),
            ("Please retry in 53.0s", 53_000),
            ("please wait 30 seconds before trying again", 30_000),
            ("Your quota will reset after 18h31m10s.", 66_670_000),
            ("RETRY AFTER 1 Minute and 5 seconds", 65_000),
            ("retry in 2 hours, 3 minutes", 7_380_000),
            ("retry in 5seconds", 5_000),
            ("try again in a moment; if it fails, try again in 7s", 7_000),
            ("too many tokens, please wait before trying again; retry in 1 day", 86_400_000),
        ] {
            assert_eq!(wait(message).map(|wait| wait.as_millis()), Some(ms), "{message}");
        }
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn one_m_is_a_minute_in_a_sentence_too() {
        assert_eq!(wait("try again in 1m."), Some(Duration::from_secs(60)));
        assert_eq!(wait("try again in 1min"), Some(Duration::from_secs(60)));
        assert_eq!(wait("try again in 1m30s"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn reads_the_point_in_time_from_a_sentence() {
        let noon = Reset::read("2026-11-05T12:00:00Z");
        for message in [
            "Limit reached. Try again at 2026-11-05T12:00:00Z.",
            "Your quota resets at 1793880000, sorry",
            "blocked until \"2026-11-05T13:00:00+01:00\"",
            "retry after 1793880000000",
            "You will regain access on 2026-11-05 at 12:00 UTC.",
        ] {
            assert_eq!(moment(message), noon, "{message}");
        }
        for message in [
            "try again at 12",
            "until tomorrow",
            "retry after 2 hours",
            "until",
            "wait until noon",
            "regain access on Monday at noon",
            "regain access on 2026-11-05 at 12:00 CET",
        ] {
            assert_eq!(moment(message), None, "{message}");
        }
    }

    #[test]
    fn a_sentence_without_a_wait_gives_none() {
        for message in [
            "",
            "try again later",
            "retry after 12",
            "retry in -5s",
            "limit 6m0s",
            "retry after 5 requests",
            "retry in 3months",
            "retry in NaN seconds",
            "retry in",
        ] {
            assert_eq!(wait(message), None, "{message}");
        }
    }
}
