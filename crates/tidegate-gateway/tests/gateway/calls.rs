//! The record of recent calls: its pages, the id of a call, and the event at its end.

use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server, closed_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"the-prompt"}]}"#;
const STREAM_REQUEST: &str =
    r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"the-prompt"}]}"#;

async fn scripted(reply: Reply) -> Server {
    Provider::openai().otherwise(reply).start().await.unwrap()
}

async fn get(gateway: &RunningGateway, path: &str) -> (u16, Value) {
    let response = client().get(url(gateway, path)).send().await.unwrap();
    (response.status().as_u16(), json(response).await)
}

/// The call with this id, once it has ended.
async fn ended(gateway: &RunningGateway, id: &str) -> Value {
    for _ in 0..1000 {
        let (status, call) = get(gateway, &format!("/calls/{id}")).await;
        assert_eq!(status, 200, "{call}");
        if !call["end"].is_null() {
            return call;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("call {id} has not ended");
}

fn id(response: &reqwest::Response) -> String {
    response.headers()["x-tidegate-call"].to_str().unwrap().to_owned()
}

/// The verdicts of the trail.
fn verdicts(call: &Value) -> Vec<&str> {
    call["trail"]["steps"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_call_is_kept_with_its_trail() {
    let server = Provider::openai()
        .then(Reply::status(503))
        .otherwise(Reply::text("the-answer").tokens(3))
        .start()
        .await
        .unwrap();
    let file = "policies.default.retry = { max_retries = 1, initial_delay = \"1ms\" }\n".to_owned()
        + &openai("p", &server.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let id = id(&response);
    let length = response.bytes().await.unwrap().len();

    // The end is recorded before the caller has the whole response.
    let (_, calls) = get(&gateway, "/calls").await;
    let (_, call) = get(&gateway, &format!("/calls/{id}")).await;
    assert_eq!(calls, json!([call]));
    assert_eq!(verdicts(&call), ["failed", "waiting", "succeeded"]);
    assert_eq!((&call["trail"]["target"], &call["trail"]["attempts"]), (&json!("p/m"), &json!(2)));
    assert!(call["trail"]["steps"][0]["at"].as_str().unwrap().starts_with("20"));
    let fields = ["id", "path", "route", "target", "caller", "status", "code", "end", "bytes"];
    let seen: Vec<_> = fields.iter().map(|field| &call[field]).collect();
    assert_eq!(
        json!(seen),
        json!([id, "/v1/chat/completions", "*", "p/m", null, 200, null, "finished", length])
    );
    assert_eq!(call["tokens"]["output"], 3);
    assert!(call["head_ms"].as_u64().unwrap() <= call["total_ms"].as_u64().unwrap());
    assert!(call["started"].as_str().unwrap().ends_with('Z'));
    for text in ["the-prompt", "the-answer"] {
        assert!(!calls.to_string().contains(text), "{calls}");
    }
}

/// A gateway whose second provider continues the stream that the first one breaks off.
async fn continuing(broken: Reply) -> (RunningGateway, [Server; 2]) {
    let servers = [scripted(broken).await, scripted(Reply::text(" three")).await];
    let file = "policies.default.fallback.continue_streams = true\n".to_owned()
        + &openai("p", &servers[0].base_url())
        + &openai("q", &servers[1].base_url())
        + &route("*", &["p/m", "q/m"]);
    (gateway(&file).await, servers)
}

/// Attack L13 of the field: the header is sent before a stream breaks and is continued.
#[tokio::test]
async fn attempts_after_the_head_are_those_of_the_record() {
    let (gateway, _servers) = continuing(Reply::text("one two three").cut_after(2)).await;
    let response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
    assert_eq!(
        (&response.headers()["x-tidegate-attempts"], &response.headers()["x-tidegate-target"]),
        (&"1".parse().unwrap(), &"p/m".parse().unwrap())
    );
    let id = id(&response);
    let text = response.text().await.unwrap();
    assert!(text.contains("three") && text.ends_with("[DONE]\n\n"), "{text}");
    let trail = &ended(&gateway, &id).await["trail"];
    assert_eq!((&trail["attempts"], &trail["target"]), (&json!(2), &json!("q/m")));
}

/// Regression: the outcome of the first stream removed the end of the one that continues it.
#[tokio::test]
async fn a_stream_that_is_continued_after_an_error_event_ends_like_any_other() {
    let (gateway, _servers) =
        continuing(Reply::text("one two three").error_event_at(3, "server_error")).await;
    let response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
    let id = id(&response);
    let text = response.text().await.unwrap();
    assert!(!text.contains("error") && text.contains("three") && text.ends_with("[DONE]\n\n"), "{text}");
    assert_eq!(ended(&gateway, &id).await["end"], "finished");
}

/// Regression: a prompt without a count was shown with 0 tokens.
#[tokio::test]
async fn tokens_of_the_prompt_that_no_provider_has_reported_are_null() {
    let server = scripted(Reply::text("a b c").cut_after(2)).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    let response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
    let id = id(&response);
    response.bytes().await.unwrap();
    let tokens = &ended(&gateway, &id).await["tokens"];
    assert_eq!((&tokens["input"], &tokens["output"]), (&json!(null), &json!(2)), "{tokens}");
}

/// What a provider reports to have read from its cache, or written to it, in a whole answer and in a stream.
#[tokio::test]
async fn cached_tokens_are_counted_in_every_dialect() {
    const CHAT: &str = r#"{"object":"chat.completion","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":90,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":64}}}"#;
    const CHUNKS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":90,\"completion_tokens\":1,\"prompt_cache_hit_tokens\":64}}\n\ndata: [DONE]\n\n";
    const MESSAGE: &str = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":6,"cache_creation_input_tokens":20,"cache_read_input_tokens":64,"output_tokens":1}}"#;
    const EVENTS: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"type\":\"message\",\"usage\":{\"input_tokens\":6,\"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":64,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    for (is_anthropic, whole, stream, input, written) in
        [(false, CHAT, CHUNKS, 90, 0), (true, MESSAGE, EVENTS, 26, 20)]
    {
        let whole = Reply::raw(whole).header("content-type", "application/json");
        let stream = Reply::raw(stream).header("content-type", "text/event-stream");
        let provider = if is_anthropic { Provider::anthropic() } else { Provider::openai() };
        let server = provider.then(whole).then(stream).start().await.unwrap();
        let target = if is_anthropic {
            openai("p", &server.base_url()).replace("openai", "anthropic")
        } else {
            openai("p", &server.base_url())
        };
        let gateway = gateway(&(target + &route("*", &["p/m"]))).await;
        for request in [REQUEST, STREAM_REQUEST] {
            // The caller has OpenAI's dialect, and the answers of Anthropic are translated.
            let response = chat(&gateway, request).send().await.unwrap();
            let id = id(&response);
            let text = response.text().await.unwrap();
            assert!(
                !is_anthropic || text.contains(r#""cached_tokens":64"#) || request == STREAM_REQUEST,
                "{text}"
            );
            let tokens = &ended(&gateway, &id).await["tokens"];
            let expected = json!({"input": input, "output": 1, "cache_read": 64, "cache_written": written, "unknown_attempts": 0});
            assert_eq!(*tokens, expected, "{request}: {text}");
        }
    }
}

#[tokio::test]
async fn the_end_of_a_response_is_recorded() {
    for (reply, end, code) in [
        (Reply::text("a b c"), "finished", None),
        (Reply::text("a b c").cut_after(2), "cut", Some("E3001")),
        (Reply::text("a b c").reset_after(2), "cut", Some("E3001")),
        (Reply::text("a b c").error_event_at(2, "server_error"), "failed", Some("E3001")),
        (Reply::text("a b c").stall_after(2), "stalled", Some("E3003")),
    ] {
        let server = scripted(reply).await;
        let timeout = match end {
            "stalled" => "policies.default.timeout = { token_gap = \"200ms\" }\n",
            _ => "",
        };
        let file = timeout.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
        let gateway = gateway(&file).await;
        let response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let id = id(&response);
        let length = response.bytes().await.unwrap().len();
        let call = ended(&gateway, &id).await;
        let seen = (&call["status"], &call["end"], &call["code"], &call["bytes"]);
        assert_eq!(seen, (&json!(200), &json!(end), &json!(code), &json!(length)), "{call}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_recorded_before_and_after_the_head() {
    let server = Provider::openai()
        .then(Reply::hang())
        .otherwise(Reply::text("a b c").stall_after(1))
        .start()
        .await
        .unwrap();
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    for (in_flight, status, verdict, unknown) in
        [("", json!(null), "cancelled", 1), ("HTTP/1.1 200", json!(200), "succeeded", 0)]
    {
        let mut socket = TcpStream::connect(gateway.addr()).await.unwrap();
        let length = STREAM_REQUEST.len();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all((head + STREAM_REQUEST).as_bytes()).await.unwrap();
        server.log().in_flight_is(1).await;
        let mut response = vec![0; in_flight.len()];
        socket.read_exact(&mut response).await.unwrap();
        let (_, calls) = get(&gateway, "/calls").await;
        assert_eq!((&calls[0]["end"], &calls[0]["total_ms"]), (&json!(null), &json!(null)));
        drop(socket);
        let call = ended(&gateway, calls[0]["id"].as_str().unwrap()).await;
        assert_eq!((&call["end"], &call["status"]), (&json!("dropped"), &status), "{call}");
        // The provider has the request, and may bill it.
        assert_eq!((&call["trail"]["attempts"], verdicts(&call)), (&json!(1), vec![verdict]), "{call}");
        assert_eq!(call["tokens"]["unknown_attempts"], unknown, "{call}");
    }
}

/// Regression: only a call with a response of a provider had its tokens.
#[tokio::test]
async fn the_tokens_of_a_call_without_a_response_are_those_of_its_attempts() {
    let server = scripted(Reply::hang()).await;
    let policy = "policies.default = { timeout = { attempt = \"200ms\" }, circuit_breaker = { failure_threshold = 1 } }\n";
    let gateway =
        gateway(&(policy.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    let unknown =
        json!({"input": null, "output": 0, "cache_read": 0, "cache_written": 0, "unknown_attempts": 1});
    // The second one is rejected by the open circuit.
    for (status, tokens) in [(504, unknown), (503, json!(null))] {
        let response = chat(&gateway, REQUEST).send().await.unwrap();
        assert_eq!(response.status(), status);
        let call = ended(&gateway, &id(&response)).await;
        assert_eq!(call["tokens"], tokens, "{call}");
    }
}

#[tokio::test]
async fn streams_that_are_cut_by_a_stop_are_recorded_as_such() {
    let server = scripted(Reply::text("a b c").stall_after(1)).await;
    let settings = "listen = \"127.0.0.1:0\"\nnotice = \"0s\"\ndrain = \"100ms\"\n";
    let file = settings.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let app = Gateway::new(Config::parse(&file, env).unwrap()).unwrap();
    let pages = app.router();
    let gateway = app.bind().await.unwrap();
    let response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
    assert_eq!(gateway.stop().await, 1);
    let id = id(&response);
    response.bytes().await.unwrap();
    let request = http::Request::get(format!("/calls/{id}")).header("host", "localhost");
    let page =
        tower::ServiceExt::oneshot(pages, request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let call = http_body_util::BodyExt::collect(page.into_body()).await.unwrap().to_bytes();
    let call: Value = serde_json::from_slice(&call).unwrap();
    assert_eq!((&call["end"], &call["code"]), (&json!("stopped"), &json!("E3002")), "{call}");
}

#[tokio::test]
async fn calls_are_listed_newest_first_and_filtered() {
    let (good, closed) = (scripted(Reply::ok()).await, closed_port().unwrap());
    let file = "calls_kept = 3\n".to_owned()
        + &openai("p", &good.base_url())
        + &openai("closed", &closed.base_url())
        + &route("good", &["p/m"])
        + &route("*", &["closed/m"]);
    let gateway = gateway(&file).await;
    let mut ids = Vec::new();
    for model in ["any", "good", "any", "good"] {
        let response = chat(&gateway, REQUEST.replace("any", model)).send().await.unwrap();
        ids.push(id(&response));
        response.bytes().await.unwrap();
    }
    ids.reverse();
    let [newest, second, third, evicted] = &ids[..] else { panic!("{ids:?}") };
    for (query, expected) in [
        ("", vec![newest, second, third]),
        ("?limit=2", vec![newest, second]),
        ("?limit=99", vec![newest, second, third]),
        ("?code=E3001", vec![second]),
        ("?code=E2001", vec![]),
        ("?target=p/m", vec![newest, third]),
        ("?target=closed%2Fm&code=E3001&limit=1", vec![second]),
        ("?target=@static", vec![]),
    ] {
        let (status, calls) = get(&gateway, &format!("/calls{query}")).await;
        assert_eq!(status, 200, "{calls}");
        let found: Vec<_> = calls.as_array().unwrap().iter().map(|call| &call["id"]).collect();
        assert_eq!(json!(found), json!(expected), "{query}");
    }
    let routes: Vec<_> = get(&gateway, "/calls").await.1.as_array().unwrap().clone();
    assert_eq!((&routes[0]["route"], &routes[1]["route"]), (&json!("good"), &json!("*")));
    for (path, status, message) in [
        ("/calls?limit=0", 400, "limit: expected a number of calls above 0, found `0`".to_owned()),
        ("/calls?code=200", 400, "code: expected a standard code such as E2001, found `200`".to_owned()),
        ("/calls?target=p", 400, "target: expected the name of a target, see /signals, found `p`".to_owned()),
        ("/calls?n=1", 400, "unknown parameter `n`, expected limit, code or target".to_owned()),
        (&*format!("/calls/{evicted}"), 404, format!("call `{evicted}` is not kept, see /calls")),
        ("/calls/none", 404, "call `none` is not kept, see /calls".to_owned()),
    ] {
        let (found, error) = get(&gateway, path).await;
        assert_eq!((found, &error["error"]["message"]), (status, &json!(message)), "{path}");
    }
}

#[tokio::test]
async fn with_calls_kept_0_no_call_is_kept_and_responses_have_an_id() {
    let server = scripted(Reply::ok()).await;
    let file = "calls_kept = 0\n".to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let id = id(&chat(&gateway, REQUEST).send().await.unwrap());
    for path in ["/calls", &format!("/calls/{id}")] {
        let (status, error) = get(&gateway, path).await;
        let message = &error["error"]["message"];
        assert_eq!((status, message), (404, &json!("no call is kept, since calls_kept is 0")));
    }
}

#[tokio::test]
async fn the_pages_need_the_key_of_a_caller_and_name_callers_without_their_keys() {
    let server = scripted(Reply::ok()).await;
    let file = openai_with_key("p", &server.base_url())
        + CALLERS
        + &route("*", &["p/m"])
        + "[[routes]]\npath = \"/v1/messages\"\nchain = [\"p/m\"]\n";
    let gateway = gateway(&file).await;
    let response = chat(&gateway, REQUEST).bearer_auth(ANN_KEY).send().await.unwrap();
    let id = id(&response);
    response.bytes().await.unwrap();
    let count = client().post(url(&gateway, "/v1/messages/count_tokens"));
    let count = count.header("x-api-key", BEN_KEY).body(REQUEST).send().await.unwrap();
    count.bytes().await.unwrap();
    for path in ["/calls", &format!("/calls/{id}")] {
        assert_eq!(get(&gateway, path).await.0, 401, "{path}");
        let page =
            client().get(url(&gateway, path)).bearer_auth(ANN_KEY).header("origin", "https://evil.example");
        assert_eq!(page.send().await.unwrap().status(), 403, "{path}");
    }
    let calls = client().get(url(&gateway, "/calls")).bearer_auth(BEN_KEY).send().await.unwrap();
    let calls = json(calls).await;
    let seen: Vec<_> =
        calls.as_array().unwrap().iter().map(|call| json!([call["caller"], call["path"]])).collect();
    assert_eq!(seen, [json!(["ben", "/v1/messages/count_tokens"]), json!(["ann", "/v1/chat/completions"])]);
    for secret in [ANN_KEY, BEN_KEY, KEY, "the-prompt"] {
        assert!(!calls.to_string().contains(secret), "{calls}");
    }
}
