//! The cost of a conversion is in proportion to the length of its body, and bounded.

use std::time::Duration;

use super::*;
use crate::json::MAX_NODES;

/// Regression: 14 MB of small objects in a field that is not read took 5 GB of memory.
#[test]
fn an_answer_with_too_many_objects_is_not_converted() {
    let objects = |count: usize| vec![r#"{"":0}"#; count].join(",");
    let document = |count| {
        let choices = r#"[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]"#;
        format!(r#"{{"object":"chat.completion","choices":{choices},"x":[{}]}}"#, objects(count))
    };
    let events = |count| {
        let choices = r#"[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]"#;
        format!("data: {{\"choices\":{choices},\"x\":[{}]}}\n\ndata: [DONE]\n\n", objects(count))
    };
    for (count, is_converted) in [(10, true), (MAX_NODES, false)] {
        assert_eq!(document_to_events(document(count).as_bytes()).is_some(), is_converted, "{count}");
    }
    for (count, is_converted) in [(10, true), (MAX_EVENT_NODES, false)] {
        assert_eq!(events_to_document(events(count).as_bytes()).is_some(), is_converted, "{count}");
    }
}

/// Bodies with as many events, in which each event belongs to an item of its own, or all belong to the
/// first.
fn bodies(count: usize, has_own: bool) -> Vec<String> {
    let at = |event: usize| if has_own { event } else { 0 };
    let call = |event: usize| {
        let piece = if has_own || event == 0 { "{\"a\":\"".to_owned() } else { "x".repeat(98) + "}" };
        chunk(
            json!({"tool_calls": [{"index": at(event), "function": {"name": "f", "arguments": piece}}]}),
            None,
        )
    };
    let (text, block) = ("response.output_text.delta", json!({"type": "text"}));
    let dialects: [(&dyn Fn(usize) -> Value, Value); 9] = [
        (&call, json!({})),
        (&|event| json!({"choices": [{"index": at(event), "delta": {"content": "a"}}]}), json!({})),
        (
            &|event| {
                chunk(
                    json!({"content": if event % 2 == 0 { json!("a") } else { json!([{"text": "a"}]) }}),
                    None,
                )
            },
            json!({}),
        ),
        (
            &|event| json!({"candidates": [{"index": at(event), "content": {"parts": [{"text": "a"}]}}]}),
            json!({}),
        ),
        (
            &|event| json!({"type": "content_block_start", "index": at(event), "content_block": block}),
            json!({"type": "message_start", "message": {}}),
        ),
        (
            &|event| json!({"type": "content_block_delta", "index": at(event), "delta": {"text": "a"}}),
            json!({"type": "message_start", "message": {}}),
        ),
        (
            &|event| json!({"type": "content-delta", "index": at(event), "delta": {"message": {"content": {"text": "a"}}}}),
            json!({"type": "message-end"}),
        ),
        (
            &|event| json!({"type": text, "output_index": at(event), "delta": "a"}),
            json!({"type": "response.completed", "response": {"output": []}}),
        ),
        (
            &|event| json!({"type": text, "output_index": 0, "content_index": at(event), "delta": "a"}),
            json!({"type": "response.completed", "response": {"output": []}}),
        ),
    ];
    let body = |(event, last): (&dyn Fn(usize) -> Value, Value)| {
        let events = (0..count).map(event).chain([last]);
        events.map(|event| format!("data: {event}\n\n")).collect()
    };
    dialects.into_iter().map(body).collect()
}

/// Every event is compared with all items.
#[test]
fn an_answer_with_too_many_items_is_not_converted() {
    let [some, many] = [1024, 1026].map(|count| bodies(count, true));
    for (at, (some, many)) in some.iter().zip(many).enumerate() {
        assert!(events_to_document(some.as_bytes()).is_some(), "{some:.200}");
        // One list of parts has no limit, since nothing is compared with it.
        assert_eq!(events_to_document(many.as_bytes()).is_some(), at == 2, "{many:.200}");
    }
}

/// The least time of the processor to put the events together, in a few runs. Other work on the machine does
/// not count, and slows a run down only a little.
fn cpu_time(body: &str) -> Duration {
    #[cfg(unix)]
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(now).unwrap()
    };
    #[cfg(not(unix))]
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let once = |_| {
        let start = now();
        assert!(events_to_document(body.as_bytes()).is_some(), "{body:.200}");
        now() - start
    };
    (0..3).map(once).min().unwrap_or_default()
}

#[test]
fn the_time_to_put_events_together_grows_with_their_number() {
    let [small, large] = [400, 4000].map(|count| bodies(count, false));
    for (small, large) in small.iter().zip(large) {
        // Ten times the size takes about ten times as long, not a hundred times.
        assert!(cpu_time(&large) < 25 * cpu_time(small), "{small:.200}");
    }
}

/// A body with this many items and `count` events that continue the first one.
fn continued(items: usize, count: usize, event: impl Fn(usize) -> Value, last: Value) -> String {
    let at = |number: usize| if number < items { number } else { 0 };
    let events = (0..count).map(|number| event(at(number))).chain([last]);
    events.map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn the_time_to_put_an_event_to_its_item_is_the_same_for_any_number_of_items() {
    let call = |call: Value| chunk(json!({"tool_calls": [call]}), None);
    let completed = || json!({"type": "response.completed", "response": {"output": []}});
    let text = "response.output_text.delta";
    let dialects: [(&dyn Fn(usize) -> Value, Value); 6] = [
        (&|at| call(json!({"index": at, "function": {"arguments": "x"}})), json!({})),
        (&|at| call(json!({"id": at.to_string(), "function": {"name": "f", "arguments": "x"}})), json!({})),
        (&|at| call(json!({"id": "a", "index": at, "function": {"arguments": "x"}})), json!({})),
        (&|at| json!({"type": text, "output_index": at, "delta": "a"}), completed()),
        (&|at| json!({"type": text, "item_id": at.to_string(), "delta": "a"}), completed()),
        (&|at| json!({"type": text, "output_index": 0, "content_index": at, "delta": "a"}), completed()),
    ];
    for (event, last) in dialects {
        let [few, many] = [1, 1000].map(|items| continued(items, 4000, event, last.clone()));
        let (few_time, many_time) = (cpu_time(&few), cpu_time(&many));
        assert!(many_time < 8 * few_time, "{few_time:?} {many_time:?} {many:.200}");
    }
}

/// The document with that many items, and with another field.
fn with_items(count: usize, key: &str, value: &str) -> [Value; 2] {
    let choice = json!({"message": {"content": "a"}, "finish_reason": "stop"});
    let part = json!({"type": "output_text", "text": "a"});
    let message = json!({"type": "message", key: value, "content": vec![part; count]});
    [
        json!({"object": "chat.completion", key: value, "choices": vec![choice; count]}),
        json!({"object": "response", "status": "completed", "output": [message]}),
    ]
}

#[test]
fn the_events_of_a_document_are_as_long_as_it_whatever_its_fields() {
    for key in ["prompt_filter_results", "service_tier", "x"] {
        for document in with_items(500, key, &"x".repeat(100_000)) {
            let body = document.to_string();
            let events = document_to_events(body.as_bytes()).unwrap();
            assert!(events.len() < 10 * body.len(), "{key}: {} of {}", events.len(), body.len());
        }
    }
    // What identifies an answer is in all of its events.
    for (length, is_short) in [(100, true), (100_000, false)] {
        for document in with_items(500, "id", &"x".repeat(length)) {
            let events = all_rules().find_map(|rules| (rules.events)(&document));
            assert_eq!(events.is_some(), is_short);
        }
    }
    let text = "x".repeat(MAX_CONVERTED);
    let document = json!({"choices": [{"message": {"content": text}}]}).to_string();
    assert!(document_to_events(document.as_bytes()).is_none());
}
