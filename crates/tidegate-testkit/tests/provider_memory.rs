//! The scripted provider in memory, with a paused clock: every reply and every fault behaves as documented.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate_testkit::provider::{InMemory, ProviderBody};
use tidegate_testkit::{Fault, Provider, Reply};
use tokio::time::Instant;
use tower_service::Service;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path).body(body.to_string().into()).unwrap()
}

fn json_request() -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
}

fn stream_request() -> Value {
    json!({"model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true}})
}

async fn send(provider: &InMemory, path: &str, body: &Value) -> Response<ProviderBody> {
    provider.clone().call(post(path, body)).await.unwrap()
}

async fn json_of(response: Response<ProviderBody>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// The frames of a body as text, and the fault that ended it.
async fn frames(response: Response<ProviderBody>) -> (Vec<String>, Option<Fault>) {
    let (mut body, mut frames) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frames.push(String::from_utf8(frame.into_data().unwrap().into()).unwrap()),
            Err(fault) => return (frames, Some(fault)),
        }
    }
    (frames, None)
}

/// The data of an event, if it is JSON.
fn data(event: &str) -> Value {
    let (_, data) = event.trim_end().split_once("data: ").unwrap();
    serde_json::from_str(data).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn openai_responds_with_json() {
    let provider = Provider::openai().then(Reply::text("high and low tide")).service();
    let response = send(&provider, CHAT, &json_request()).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-request-id"], "req_000001");
    let length = response.body().size_hint().exact().unwrap();
    let answer = json_of(response).await;
    assert_eq!(answer.to_string().len() as u64, length);
    assert_eq!(
        (answer["object"].as_str(), answer["model"].as_str()),
        (Some("chat.completion"), Some("gpt-4o"))
    );
    assert_eq!(answer["choices"][0]["message"]["content"], "high and low tide");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

#[tokio::test(start_paused = true)]
async fn openai_streams_one_event_per_frame() {
    let provider = Provider::openai().then(Reply::text("high tide").finish_reason("length")).service();
    let response = send(&provider, CHAT, &stream_request()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (events, fault) = frames(response).await;
    assert_eq!((events.len(), fault), (6, None));
    let chunks: Vec<_> = events.iter().map(|event| data(event)).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String =
        chunks[1..3].iter().map(|it| it["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, "high tide");
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "length");
    assert_eq!((&chunks[4]["choices"], &chunks[4]["usage"]["completion_tokens"]), (&json!([]), &json!(2)));
    assert_eq!(events[5], "data: [DONE]\n\n");
}

#[tokio::test(start_paused = true)]
async fn openai_sends_usage_in_a_stream_only_on_request() {
    let provider = Provider::openai().otherwise(Reply::ok().tokens(1)).service();
    let (events, _) = frames(send(&provider, CHAT, &json!({"stream": true})).await).await;
    assert_eq!(events.len(), 4);
    assert!(!events.concat().contains("usage"));
}

#[tokio::test(start_paused = true)]
async fn anthropic_responds_with_json_and_with_a_stream() {
    let provider = Provider::anthropic().otherwise(Reply::text("high tide")).service();
    let response = send(&provider, MESSAGES, &json_request()).await;
    assert_eq!(response.headers()["request-id"], "req_000001");
    let message = json_of(response).await;
    assert_eq!(message["content"], json!([{"type": "text", "text": "high tide"}]));
    assert_eq!((&message["type"], &message["stop_reason"]), (&json!("message"), &json!("end_turn")));

    let (events, _) = frames(send(&provider, MESSAGES, &stream_request()).await).await;
    let names: Vec<_> = events.iter().map(|event| event.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "event: message_start",
            "event: content_block_start",
            "event: ping",
            "event: content_block_delta",
            "event: content_block_delta",
            "event: content_block_stop",
            "event: message_delta",
            "event: message_stop",
        ]
    );
    assert_eq!(data(&events[4])["delta"], json!({"type": "text_delta", "text": "tide"}));
    assert_eq!(data(&events[6])["usage"]["output_tokens"], 2);
    assert_eq!(data(&events[0])["message"]["content"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn fails_twice_and_then_succeeds() {
    let provider =
        Provider::openai().then(Reply::status(503)).then(Reply::status(503).retry_after(7)).service();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(send(&provider, CHAT, &json_request()).await.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 200, 200]);
    let log = provider.log();
    assert_eq!((log.calls(), log.responses_with_status(503), log.responses_with_status(200)), (4, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_shape_of_their_dialect() {
    let reply =
        || Reply::error(429, "insufficient_quota").message("no more").retry_after(20).header("x-a", "b");
    let openai = Provider::openai().then(reply()).service();
    let response = send(&openai, CHAT, &json_request()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"20".parse().unwrap())
    );
    assert_eq!(response.headers()["x-a"], "b");
    assert_eq!(
        json_of(response).await["error"],
        json!({"message": "no more", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"})
    );
    let anthropic = Provider::anthropic().then(Reply::status(529)).service();
    let error = json_of(send(&anthropic, MESSAGES, &json_request()).await).await;
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    assert_eq!(error["request_id"], "req_000001");
}

#[tokio::test(start_paused = true)]
async fn latency_comes_before_the_head_and_pace_between_tokens() {
    let reply = Reply::ok().tokens(3).latency(Duration::from_secs(2)).pace(Duration::from_millis(500));
    let provider = Provider::openai().otherwise(reply).service();
    let start = Instant::now();
    let response = send(&provider, CHAT, &stream_request()).await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    frames(response).await;
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    // A response in one piece takes as long, all of it before the head.
    send(&provider, CHAT, &json_request()).await;
    assert_eq!(start.elapsed(), Duration::from_millis(6500));
}

#[tokio::test(start_paused = true)]
async fn hangs_until_the_caller_disconnects() {
    let provider = Provider::openai().then(Reply::hang()).service();
    let request = stream_request();
    let send = send(&provider, CHAT, &request);
    assert!(tokio::time::timeout(Duration::from_secs(3600), send).await.is_err());
    assert_eq!((provider.log().in_flight(), provider.log().abandoned()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_an_error_of_the_call() {
    let mut provider = Provider::openai().then(Reply::reset()).service();
    let error = provider.call(post(CHAT, &json_request())).await.err().unwrap();
    assert_eq!(Fault::find(&*error), Some(&Fault::reset()));
    assert_eq!((provider.log().in_flight(), provider.log().abandoned()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_cut_or_ends_or_stalls_after_some_tokens() {
    let provider = Provider::openai()
        .then(Reply::ok().tokens(9).cut_after(3))
        .then(Reply::ok().tokens(9).end_after(3))
        .then(Reply::ok().tokens(9).stall_after(3))
        .service();
    for expected in [Some(Fault::cut()), None] {
        let (events, fault) = frames(send(&provider, CHAT, &stream_request()).await).await;
        assert_eq!((events.len(), fault), (4, expected));
        assert_eq!(data(&events[3])["choices"][0]["delta"]["content"], "t3 ");
    }
    let mut body = send(&provider, CHAT, &stream_request()).await.into_body();
    for _ in 0..4 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(3600), body.frame()).await.is_err());
    assert_eq!(provider.log().in_flight(), 1);
    drop(body);
    assert_eq!((provider.log().in_flight(), provider.log().abandoned()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn pings_are_sent_during_a_stall() {
    for (provider, path, ping) in [
        (Provider::openai(), CHAT, ": keep-alive\n\n"),
        (Provider::anthropic(), MESSAGES, "event: ping\ndata: {\"type\":\"ping\"}\n\n"),
    ] {
        let every = Duration::from_secs(15);
        let provider = provider.then(Reply::ok().stall_after(0).pings(every)).service();
        let preamble = if path == CHAT { 1 } else { 3 };
        let mut body = send(&provider, path, &stream_request()).await.into_body();
        for _ in 0..preamble {
            body.frame().await.unwrap().unwrap();
        }
        let start = Instant::now();
        for number in 1..=3 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ping);
            assert_eq!(start.elapsed(), number * every);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_in_a_response_that_is_not_streamed_come_after_half_of_it() {
    let provider = Provider::openai()
        .then(Reply::ok().cut_after(3))
        .then(Reply::ok().end_after(3))
        .then(Reply::error(500, "server_error").cut_after(0))
        .service();
    let response = send(&provider, CHAT, &json_request()).await;
    let promised = response.body().size_hint().exact().unwrap() as usize;
    let (sent, fault) = frames(response).await;
    assert_eq!((sent.concat().len(), fault), (promised / 2, Some(Fault::cut())));

    let response = send(&provider, CHAT, &json_request()).await;
    assert_eq!(response.body().size_hint().exact(), None);
    let (sent, fault) = frames(response).await;
    assert!(fault.is_none() && serde_json::from_str::<Value>(&sent.concat()).is_err());

    let (_, fault) = frames(send(&provider, CHAT, &json_request()).await).await;
    assert_eq!(fault, Some(Fault::cut()));
}

#[tokio::test(start_paused = true)]
async fn an_error_event_ends_the_stream_at_any_position() {
    for at in [0, 1, 3, 99] {
        let reply = || Reply::ok().tokens(5).error_event_at(at, "overloaded_error").message("too much");
        let provider = Provider::openai().then(reply()).service();
        let (events, fault) = frames(send(&provider, CHAT, &stream_request()).await).await;
        assert_eq!((events.len(), fault), (at.min(9) + 1, None));
        let error = data(events.last().unwrap());
        assert_eq!(
            (&error["error"]["code"], &error["error"]["message"]),
            (&json!("overloaded_error"), &json!("too much"))
        );
        assert_eq!(error["error"]["type"], "server_error");

        let provider = Provider::anthropic().then(reply()).service();
        let (events, _) = frames(send(&provider, MESSAGES, &stream_request()).await).await;
        assert_eq!(events.len(), at.min(11) + 1);
        let error = events.last().unwrap();
        assert!(error.starts_with("event: error\n"), "{error}");
        assert_eq!(data(error)["error"], json!({"type": "overloaded_error", "message": "too much"}));
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_event_is_inserted_into_the_stream() {
    let provider = Provider::openai().then(Reply::ok().tokens(2).malformed_event_at(2)).service();
    let (events, _) = frames(send(&provider, CHAT, &stream_request()).await).await;
    assert_eq!(events.len(), 7);
    assert_eq!(data(&events[2]), Value::Null);
    assert_eq!(events[6], "data: [DONE]\n\n");
}

#[tokio::test(start_paused = true)]
async fn raw_bytes_are_sent_unchanged() {
    let reply =
        Reply::raw("<html>").frame("502").header("content-type", "text/html").pace(Duration::from_secs(1));
    let provider = Provider::openai().then(reply).service();
    let start = Instant::now();
    let response = send(&provider, CHAT, &json_request()).await;
    assert_eq!(response.headers().get_all("content-type").iter().collect::<Vec<_>>(), ["text/html"]);
    assert_eq!(frames(response).await, (vec!["<html>".to_owned(), "502".to_owned()], None));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_a_401() {
    let openai = Provider::openai().api_key("right").service();
    let anthropic = Provider::anthropic().api_key("right").service();
    for (provider, path, header, value, status) in [
        (&openai, CHAT, "authorization", "Bearer right", 200),
        (&openai, CHAT, "authorization", "Bearer wrong", 401),
        (&openai, CHAT, "authorization", "right", 401),
        (&openai, CHAT, "x-nothing", "", 401),
        (&anthropic, MESSAGES, "x-api-key", "right", 200),
        (&anthropic, MESSAGES, "x-api-key", "wrong", 401),
        (&anthropic, MESSAGES, "x-nothing", "", 401),
    ] {
        let mut request = post(path, &json_request());
        request.headers_mut().insert(header, value.parse().unwrap());
        let response = provider.clone().call(request).await.unwrap();
        assert_eq!(response.status(), status, "{path} {header}: {value}");
        if status == 401 {
            let error = json_of(response).await["error"].clone();
            let expected = if path == CHAT { "invalid_api_key" } else { "authentication_error" };
            assert!(error["code"] == expected || error["type"] == expected, "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_unknown_paths_and_models_and_invalid_bodies() {
    let provider = Provider::openai().models(["gpt-4o", "gpt-4o-mini"]).then(Reply::status(500)).service();
    let nothing = json!({});
    assert_eq!(send(&provider, "/v1/completions", &nothing).await.status(), 404);
    assert_eq!(send(&provider, MESSAGES, &nothing).await.status(), 404);
    assert_eq!(send(&provider, CHAT, &json!({"model": "gpt-5"})).await.status(), 404);
    assert_eq!(send(&provider, CHAT, &json!("no object")).await.status(), 400);
    let models = Request::get("/v1/models").body(Full::<Bytes>::default()).unwrap();
    let models = json_of(provider.clone().call(models).await.unwrap()).await;
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][1]["id"]),
        (&json!("gpt-4o"), &json!("gpt-4o-mini"))
    );
    assert_eq!(provider.script().left(), 1, "the script is not consulted");
}

#[tokio::test(start_paused = true)]
async fn embeddings_have_one_vector_per_input() {
    let provider = Provider::openai().service();
    let answer =
        json_of(send(&provider, "/v1/embeddings", &json!({"model": "e", "input": ["a", "b"]})).await).await;
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_above_the_limit_is_a_413() {
    let provider = Provider::openai().service();
    let request = Request::post(CHAT).body(Full::<Bytes>::from(vec![b' '; 32 * 1024 * 1024 + 1])).unwrap();
    assert_eq!(provider.clone().call(request).await.unwrap().status(), 413);
    assert!(provider.log().last().unwrap().body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_rejects_by_time_and_reports_the_remaining_quota() {
    let provider = Provider::openai().rate_limit(2, Duration::from_secs(4)).service();
    let left = |response: &Response<ProviderBody>| {
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        (
            header("x-ratelimit-limit-requests"),
            header("x-ratelimit-remaining-requests"),
            header("x-ratelimit-reset-requests"),
        )
    };
    let text = |limit: &str, remaining: &str, reset: &str| (limit.into(), remaining.into(), reset.into());
    assert_eq!(left(&send(&provider, CHAT, &json_request()).await), text("2", "1", "2s"));
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(left(&send(&provider, CHAT, &json_request()).await), text("2", "0", "3.5s"));
    let refused = send(&provider, CHAT, &json_request()).await;
    assert_eq!((refused.status().as_u16(), left(&refused)), (429, text("2", "0", "3.5s")));
    assert_eq!(
        (&refused.headers()["retry-after"], &refused.headers()["retry-after-ms"]),
        (&"2".parse().unwrap(), &"1500".parse().unwrap())
    );
    assert_eq!(json_of(refused).await["error"]["code"], "rate_limit_exceeded");
    tokio::time::advance(Duration::from_millis(1500)).await;
    assert_eq!(send(&provider, CHAT, &json_request()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn anthropic_sends_its_own_rate_limit_headers() {
    let provider = Provider::anthropic().rate_limit(1, Duration::from_secs(60)).service();
    let response = send(&provider, MESSAGES, &json_request()).await;
    assert_eq!(response.headers()["anthropic-ratelimit-requests-remaining"], "0");
    let reset = response.headers()["anthropic-ratelimit-requests-reset"].to_str().unwrap();
    assert!(reset.starts_with("20") && reset.ends_with('Z'), "{reset}");
    let refused = send(&provider, MESSAGES, &json_request()).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"60".parse().unwrap()));
    assert_eq!(json_of(refused).await["error"]["type"], "rate_limit_error");
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_concurrency_limit_is_overload() {
    for (provider, path, status) in [(Provider::openai(), CHAT, 503), (Provider::anthropic(), MESSAGES, 529)]
    {
        let provider = provider.concurrency_limit(1).service();
        let first = send(&provider, path, &stream_request()).await;
        assert_eq!(send(&provider, path, &stream_request()).await.status(), status);
        frames(first).await;
        assert_eq!(send(&provider, path, &stream_request()).await.status(), 200);
        assert_eq!(provider.log().max_in_flight(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn fails_at_random_the_same_way_for_the_same_seed() {
    let play = || async {
        let provider = Provider::openai().failing(0.5, 42, Reply::status(502)).service();
        for _ in 0..200 {
            drop(send(&provider, CHAT, &json_request()).await);
        }
        provider.log().responses_with_status(502)
    };
    let failed = play().await;
    assert!((70..130).contains(&failed), "{failed}");
    assert_eq!(play().await, failed);
}

#[tokio::test(start_paused = true)]
async fn the_script_can_change_while_it_plays() {
    let provider = Provider::openai().otherwise(Reply::status(500)).service();
    assert_eq!(send(&provider, CHAT, &json_request()).await.status(), 500);
    provider.script().otherwise(Reply::ok());
    assert_eq!(send(&provider, CHAT, &json_request()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_log_does_not_show_the_secrets_of_requests() {
    let provider = Provider::openai().service();
    let mut request = post(CHAT, &stream_request());
    request.headers_mut().insert("authorization", "Bearer key".parse().unwrap());
    drop(provider.clone().call(request).await.unwrap());
    let logged = provider.log().last().unwrap();
    assert_eq!(
        (logged.path.as_str(), logged.model.as_deref(), logged.is_stream),
        (CHAT, Some("gpt-4o"), true)
    );
    assert_eq!(
        (&logged.headers["authorization"], &logged.body[..]),
        (&"Bearer key".parse().unwrap(), stream_request().to_string().as_bytes())
    );
    assert!(!format!("{logged:?} {:?} {provider:?}", provider.log()).contains("key"));
}

/// Over a socket the caller may have the last byte before the provider polls the end of the body.
#[tokio::test(start_paused = true)]
async fn a_request_is_in_flight_until_its_last_frame_is_sent() {
    let provider = Provider::openai().otherwise(Reply::ok().tokens(1)).service();
    let mut body = pin!(send(&provider, CHAT, &json!({"stream": true})).await.into_body());
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(provider.log().in_flight(), 1);
    }
    body.frame().await.unwrap().unwrap();
    assert_eq!((provider.log().in_flight(), provider.log().abandoned()), (0, 0));
    let end = std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
    assert!(matches!(end, Poll::Ready(None)));
}
