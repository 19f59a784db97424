use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn read(pairs: &[(&'static str, &str)]) -> ReportedLimits {
    let pair = |&(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    ReportedLimits::from_headers(&pairs.iter().map(pair).collect())
}

const SECS: fn(u64) -> Option<Reset> = |secs| Some(Reset::In(Duration::from_secs(secs)));

#[test]
fn the_common_headers_are_parsed() {
    let requests =
        LimitStatus { limit: Some(100), remaining: Some(7), reset: SECS(30), ..LimitStatus::default() };
    for prefix in ["ratelimit", "x-ratelimit"] {
        for suffix in ["", "-requests"] {
            let headers = [("limit", "100"), ("remaining", "7"), ("reset", "30")].map(|(field, value)| {
                (HeaderName::try_from(format!("{prefix}-{field}{suffix}")).unwrap(), value.parse().unwrap())
            });
            let limits = ReportedLimits::from_headers(&headers.into_iter().collect());
            assert_eq!(limits.get(LimitUnit::Requests), Some(&requests), "{prefix}{suffix}");
            assert_eq!(limits.get(LimitUnit::Tokens), None);
        }
    }
    let tokens = read(&[("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-reset-tokens", "1.5")]);
    let tokens = tokens.get(LimitUnit::Tokens).unwrap();
    assert_eq!((tokens.remaining, tokens.reset), (Some(9), Some(Reset::In(Duration::from_millis(1_500)))));
    assert!(read(&[("retry-after", "3"), ("ratelimits", "x")]).is_empty());
}

#[test]
fn the_headers_of_the_ietf_drafts_are_parsed() {
    let minute = Some(Duration::from_secs(60));
    let whole = LimitStatus {
        limit: Some(100),
        remaining: Some(50),
        reset: SECS(30),
        period: minute,
        ..LimitStatus::default()
    };
    let newest = [
        ("ratelimit", "\"default\";r=50;t=30"),
        ("ratelimit-policy", "\"default\";q=100;w=60, \"day\";q=5;w=86400"),
    ];
    assert_eq!(read(&newest).get(LimitUnit::Requests), Some(&whole));
    let older = [
        ("ratelimit-limit", "100, 100;w=60"),
        ("ratelimit-policy", "100;w=60"),
        ("ratelimit-remaining", "50"),
        ("ratelimit-reset", "30"),
    ];
    assert_eq!(read(&older).get(LimitUnit::Requests), Some(&whole));
}

/// Every form of the drafts, for one request left of ten per minute.
#[test]
fn every_form_of_the_ietf_drafts_is_parsed() {
    let minute = Duration::from_secs(60);
    let all = LimitStatus {
        limit: Some(10),
        remaining: Some(1),
        reset: SECS(6),
        period: Some(minute),
        ..LimitStatus::default()
    };
    let older = |limit, policy| {
        vec![("ratelimit-limit", limit), ("ratelimit-remaining", "1"), ("ratelimit-reset", "6"), policy]
    };
    let combined = |limits, policy| vec![("ratelimit", limits), ("ratelimit-policy", policy)];
    for headers in [
        // Drafts 00 to 06.
        older("10", ("ratelimit-policy", "10;w=60")),
        older("10, 10;w=60;comment=\"a, b\", 1000;w=3600", ("x", "")),
        older("10", ("ratelimit-policy", "1000;w=3600;burst=5, 10;w=60")),
        // Draft 07.
        combined("limit=10, remaining=1, reset=6", "10;w=60"),
        combined("limit=10,remaining=1,reset=6", "1000;w=3600,10;w=60;comment=\"10;w=1\""),
        combined(" reset=6 , limit=10 , remaining=1 ", "1000;w=3600;name=\"a,b\", 10 ; w=60"),
        combined("limit=10;x=\"y, limit=7\", remaining=1;x, reset=6", "10;w=60"),
        // Drafts 08 to 10.
        combined("\"default\";r=1;t=6", "\"default\";q=10;w=60"),
        combined("\"min\"; r=1; t=6, \"hour\";r=900;t=3000", "\"hour\";q=1000;w=3600, \"min\"; q=10; w=60"),
        combined("\"10,in;1=min\"; r=1; t=6; pk=:bQ==:", "\"10,in;1=min\"; q=10; w=60; pk=:bQ==:"),
        combined("default;r=1;t=6;pk=\"r=9\"", "default;q=10;w=60;qu=\"requests\""),
        combined(
            "\"size\";r=5000;t=9, \"min\";r=1;t=6",
            "\"size\";q=9000;qu=\"content-bytes\";w=9, \"min\";q=10;w=60",
        ),
    ] {
        let limits = read(&headers);
        assert_eq!(limits.get(LimitUnit::Requests), Some(&all), "{headers:?}");
        assert!(!limits.has_invalid, "{headers:?}");
    }
    // The only quota is that of the limit, whatever its name.
    let limits = read(&combined("\"default\";r=1;t=6", "10;w=60"));
    assert_eq!(limits.get(LimitUnit::Requests), Some(&all));
    // A list may be divided among several headers.
    let divided = [
        ("ratelimit", "\"min\";r=1;t=6"),
        ("ratelimit", "\"hour\";r=900;t=3000"),
        ("ratelimit-policy", "\"hour\";q=1000;w=3600"),
        ("ratelimit-policy", "\"min\";q=10;w=60"),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in divided {
        headers.append(name, HeaderValue::from_static(value));
    }
    assert_eq!(ReportedLimits::from_headers(&headers).get(LimitUnit::Requests), Some(&all));
}

/// Regression: only the first limit was reported, although another one rejects the next request.
#[test]
fn of_several_limits_the_one_that_is_exhausted_for_the_longest_is_reported() {
    let policies = concat!(
        r#""minute";q=10;w=60, "hour";q=100;w=3600, "day";q=900;w=86400, "#,
        r#""size";q=9;qu="content-bytes""#
    );
    for (list, remaining, reset, period) in [
        (r#""minute";r=5;t=10, "day";r=0;t=7200"#, 0, 7200, 86_400),
        (r#""minute";r=0;t=10, "day";r=0;t=7200"#, 0, 7200, 86_400),
        (r#""day";r=0;t=7200, "minute";r=0;t=10"#, 0, 7200, 86_400),
        (r#""minute";r=0;t=10, "hour";r=7;t=60, "day";r=1;t=7200"#, 0, 10, 60),
        (r#""minute";r=5;t=10, "hour";r=0, "day";r=0;t=1"#, 0, 1, 86_400),
        (r#""minute";r=5;t=10, "size";r=0;t=7200"#, 5, 10, 60),
    ] {
        let limits = read(&[("ratelimit", list), ("ratelimit-policy", policies)]);
        let requests = limits.get(LimitUnit::Requests).unwrap();
        let (reset, period) = (SECS(reset), Some(Duration::from_secs(period)));
        let got = (requests.remaining, requests.reset, requests.period);
        assert_eq!(got, (Some(remaining), reset, period), "{list}");
        assert!(!limits.has_invalid, "{list}");
    }
}

#[test]
fn an_invalid_part_of_a_list_is_ignored_and_reported() {
    for (limits, remaining) in [
        ("limit=10, remaining=-1, reset=6", None),
        ("limit=99999999999999999999, remaining=1, reset=6", Some(1)),
        ("limit=10, remaining=1, reset=soon", Some(1)),
        ("\"default\";r=1;t=-6", Some(1)),
        ("\"default\";r=99999999999999999999;t=6", None),
    ] {
        let limits = read(&[("ratelimit", limits)]);
        assert_eq!(limits.get(LimitUnit::Requests).and_then(|it| it.remaining), remaining);
        assert!(limits.has_invalid);
    }
}

#[test]
fn a_unix_time_is_not_parsed_as_a_duration() {
    let limits = read(&[("x-ratelimit-reset", "1793880090")]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_000);
    assert_eq!(limits.get(LimitUnit::Requests).unwrap().reset.unwrap().wait(now), Duration::from_secs(90));
}

#[test]
fn a_number_is_a_point_in_time_from_its_size_on_in_every_unit() {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_880_090);
    for unit in [Duration::from_secs(1), Duration::from_millis(1)] {
        for amount in [1_793_880_090.0, 1_793_880_090_000.0, 1_793_880_090_000_000.0, 1_793_880_090e9] {
            assert_eq!(Reset::of_number(amount, unit), Some(Reset::At(moment)), "{amount}");
        }
        for amount in [0.0, 0.5, 86_401.0, 999_999_999.0] {
            let wait = unit.mul_f64(amount);
            assert_eq!(Reset::of_number(amount, unit), Some(Reset::In(wait)), "{amount}");
        }
    }
    for date in ["Thu, 05 Nov 2026 12:01:30 GMT", "2026-11-05T12:01:30Z", "2026-11-05T14:01:30+02:00"] {
        assert_eq!(Reset::read(date), Some(Reset::At(moment)), "{date}");
    }
}

// Pitfall P32 (docs/pitfalls.md).
#[test]
fn invalid_values_are_ignored_and_reported() {
    for value in ["-1", "", "1m", "1e3", "NaN", "+3", "99999999999999999999999", "soon", "1.2.3"] {
        let limits =
            read(&[("x-ratelimit-remaining-requests", value), ("x-ratelimit-reset-requests", value)]);
        assert_eq!(limits.get(LimitUnit::Requests).and_then(|it| it.remaining), None, "{value}");
        assert!(limits.has_invalid, "{value}");
    }
    let is_implausible = |limit, remaining, reset| {
        LimitStatus { limit, remaining, reset, ..LimitStatus::default() }
            .is_implausible(SystemTime::UNIX_EPOCH)
    };
    assert!(
        is_implausible(Some(10), Some(11), None)
            && is_implausible(Some(0), None, None)
            && is_implausible(None, None, SECS(86_401))
    );
    assert!(!is_implausible(Some(10), Some(10), SECS(86_400)) && !is_implausible(None, Some(5), None));
}

// Pitfall P32 (docs/pitfalls.md).
#[test]
fn only_usual_periods_are_accepted() {
    let period = |limit, left, millis| {
        LimitStatus {
            limit: Some(limit),
            remaining: Some(left),
            reset: Some(Reset::In(Duration::from_millis(millis))),
            refills_evenly: true,
            period: None,
        }
        .period_of_refill()
        .map(|period| period.as_secs())
    };
    assert_eq!(period(500, 499, 120), Some(60));
    assert_eq!(period(500, 0, 60_000), Some(60));
    assert_eq!(period(10_000, 9_999, 8_640), Some(86_400));
    assert_eq!(period(14_400, 14_370, 179_560), Some(86_400));
    assert_eq!(period(500, 250, 500), Some(1));
    // "1m" that was parsed as 1, a limit of which nothing is used, a window that is refilled at once.
    assert_eq!(period(500, 0, 1_500), None);
    assert_eq!(period(500, 250, 30), None);
    assert_eq!(period(500, 500, 0), None);
    assert_eq!(period(60, 58, 59_000), None);
}

/// What may be in a list of the drafts.
fn list() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "\"",
        "\\",
        ",",
        ";",
        "=",
        " ",
        "\"a\"",
        "\"a,b;r=1\"",
        "limit=",
        "remaining=",
        "reset=",
        "r=",
        "t=",
        "q=",
        "w=",
        "qu=",
        "0",
        "7",
        "-1",
        "1.5",
        "18446744073709551616",
        "99999999999999999999999999",
        "requests",
    ]);
    prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_numbers_of_a_list_are_found_in_any_order_and_beside_other_lists(
        (limit, remaining, reset, period) in (any::<u64>(), any::<u64>(), 0..86_400_u64, any::<u64>()),
        name in "[a-z,;= ]{0,9}",
        is_named: bool,
        is_reversed: bool,
    ) {
        let (own, other) = (format!("\"{name}\""), format!("\"{name}x\""));
        let (limits, own, other) = if is_named { (
                vec![format!("{own};r={remaining};t={reset}")],
                format!("{own};q={limit};w={period}"),
                format!("{other};q=1;w=1"),
            ) } else { (
                vec![format!("limit={limit}"), format!("remaining={remaining}"), format!("reset={reset}")],
                format!("{limit};w={period};comment={own}"),
                format!("{};w=1;comment={other}", limit ^ 1),
            ) };
        let (mut limits, mut policies) = (limits, [own, other]);
        if is_reversed {
            limits.reverse();
            policies.reverse();
        }
        let limits = read(&[("ratelimit", &limits.join(", ")), ("ratelimit-policy", &policies.join(", "))]);
        let expected = LimitStatus {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: SECS(reset),
            period: Some(Duration::from_secs(period)),
            refills_evenly: false,
        };
        prop_assert_eq!(limits.get(LimitUnit::Requests), Some(&expected));
        prop_assert!(!limits.has_invalid);
    }

    // Pitfall P32 (docs/pitfalls.md).
    #[test]
    fn no_header_value_panics(value in prop_oneof!["[ -~]{0,40}", list()]) {
        for name in ["ratelimit", "ratelimit-policy", "ratelimit-limit", "x-ratelimit-reset", "x-ratelimit-remaining-tokens"] {
            for (_, status) in read(&[(name, &value)]).iter() {
                let _ = (status.is_implausible(SystemTime::UNIX_EPOCH), status.period_of_refill());
                let wait = status.reset.map(|reset| reset.wait(SystemTime::UNIX_EPOCH));
                prop_assert!(wait <= Some(RetryHint::MAX_WAIT));
            }
        }
    }
}
