//! The ways to tell how much of a limit is left.
//!
//! A header that names a span of time is told only of a limit over that span: a limit over four seconds is no
//! limit over a minute, and whoever learns from headers would learn a falsehood.

use std::time::Duration;

use super::Standing;

type Headers = Vec<(&'static str, String)>;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Durations as Go prints them, and the wait to the millisecond.
pub(super) fn openai(standing: &Standing) -> Headers {
    let mut headers = requests(standing, go_duration(standing.reset));
    headers.extend(retry_after(standing));
    headers.extend(milliseconds("retry-after-ms", standing));
    headers
}

/// Whole seconds.
pub(super) fn azure(standing: &Standing) -> Headers {
    let mut headers = requests(standing, seconds(standing.reset).to_string());
    headers.extend(retry_after(standing));
    headers.extend(milliseconds("retry-after-ms", standing));
    headers.extend(milliseconds("x-ms-retry-after-ms", standing));
    headers
}

/// In the headers of OpenAI, which here mean requests of a day.
pub(super) fn groq(standing: &Standing) -> Headers {
    let is_daily = standing.per == DAY;
    let mut headers = if is_daily { requests(standing, go_duration(standing.reset)) } else { Vec::new() };
    headers.extend(retry_after(standing));
    headers
}

/// By the minute, and no word of when it begins anew.
pub(super) fn mistral(standing: &Standing) -> Headers {
    let mut headers = Vec::new();
    if standing.per == MINUTE {
        headers.push(("x-ratelimit-limit-req-minute", standing.limit.to_string()));
        headers.push(("x-ratelimit-remaining-req-minute", standing.remaining.to_string()));
    }
    headers.extend(retry_after(standing));
    headers
}

/// Nothing but the wait, once it is too much.
pub(super) fn only_the_wait(standing: &Standing) -> Headers {
    retry_after(standing).into_iter().collect()
}

/// No header at all.
pub(super) const fn none(_: &Standing) -> Headers {
    Vec::new()
}

/// The wait in whole seconds.
pub(super) fn retry_after(standing: &Standing) -> Option<(&'static str, String)> {
    standing.refused_for.map(|wait| ("retry-after", seconds(wait).to_string()))
}

fn requests(standing: &Standing, reset: String) -> Headers {
    vec![
        ("x-ratelimit-limit-requests", standing.limit.to_string()),
        ("x-ratelimit-remaining-requests", standing.remaining.to_string()),
        ("x-ratelimit-reset-requests", reset),
    ]
}

fn milliseconds(name: &'static str, standing: &Standing) -> Option<(&'static str, String)> {
    standing.refused_for.map(|wait| (name, wait.as_nanos().div_ceil(1_000_000).to_string()))
}

/// In whole seconds, rounded up.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A duration as Go prints it, which is how OpenAI tells the time of a reset: `12ms`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match (rest / 1000, rest % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) if millis < 1000 => format!("{millis}ms"),
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_told_as_go_prints_durations() {
        for (millis, text) in [
            (0, "0ms"),
            (12, "12ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (7660, "7.66s"),
            (360_000, "6m0s"),
            (119_560, "1m59.56s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_span_that_the_header_names_is_the_span_of_the_limit() {
        let standing = |per| Standing {
            limit: 5,
            remaining: 4,
            reset: Duration::from_millis(1500),
            per,
            refused_for: None,
        };
        assert_eq!(groq(&standing(DAY))[2], ("x-ratelimit-reset-requests", "1.5s".into()));
        assert_eq!(mistral(&standing(MINUTE))[1], ("x-ratelimit-remaining-req-minute", "4".into()));
        assert!(groq(&standing(MINUTE)).is_empty() && mistral(&standing(DAY)).is_empty());
        assert_eq!(azure(&standing(MINUTE))[2], ("x-ratelimit-reset-requests", "2".into()));
    }
}
