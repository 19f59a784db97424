use futures_util::FutureExt;
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-proj-4fT9qLmZ07vWn2RkYhbE";

fn redactor(keys: &[&str]) -> Arc<Redactor> {
    Arc::new(Redactor::new(keys.iter().copied()))
}

/// What a caller receives of a response with these frames and this header: the header, and the frames.
fn returned(
    redactor: &Arc<Redactor>,
    status: u16,
    header: &str,
    frames: &[&str],
) -> (Option<HeaderValue>, Vec<Bytes>) {
    let frames: Vec<_> = frames
        .iter()
        .map(|frame| Ok::<_, std::io::Error>(Bytes::copy_from_slice(frame.as_bytes())))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(frames));
    let response =
        Response::builder().status(status).header("x-echo", HeaderValue::from_str(header).unwrap());
    let response = response.body(body).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (head, mut body) = redactor.redact_response(response, ApiDialect::OpenAi).await.into_parts();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.unwrap().into_data().unwrap());
        }
        (head.headers.get("x-echo").cloned(), frames)
    })
}

fn redacted(status: u16, text: &str) -> String {
    let (_, frames) = returned(&redactor(&[KEY]), status, "", &[text]);
    String::from_utf8(frames.concat()).unwrap()
}

#[test]
fn a_key_is_removed_from_every_error_and_its_parts_and_masked_forms_where_it_is_denied() {
    let around = |found: &str| {
        format!("{{\"message\":\"Incorrect API key provided: {found}, see https://p.example/keys.\"}}")
    };
    for found in [
        KEY,
        &KEY[..20],
        &KEY[4..20],
        &KEY[12..],
        "sk-proj*******************YhbE",
        "sk-...hbE",
        "sk-4fT9...",
        "***YhbE",
        "sk-pr\u{2022}\u{2022}\u{2022}bE",
        "sk-\u{2026}hbE",
        "sk-xxxxhbE",
    ] {
        for status in [401, 403] {
            assert_eq!(redacted(status, &around(found)), around("[redacted]"), "{found}");
        }
        for status in [400, 404, 429, 500] {
            let expected = if found == KEY { "[redacted]" } else { found };
            assert_eq!(redacted(status, &around(found)), around(expected), "{found}");
        }
    }
    for other in [
        "sk-",
        "sk-prod",
        "a *** b",
        "wait ... or x",
        "gpt-4o-mini-2024-07-18",
        "invalid_api_key",
        "20240718123456",
    ] {
        assert_eq!(redacted(401, &around(other)), around(other));
    }
    // The letter of an escape is no part of a word.
    assert_eq!(
        redacted(401, "\"key\\n***YhbE \u{201c}sk-***E\u{201d}\""),
        "\"key\\n[redacted] \u{201c}[redacted]\u{201d}\""
    );
}

/// Regression: the mask was missed, or its escape broken.
#[test]
fn escaped_masks_are_masks() {
    for masked in [
        "sk-\\u2022\\u2022\\u2022bE",
        "sk-\\u2026hbE",
        "\\u002a\\u002A**YhbE",
        "\\u0073k-***E",
        "sk-4***\\u0041",
    ] {
        assert_eq!(redacted(401, &format!("\"\\t{masked}\\\\u2026\"")), "\"\\t[redacted]\\\\u2026\"");
    }
}

