use std::time::SystemTime;

use http::HeaderMap;
use http::header::DATE;

/// The time at the server that sent `headers`: its `Date`, else `now`.
///
/// A point in time in a response, such as a date in `Retry-After`, was computed from the clock of the server.
/// Compared with a local clock that is an hour off, a wait of ten seconds is an hour, or none.
#[must_use]
pub fn server_time(headers: &HeaderMap, now: SystemTime) -> SystemTime {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    date.and_then(|value| httpdate::parse_http_date(value.trim()).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_of_the_response_precedes_the_local_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
        let date = now + Duration::from_secs(3600);
        let mut headers = HeaderMap::new();
        assert_eq!(server_time(&headers, now), now);
        headers.insert(DATE, httpdate::fmt_http_date(date).parse().unwrap());
        assert_eq!(server_time(&headers, now), date);
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(server_time(&headers, now), now);
    }
}
