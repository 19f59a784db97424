//! No header results in a wait of more than a day, and a hint names its source.
//!
//! Input: the time, and lines of headers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_core::{HintSource, RetryHint};
use tidegate_fuzz::{headers, time};

fuzz_target!(|input: &[u8]| {
    let Some((now, rest)) = input.split_first_chunk() else { return };
    let (headers, _) = headers(rest);
    let Some(hint) = RetryHint::from_headers(&headers, time(*now)) else { return };
    assert!(hint.wait.is_none_or(|wait| wait <= RetryHint::MAX_WAIT), "{hint:?}");
    match hint.source {
        HintSource::Header(name) => assert!(hint.wait.is_some() && headers.contains_key(name), "{hint:?}"),
        source => assert!(source == HintSource::None && hint.wait.is_none(), "{hint:?}"),
    }
    assert!(hint.wait.is_some() || hint.should_retry.is_some(), "an empty hint: {hint:?}");
});
