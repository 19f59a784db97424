//! No response makes the classifier panic or return a wait of more than a day.
//!
//! Input: the provider, the status, the time, lines of headers, an empty line, and the body.

#![no_main]

use http::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use tidegate_core::{Classifier, Outcome};
use tidegate_fuzz::{check, headers, provider, time};
use tidegate_providers::ProviderClassifier;

fuzz_target!(|input: &[u8]| {
    let Some((&[number, low, high, ref now @ ..], rest)) = input.split_first_chunk::<7>() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_le_bytes([low, high])) else { return };
    let (headers, body) = headers(rest);
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (status, headers);

    let classifier = ProviderClassifier::new(provider(number));
    match classifier.classify(&head, body, time(*now)) {
        Outcome::Success => assert!(status.as_u16() < 400, "{status} is no success"),
        Outcome::Failure(failure) => check(&failure),
        Outcome::Neutral => panic!("a response is never neutral"),
    }
    if let Some(failure) = classifier.failure_in(body) {
        check(&failure);
    }
});
