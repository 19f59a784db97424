use http_body_util::{BodyExt, StreamBody};
use tidegate::ErrorCode;
use tidegate::provider::Failure;

use super::*;

type Chunk = Result<&'static str, FailureKind>;

async fn forwarded(chunks: &[Chunk], endpoint: Endpoint) -> String {
    let frames = chunks.iter().map(|chunk| match chunk {
        Ok(text) => Ok(Frame::data(Bytes::from(*text))),
        Err(kind) => Err(Failure { kind: *kind, ..Failure::new(ErrorCode::ServerError) }.into()),
    });
    let frames: Vec<Result<Frame<Bytes>, Error>> = frames.collect();
    let outcome = StreamOutcome::new();
    if let Some(Err(kind)) = chunks.last() {
        outcome.set(Failure { kind: *kind, ..Failure::new(ErrorCode::ServerError) }.into());
    }
    let frames = StreamBody::new(futures_util::stream::iter(frames));
    let body =
        ErrorEventBody::new(frames, endpoint, UsageMeter::new(0), Arc::default()).with_outcome(Some(outcome));
    String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn a_complete_stream_is_forwarded_byte_for_byte_however_it_is_split() {
    let cut = [Ok("data: a\n"), Ok("\nda"), Ok("ta: b\r\n\r\ndata: c"), Ok("\n\ndata: [DONE]\n\n")];
    assert_eq!(
        forwarded(&cut, Endpoint::ChatCompletions).await,
        "data: a\n\ndata: b\r\n\r\ndata: c\n\ndata: [DONE]\n\n"
    );
}

/// Regression: clients ignored the last event, and took a complete stream for a truncated one.
#[tokio::test]
async fn the_last_event_has_its_empty_line() {
    for last in
        ["data: [DONE]", "event: e\r\ndata: {\"a\":\r\ndata: 1}\r\n", "data:{\"a\":1}\n", "data: {}\r"]
    {
        let stream: &'static str = format!("data: a\n\n{last}").leak();
        let forwarded = forwarded(&[Ok(stream)], Endpoint::Responses).await;
        assert_eq!(forwarded, format!("{stream}\n\n"), "{last:?}");
    }
    // A truncated event stays one that clients ignore.
    for last in ["data: [DO", "data: {\"a\":", "da", "event: e\n", ": ping\n"] {
        let stream: &'static str = format!("data: a\n\n{last}").leak();
        assert_eq!(forwarded(&[Ok(stream)], Endpoint::Responses).await, stream, "{last:?}");
    }
}

#[tokio::test]
async fn a_broken_stream_ends_in_an_error_event_after_its_last_whole_event() {
    let chunks = [Ok("data: a\n\nda"), Ok("ta: {\"half"), Err(FailureKind::Truncated)];
    let openai = forwarded(&chunks, Endpoint::ChatCompletions).await;
    let (whole, error) = openai.split_once("data: {").unwrap();
    assert_eq!(whole.trim_end(), "data: a");
    assert!(error.contains("E3001") && error.ends_with("}\n\n"), "{error}");
    let anthropic = forwarded(&chunks, Endpoint::Messages).await;
    assert!(anthropic.starts_with("data: a\n\n\n\nevent: error\ndata: {"), "{anthropic}");
}

/// Wherever the stream breaks, and in whatever chunks it arrives, no part of an event is forwarded.
#[tokio::test]
async fn half_an_event_is_dropped_before_the_error_event() {
    for line_end in ["\n", "\r\n", "\r"] {
        let event = |text: &str| format!("event: e{line_end}data: {text}{line_end}{line_end}");
        let events = [event("{\"a\":1}"), format!(": ping{line_end}{line_end}"), event("{\"b\":2}")];
        let whole: &'static str = events.concat().leak();
        let ends = [0, events[0].len(), events[0].len() + events[1].len(), whole.len()];
        for cut in 0..=whole.len() {
            // The first half of the last CRLF ends an event as well.
            let end =
                *ends.iter().rev().find(|&&end| end <= cut || line_end == "\r\n" && end == cut + 1).unwrap();
            for split in 0..=cut {
                let chunks = [Ok(&whole[..split]), Ok(&whole[split..cut]), Err(FailureKind::Truncated)];
                let text = forwarded(&chunks, Endpoint::Messages).await;
                let (before, _) = text.split_once("\n\nevent: error\n").unwrap();
                assert_eq!(before, &whole[..end.min(cut)], "{line_end:?}, cut at {cut}, split at {split}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_above_the_limit_is_forwarded_in_parts() {
    let long: &'static str = "x".repeat(MAX_PARTIAL_EVENT).leak();
    let chunks = [Ok("data: "), Ok(long), Ok("\n"), Ok("\n")];
    assert_eq!(forwarded(&chunks, Endpoint::Messages).await, format!("data: {long}\n\n"));
}

#[test]
fn an_event_is_an_error_by_the_fields_that_the_clients_of_its_endpoint_read() {
    use Endpoint::{ChatCompletions, Messages, Responses};
    let all = [ChatCompletions, Messages, Responses];
    for (event, endpoints) in [
        (r#"{"error":{"message":"busy"}}"#, &[ChatCompletions][..]),
        (r#"{"error":"busy","type":7}"#, &[ChatCompletions]),
        (r#"{"type":"error","error":{"message":"busy"}}"#, &all),
        (r#"{"type":"err\u006fr","error": {}}"#, &all),
        (r#"{"type":"error","message":"busy"}"#, &[Responses]),
        (r#"{"type":"response.failed","response":{"error":{}}}"#, &[Responses]),
        (r#"{"type":"response.completed","response":{"error":null}}"#, &[]),
        (r#"{"error":null,"choices":[{"delta":{"content":"error"}}]}"#, &[]),
        (r#"{"error":["busy"]}"#, &[]),
        (r#"{"choices":[{"error":{}}]}"#, &[]),
        ("error", &[]),
    ] {
        let reporting = all.into_iter().filter(|endpoint| {
            reports_error(format!("event: error\ndata: {event}\n\n").as_bytes(), *endpoint)
        });
        assert_eq!(reporting.collect::<Vec<_>>(), endpoints, "{event}");
    }
}

/// Regression: the values of such an event were built, sixteen times as large as it is.
#[test]
fn an_event_of_numbers_is_read_without_memory() {
    let event = format!("data: {{\"error\":null,\"x\":[{}0]}}\n\n", "0,".repeat(100_000));
    reports_error(b"data: {\"error\":null}", Endpoint::ChatCompletions);
    let used = allocation_counter::measure(|| {
        assert!(!reports_error(event.as_bytes(), Endpoint::ChatCompletions));
    });
    assert!(used.bytes_max < 1024, "{used:?}");
}

/// In one frame or several, the end that pretends success is not forwarded.
#[tokio::test]
async fn an_error_that_clients_do_not_read_is_followed_by_one_that_they_do() {
    let token = "data: {\"choices\":[]}\n\n";
    for failed in [
        "error: {\"message\":\"busy\"}\n\n",
        "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
        "data: busy\n\n",
    ] {
        let whole: &'static str = format!("{token}{failed}data: [DONE]\n\n").leak();
        for split in 0..whole.len() {
            let chunks = [Ok(&whole[..split]), Ok(&whole[split..]), Err(FailureKind::InBand)];
            let text = forwarded(&chunks, Endpoint::ChatCompletions).await;
            assert!(!text.contains("[DONE]"), "{split}: {text}");
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            assert!(last.starts_with("data: {\"error\":{") && text.starts_with(token), "{split}: {text}");
        }
    }
    let whole = "event: x\ndata: {\"type\":\"x\"}\n\nerror: busy\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let text = forwarded(&[Ok(whole), Err(FailureKind::InBand)], Endpoint::Messages).await;
    assert!(text.contains("event: error\ndata: {") && !text.contains("message_stop"), "{text}");
    for end in [
        "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{}}\n\n",
        "event:response.done\ndata: {\"type\":\"response.done\"}\r\n\r\n",
    ] {
        let whole: &'static str = format!("error: busy\n\n{end}").leak();
        let text = forwarded(&[Ok(whole), Err(FailureKind::InBand)], Endpoint::Responses).await;
        assert!(text.contains("event: error\ndata: {") && !text.contains("\"response."), "{text}");
    }
}

#[tokio::test]
async fn a_complete_stream_keeps_its_end() {
    for end in ["data: [DONE]\n\n", "data: [DONE]"] {
        assert_eq!(
            forwarded(&[Ok("data: {}\n\n"), Ok(end)], Endpoint::ChatCompletions).await,
            "data: {}\n\ndata: [DONE]\n\n"
        );
    }
}

#[tokio::test]
async fn an_error_that_the_provider_reported_in_the_stream_is_not_repeated() {
    for last in ["data: {\"error\":{}}\n\n", "data: {\"error\":{}}\n", "data: {\"error\":{}}"] {
        let text =
            forwarded(&[Ok("data: a\n\n"), Ok(last), Err(FailureKind::InBand)], Endpoint::ChatCompletions)
                .await;
        assert_eq!(text.trim_end(), "data: a\n\ndata: {\"error\":{}}");
        assert!(text.ends_with("\n\n"), "an event without an empty line is ignored: {text:?}");
    }
}
