//! Waits in the text of a message: "Please try again in 5.289s", "retry after 12 seconds".

use std::time::Duration;

use tidegate_core::Reset;

use crate::text::go_duration::{decimal, from_units, prefix};
use crate::text::word_match::after_phrase;

/// The phrases that precede a wait, the most direct ones first.
const LEAD_PHRASES: [&str; 11] = [
    "try again in",
    "try again after",
    "retry in",
    "retry after",
    "reset after",
    "reset in",
    "wait",
    "resets after",
    "resets in",
    "available after",
    "available in",
];

/// The phrases that precede a point in time.
const MOMENT_PHRASES: [&str; 11] = [
    "try again at",
    "try again after",
    "retry at",
    "retry after",
    "reset at",
    "resets at",
    "reset after",
    "resets after",
    "available at",
    "available after",
    "until",
];

/// The words that may stand between such a phrase and its value.
const FILLERS: [&str; 7] = ["for", "another", "about", "around", "approximately", "at", "least"];

const UNITS: [(&[&str], f64); 5] = [
    (&["ms", "millisecond", "milliseconds"], 1e-3),
    (&["s", "second", "seconds", "sec", "secs"], 1.0),
    (&["m", "minute", "minutes", "min", "mins"], 60.0),
    (&["h", "hour", "hours", "hr", "hrs"], 3600.0),
    (&["day", "days"], 86_400.0),
];

/// The first wait in `message` that is not zero, if there is one.
pub(crate) fn wait(message: &str) -> Option<Duration> {
    values(message, &LEAD_PHRASES).filter_map(duration).find(|wait| !wait.is_zero())
}

/// The points in time in `message` at which a wait ends: dates in RFC 3339, and Unix times.
pub(crate) fn moments(message: &str) -> impl Iterator<Item = Reset> {
    let word = |text: &str| {
        let end =
            text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')')).unwrap_or(text.len());
        Reset::read(text[..end].trim_matches(['"', '\'', '.'])).filter(|reset| matches!(reset, Reset::At(_)))
    };
    let dates = values(message, &MOMENT_PHRASES).filter_map(word);
    dates.chain(after_phrase(message, "regain access on").and_then(minute))
}

/// The text after each occurrence of each of `phrases`, from its value on.
fn values<'a>(message: &'a str, phrases: &'static [&str]) -> impl Iterator<Item = &'a str> {
    phrases.iter().flat_map(move |phrase| {
        std::iter::successors(after_phrase(message, phrase), |rest| after_phrase(rest, phrase)).map(value)
    })
}

/// The text without punctuation and words that stand before a value.
fn value(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | '~'));
        let Some((word, rest)) = text.split_once(' ') else { return text };
        if !FILLERS.iter().any(|filler| filler.eq_ignore_ascii_case(word)) {
            return text;
        }
        text = rest;
    }
}

/// Parses Anthropic's `2026-04-01 at 00:00 UTC` at the start of `text`.
fn minute(text: &str) -> Option<Reset> {
    let (date, rest) = text.trim_start().split_once(" at ")?;
    let (time, rest) = rest.split_once(' ')?;
    rest.starts_with("UTC").then(|| Reset::read(&format!("{date}T{time}:00Z")))?
}

/// Parses the duration at the start of `text`: all of its parts, such as `2 hours` and `3m20s`. A number
/// without a unit is rejected.
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = part(text)?;
    while let Some((more, after)) = part(rest) {
        (total, rest) = (total.saturating_add(more), after);
    }
    Some(total)
}