#[test]
fn prose_and_identifiers_of_an_error_are_left() {
    for text in [
        r#"{"error":{"message":"Please wait... or retry\u2026","type":"sk-***ab"}}"#,
        r#"{"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy","param" : "input...0","code": "E12345678901234"}"#,
    ] {
        assert_eq!(redacted(401, text), text);
    }
    let key = format!(r#"{{"code":"{KEY}","message":"\"code\":\"sk-***bE\""}}"#);
    assert_eq!(redacted(401, &key), r#"{"code":"[redacted]","message":"\"code\":\"[redacted]\""}"#);
}

/// Regression: the masked key in xAI's 400 was returned.
#[test]
fn masked_keys_are_removed_where_the_code_is_about_the_key() {
    let sentence = |key| format!("provided: {key}. You can obtain an API key from https://console.x.ai.");
    for (status, code, is_removed) in [
        (400, "E1002", true),
        (400, "E1003", true),
        (400, "E1001", false),
        (429, "E2001", false),
        (401, "E1001", true),
    ] {
        let response = Response::builder().status(status).header(CODE, code);
        let response = response.body(Body::from(sentence("sk***YA"))).unwrap();
        let returned = redactor(&[KEY]).redact_response(response, ApiDialect::OpenAi).now_or_never();
        let body = returned.unwrap().into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
        let masked = sentence("sk***YA");
        let expected = if is_removed { masked.replace("sk***YA.", "[redacted]") } else { masked };
        assert_eq!(body, expected, "{status} {code}");
    }
}

#[test]
fn headers_with_a_key_are_removed() {
    let redactor = redactor(&[KEY]);
    let is_left = |status, value: &str| returned(&redactor, status, value, &[]).0.is_some();
    for status in [200, 400, 401, 500] {
        assert!(!is_left(status, &format!("key={KEY}")) && is_left(status, "req_011CSHoEeqs5C35K2UUqR7Fy"));
    }
    assert!(!is_left(401, "bad sk-***bE") && is_left(400, "bad sk-***bE"));
}

#[test]
fn short_keys_are_found_whole_and_the_shortest_are_not_looked_for() {
    let redactor = redactor(&["abcde", "xy"]);
    assert_eq!(redactor.redact(Bytes::from("an abcd, an abcdef, xy")), "an abcd, an [redacted]f, xy");
}

#[test]
fn debug_output_does_not_contain_the_key() {
    assert!(!format!("{:?}", redactor(&[KEY])).contains("sk-"));
}

proptest! {
    /// Regression: beginnings, parts and masked forms of a key were removed from the words of a caller.
    #[test]
    fn a_response_to_a_guess_is_the_same_whatever_the_keys_are(
        (key, other) in ("[a-zA-Z0-9-]{20,40}", "[a-zA-Z0-9-]{20,40}"),
        (from, right, wrong) in (0usize..20, 4usize..40, "[a-zA-Z0-9*.]{0,12}"),
        status in prop::sample::select(vec![200u16, 400, 401, 403, 404, 429, 500]),
        cuts in (0.0..1.0f64, 0.0..1.0f64),
    ) {
        let end = (from + right).min(key.len() - usize::from(from == 0));
        let (part, tail) = (&key[from..end], &key[key.len() - 4..]);
        let guess = format!("{part}{wrong} {part}***{tail} {wrong}{part}");
        let text = format!("{{\"error\":\"no model {guess}\"}}");
        let cut = |share: f64| (text.len() as f64 * share) as usize;
        let (first, second) = (cut(cuts.0.min(cuts.1)), cut(cuts.0.max(cuts.1)));
        let frames = [&text[..first], &text[first..second], &text[second..]];
        // The keys are of one length: the longest is no secret.
        let length = key.len().min(other.len());
        prop_assume!(!text.contains(&key[..length]) && !text.contains(&other[..length]));
        let [of_key, of_other] = [&key, &other]
            .map(|key| returned(&redactor(&[&key[..length]]), status, &guess, &frames));
        prop_assert_eq!(of_key, of_other);
    }

    #[test]
    fn no_key_is_left_and_nothing_else_is_removed(
        key in "[a-zA-Z0-9-]{4,40}", before in ".*", after in ".*",
        status in prop::sample::select(vec![400u16, 401, 500]),
    ) {
        let text = format!("{before}|{key}|{after}");
        let (_, frames) = returned(&redactor(&[&key]), status, "", &[&text]);
        let text = String::from_utf8(frames.concat()).unwrap();
        prop_assert!(!text.contains(&key) || "[redacted]".contains(&key), "{}", text);
        prop_assert!(text.contains("[redacted]"), "{}", text);
    }

    /// Regression: a key in an escaped spelling was returned.
    #[test]
    fn no_key_is_left_in_the_spelling_of_any_encoder(
        key in "[a-zA-Z0-9/+=&<>'\"\\\\-]{16,40}", status in prop::sample::select(vec![200u16, 400]),
    ) {
        let hex = |text: &str, escaped: &str, is_upper: bool| -> String {
            let spell = |c: char| match (escaped.contains(c), is_upper) {
                (true, true) => format!("\\u{:04X}", u32::from(c)),
                (true, false) => format!("\\u{:04x}", u32::from(c)),
                _ => c.to_string(),
            };
            text.chars().map(spell).collect()
        };
        let json = serde_json::to_string(&key).unwrap();
        let inner = &json[1..json.len() - 1];
        for spelt in [
            inner.to_owned(),
            inner.replace('/', "\\/"),
            hex(inner, "&<>", false),
            hex(inner, "&<>'=", false),
            hex(&key, "&<>'+\"", true).replace('\\', "\\\\").replace("\\\\u00", "\\u00"),
        ] {
            prop_assume!(!key.contains("\\u"));
            let text = format!("{{\"message\":\"{spelt}\"}}");
            let (_, frames) = returned(&redactor(&[&key]), status, "", &[&text]);
            let text = String::from_utf8(frames.concat()).unwrap();
            prop_assert!(!text.contains(&spelt), "{}", text);
            let value = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(value.is_ok_and(|it| it["message"] != *key), "{}", text);
        }
    }

    /// Regression: an escape was broken.
    #[test]
    fn no_bytes_panic_and_no_text_is_broken(
        text in "([*.xskproj4E\u{2022}\u{2026}\u{201c}\\\\\"\n-]|key1234567890){0,40}",
        bytes: Vec<u8>,
    ) {
        let _ = redacted(401, &text);
        let _ = words(&bytes, is_masked);
        let json = serde_json::json!({ "message": text }).to_string();
        let ascii = json.replace('\u{2022}', "\\u2022").replace('\u{2026}', "\\u2026");
        for json in [json, ascii] {
            let redacted = redacted(401, &json);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&redacted).is_ok(), "{}", redacted);
        }
    }
}
