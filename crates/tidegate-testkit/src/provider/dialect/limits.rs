//! The rate limit headers of the dialects.
//!
//! A header that names a period is sent only for a limit of that period. A limit over four seconds is not a
//! limit over a minute, and a client that learns from headers would learn a wrong quota.

use std::time::Duration;

use super::LimitState;

type Headers = Vec<(&'static str, String)>;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reset times as Go prints durations, and the retry delay in milliseconds.
pub(super) fn openai(state: &LimitState) -> Headers {
    let mut headers = requests(state, go_duration(state.reset));
    headers.extend(retry_after(state));
    headers.extend(milliseconds("retry-after-ms", state));
    headers
}

/// Reset times in whole seconds.
pub(super) fn azure(state: &LimitState) -> Headers {
    let mut headers = requests(state, seconds(state.reset).to_string());
    headers.extend(retry_after(state));
    headers.extend(milliseconds("retry-after-ms", state));
    headers.extend(milliseconds("x-ms-retry-after-ms", state));
    headers
}

/// OpenAI's headers, which here describe requests per day.
pub(super) fn groq(state: &LimitState) -> Headers {
    let is_daily = state.per == DAY;
    let mut headers = if is_daily { requests(state, go_duration(state.reset)) } else { Vec::new() };
    headers.extend(retry_after(state));
    headers
}

/// Headers per minute, without a reset time.
pub(super) fn mistral(state: &LimitState) -> Headers {
    let mut headers = Vec::new();
    if state.per == MINUTE {
        headers.push(("x-ratelimit-limit-req-minute", state.limit.to_string()));
        headers.push(("x-ratelimit-remaining-req-minute", state.remaining.to_string()));
    }
    headers.extend(retry_after(state));
    headers
}

/// Only the retry delay, on a rejection.
pub(super) fn only_retry_after(state: &LimitState) -> Headers {
    retry_after(state).into_iter().collect()
}

/// No headers.
pub(super) const fn none(_: &LimitState) -> Headers {
    Vec::new()
}

/// The retry delay in whole seconds.
pub(super) fn retry_after(state: &LimitState) -> Option<(&'static str, String)> {
    state.refused_for.map(|wait| ("retry-after", seconds(wait).to_string()))
}

fn requests(state: &LimitState, reset: String) -> Headers {
    vec![
        ("x-ratelimit-limit-requests", state.limit.to_string()),
        ("x-ratelimit-remaining-requests", state.remaining.to_string()),
        ("x-ratelimit-reset-requests", reset),
    ]
}

fn milliseconds(name: &'static str, state: &LimitState) -> Option<(&'static str, String)> {
    state.refused_for.map(|wait| (name, wait.as_nanos().div_ceil(1_000_000).to_string()))
}

/// Rounds up to whole seconds.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Formats a duration as Go does, which is OpenAI's format of reset times: `12ms`, `1.5s`, `6m0s`.
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
    fn reset_times_are_formatted_as_go_durations() {
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
    fn a_header_that_names_a_period_needs_a_limit_of_that_period() {
        let state = |per| LimitState {
            limit: 5,
            remaining: 4,
            reset: Duration::from_millis(1500),
            per,
            refused_for: None,
        };
        assert_eq!(groq(&state(DAY))[2], ("x-ratelimit-reset-requests", "1.5s".into()));
        assert_eq!(mistral(&state(MINUTE))[1], ("x-ratelimit-remaining-req-minute", "4".into()));
        assert!(groq(&state(MINUTE)).is_empty() && mistral(&state(DAY)).is_empty());
        assert_eq!(azure(&state(MINUTE))[2], ("x-ratelimit-reset-requests", "2".into()));
    }
}
