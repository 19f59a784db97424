//! No reply makes the classifier panic, or anybody wait for longer than a day.
//!
//! An input: the provider, the status, the time, lines of headers, an empty line, and the body.

#![no_main]

use http::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use tidegate_core::{Classifier, Outcome};
use tidegate_fuzz::{check, headers, moment, provider};
use tidegate_providers::ProviderClassifier;

fuzz_target!(|input: &[u8]| {
    let Some((&[number, low, high, ref now @ ..], rest)) = input.split_first_chunk::<7>() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_le_bytes([low, high])) else { return };
    let (headers, body) = headers(rest);
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (status, headers);

    let classifier = ProviderClassifier::new(provider(number));
    match classifier.classify(&head, body, moment(*now)) {
        Outcome::Success => assert!(status.as_u16() < 400, "{status} is no success"),
        Outcome::Failure(failure) => check(&failure),
        Outcome::Neutral => panic!("an answer says something about the provider"),
    }
    if let Some(failure) = classifier.failure_in(body) {
        check(&failure);
    }
});
