//! Waits that providers report as points in time, by a clock that is not ours.

use crate::support::*;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;

/// A time of the provider, which is not that of this machine, and the same 7 s later.
const TIMES: [[&str; 4]; 2] = [
    ["Thu, 05 Nov 2026 12:00:00 GMT", "Thu, 05 Nov 2026 12:00:07 GMT", "2026-11-05T12:00:07Z", "1793880007"],
    ["Mon, 05 Nov 2040 12:00:00 GMT", "Mon, 05 Nov 2040 12:00:07 GMT", "2040-11-05T12:00:07Z", "2235729607"],
];

/// Attack M19 of the field: with a clock an hour off, the gate was closed for an hour, or not at all.
#[tokio::test]
async fn a_point_in_time_is_read_by_the_clock_of_the_provider() {
    for [date, http_date, rfc_3339, unix] in TIMES {
        let limits = format!(
            "anthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 0\r\n\
             anthropic-ratelimit-requests-reset: {rfc_3339}\r\n"
        );
        let answer = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
        for (status, headers, body) in [
            (429, format!("retry-after: {http_date}\r\n"), "{}".to_owned()),
            (429, format!("retry-after: {unix}\r\n"), "{}".to_owned()),
            (429, String::new(), format!(r#"{{"error":{{"message":"slow down","retry_after":{unix}}}}}"#)),
            (429, String::new(), format!(r#"{{"error":{{"message":"Please retry after {rfc_3339}."}}}}"#)),
            (429, limits.clone(), "{}".to_owned()),
            (200, limits, answer.to_owned()),
        ] {
            let head = format!(
                "HTTP/1.1 {status} X\r\ndate: {date}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
                body.len()
            );
            let provider = fixed_response(vec![head.clone() + &body], true).await;
            let file =
                "policies.default.rate_limiter = { requests_per_minute = 6000, on_limit = \"reject\" }\n"
                    .to_owned()
                    + &openai("p", &provider)
                    + &route("*", &["p/m"]);
            let gateway = gateway(&file).await;
            let first = chat(&gateway, REQUEST).send().await.unwrap();
            assert_eq!(first.status(), status, "{head}{body}");
            first.bytes().await.unwrap();
            // Rejected by the gateway, with a jitter of up to a tenth.
            let second = chat(&gateway, REQUEST).send().await.unwrap();
            assert_eq!(second.status(), 429, "{head}{body}");
            let wait = second.headers().get("retry-after").expect(&body).to_str().unwrap();
            assert!(matches!(wait, "5" | "6" | "7" | "8"), "{wait} s: {head}{body}");
        }
    }
}