/// Parses a duration in Go's format, or one such as `12 seconds`, and returns the rest as well.
fn part(text: &str) -> Option<(Duration, &str)> {
    let text = text.trim_start_matches([' ', ',']);
    let text = text.strip_prefix("and ").unwrap_or(text);
    if let Some(part) = prefix(text).filter(|(_, rest)| !rest.starts_with(char::is_alphanumeric)) {
        return Some(part);
    }
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
    use proptest::prelude::*;
    use proptest::sample::select;

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
            ("resets in 3h 20m", 12_000_000),
            ("retry in 1 m 30 s", 90_000),
            ("try again in a moment; if it fails, try again in 7s", 7_000),
            ("too many tokens, please wait before trying again; retry in 1 day", 86_400_000),
            ("Your limit resets in 3h20m", 12_000_000),
            ("The quota resets after 2 minutes.", 120_000),
            ("Please wait for 30 seconds", 30_000),
            ("please wait for another 5s", 5_000),
            ("You must wait at least 30 seconds", 30_000),
            ("Retry-After: 30 seconds", 30_000),
            ("retry after: 3s", 3_000),
            ("retry_after=1.5s", 1_500),
            ("try again in about 20 seconds", 20_000),
            ("Try again in ~20s", 20_000),
            ("Expected available in 30 seconds", 30_000),
            ("The model will be available after approximately 2 minutes", 120_000),
            ("retry in 0s, or try again in 0 seconds, but wait 7s", 7_000),
            ("The limit resets in 1h. Please wait 5s.", 5_000),
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
            "Reset at: 2026-11-05T12:00:00Z",
            "The limit resets after 2026-11-05T12:00:00Z.",
            "available at about 2026-11-05T12:00:00Z",
            "retry after a while; retry after 2026-11-05T12:00:00Z",
            "blocked until \"2026-11-05T13:00:00+01:00\"",
            "retry after 1793880000000",
            "You will regain access on 2026-11-05 at 12:00 UTC.",
        ] {
            assert_eq!(moments(message).next(), noon, "{message}");
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
            assert_eq!(moments(message).next(), None, "{message}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_read_after_any_phrase_and_in_any_spelling(
            lead in select(LEAD_PHRASES.to_vec()),
            separator in select(vec![" ", ": ", ":", "=", " ~", " for ", " about ", " at least ", ": around "]),
            amount in 1..3600_u64,
            unit in select(vec!["s", " s", " sec", " seconds", "seconds", " Seconds"]),
            other in select(vec!["", " requests", "x", " regions", " tokens per second"]),
            around in "[a-z ]{0,12}",
        ) {
            for lead in [lead.to_owned(), lead.to_uppercase(), lead.replace(' ', "-"), lead.replace(' ', "_")] {
                let sentence = |unit: &str| format!("Busy, {lead}{separator}{amount}{unit}. {around}");
                let expected = Some(Duration::from_secs(amount));
                prop_assert_eq!(wait(&sentence(unit)), expected, "{}", sentence(unit));
                prop_assert_eq!(wait(&sentence(other)), None, "{}", sentence(other));
            }
        }

        #[test]
        fn no_text_panics(text in "(wait|retry after|until|resets in|for|about|[0-9]{1,20}|[ :=~.,smhé-]){0,30}", any: String) {
            for text in [&text, &any] {
                let _ = (wait(text), moments(text).count());
            }
        }
    }

    #[test]
    fn every_unit_has_its_length() {
        let cases = [
            ("ms millisecond milliseconds", 1),
            ("s second seconds sec secs", 1_000),
            ("m minute minutes min mins", 60_000),
            ("h hour hours hr hrs", 3_600_000),
            ("day days", 86_400_000),
        ];
        let names = || cases.iter().flat_map(|(names, ms)| names.split(' ').map(move |name| (name, *ms)));
        for (name, ms) in names() {
            assert_eq!(wait(&format!("retry in 1 {name}")), Some(Duration::from_millis(ms)), "{name}");
        }
        let listed: Vec<&str> = UNITS.iter().flat_map(|(names, _)| *names).copied().collect();
        assert_eq!(listed, names().map(|(name, _)| name).collect::<Vec<_>>());
    }

    #[test]
    fn every_word_before_a_value_is_passed_over() {
        for filler in FILLERS {
            assert_eq!(wait(&format!("retry in {filler} 3s")), Some(Duration::from_secs(3)), "{filler}");
        }
        assert_eq!(FILLERS.join(" "), "for another about around approximately at least");
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
            "retry after: 12",
            "Retry-After: soon, 30 seconds",
            "wait for -5s",
            "wait for the 30 seconds timeout",
            "wait for 30 requests",
            "the limit resets every 30 seconds",
            "available in 5 regions",
            "it is about 20 seconds late",
            "resets in",
            "wait for",
            "wait for for about:",
            "retry in NaN seconds",
            "retry in",
        ] {
            assert_eq!(wait(message), None, "{message}");
        }
    }
}
