//! What each caller may use, and how much: routes, limits of its own, priority.

use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply, Server};
use tokio::time::timeout;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const BOUND: Duration = Duration::from_secs(30);

/// The configuration lines of both callers, the first with these rules.
fn callers(rules_of_ann: &str) -> String {
    CALLERS.replacen("key_env = \"ANN_KEY\"\n", &format!("key_env = \"ANN_KEY\"\n{rules_of_ann}\n"), 1)
}

async fn provider(reply: Reply) -> (Server, String) {
    let server = Provider::openai().otherwise(reply).start().await.unwrap();
    let file = openai("p", &server.base_url());
    (server, file)
}

async fn post(gateway: &RunningGateway, path: &str, key: &str, model: &str) -> reqwest::Response {
    let body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": model}]});
    let request =
        client().post(url(gateway, path)).bearer_auth(key).header("content-type", "application/json");
    request.body(body.to_string()).send().await.unwrap()
}

async fn models(gateway: &RunningGateway, key: &str) -> Vec<String> {
    let response = client().get(url(gateway, "/v1/models")).bearer_auth(key).send().await.unwrap();
    let body = json(response).await;
    body["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// The states of all targets.
async fn signals(gateway: &RunningGateway) -> Value {
    json(client().get(url(gateway, "/signals")).bearer_auth(BEN_KEY).send().await.unwrap()).await
}

#[tokio::test]
async fn a_caller_with_routes_may_use_no_other() {
    let (server, file) = provider(Reply::ok()).await;
    let file = file
        + &route("gpt-4o", &["p/a"])
        + &route("secret-model", &["p/b"])
        + &route("*", &["p/c"])
        + &route("gpt-4o", &["p/a"]).replace(CHAT, MESSAGES)
        + &route("claude", &["p/d"]).replace(CHAT, MESSAGES);
    let by_model = gateway(&(file.clone() + &callers("routes = [\"gpt-4o\"]"))).await;
    for path in [CHAT, MESSAGES] {
        assert_eq!(post(&by_model, path, ANN_KEY, "gpt-4o").await.status(), 200, "{path}");
        assert_eq!(post(&by_model, path, BEN_KEY, "claude").await.status(), 200, "{path}");
    }
    let calls = server.log().calls();
    for (path, model) in [
        (CHAT, "secret-model"),
        (CHAT, "any-other"),
        (CHAT, "p/c"),
        (CHAT, "*"),
        (CHAT, "GPT-4o"),
        (MESSAGES, "claude"),
        (MESSAGES, "none"),
        ("/v1/messages/count_tokens", "claude"),
        ("/openai/deployments/secret-model/chat/completions", "gpt-4o"),
    ] {
        let response = post(&by_model, path, ANN_KEY, model).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
            (403, &"E1003".parse().unwrap())
        );
        let error = json(response).await["error"].take();
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with("is not allowed for this caller, which may use `gpt-4o`"), "{message}");
        let named = path.contains("deployments") || model == "secret-model";
        assert!(named || !message.contains("secret-model"), "{message}");
    }
    assert_eq!(server.log().calls(), calls);
    assert_eq!(models(&by_model, ANN_KEY).await, ["gpt-4o"]);
    assert_eq!(models(&by_model, BEN_KEY).await, ["gpt-4o", "secret-model", "p/c", "claude"]);
    for (model, status) in [("gpt-4o", 200), ("secret-model", 404), ("p/c", 404)] {
        let url = url(&by_model, &format!("/v1/models/{model}"));
        assert_eq!(client().get(url).bearer_auth(ANN_KEY).send().await.unwrap().status(), status, "{model}");
    }

    let by_path = gateway(&(file + &callers("routes = [\"/v1/messages\", \"*\"]"))).await;
    for (path, model, status) in [
        (MESSAGES, "claude", 200),
        (CHAT, "any-other", 200),
        (CHAT, "gpt-4o", 403),
        (CHAT, "secret-model", 403),
    ] {
        assert_eq!(post(&by_path, path, ANN_KEY, model).await.status(), status, "{path} {model}");
    }
    assert_eq!(models(&by_path, ANN_KEY).await, ["gpt-4o", "p/c", "claude"]);
}

#[tokio::test]
async fn a_caller_has_a_rate_of_its_own_over_all_routes_and_others_are_not_affected() {
    let (server, file) = provider(Reply::ok()).await;
    let file = "policies.default.circuit_breaker = { failure_threshold = 1 }\n".to_owned()
        + &file
        + &route("a", &["p/a"])
        + &route("b", &["p/b"])
        + &callers("rate_limiter = { requests_per_minute = 2, on_limit = \"reject\" }");
    let gateway = gateway(&file).await;
    for model in ["a", "b"] {
        assert_eq!(post(&gateway, CHAT, ANN_KEY, model).await.status(), 200);
    }
    for model in ["a", "b"] {
        let response = post(&gateway, CHAT, ANN_KEY, model).await;
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), header("x-tidegate-code").as_deref()), (429, Some("E2001")));
        let wait: u64 = header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(
            (header("x-tidegate-attempts").as_deref(), header("x-tidegate-target")),
            (Some("0"), None)
        );
        assert_eq!(header("x-should-retry"), None);
        let error = json(response).await["error"].take();
        assert_eq!(error["code"], "rate_limit_exceeded");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("limit of this caller: ") && message.contains("requests per minute"),
            "{message}"
        );
        assert_eq!(post(&gateway, CHAT, BEN_KEY, model).await.status(), 200);
    }
    assert_eq!(server.log().calls(), 4);
    for target in signals(&gateway).await.as_array().unwrap() {
        assert_eq!(
            (&target["circuit_state"], &target["status"]),
            (&json!("closed"), &json!("healthy")),
            "{target}"
        );
    }
}

/// Regression: counts were sent to the provider without any limit, with the key that all callers share.
#[tokio::test]
async fn token_counts_beyond_the_limits_of_a_caller_are_estimated() {
    let counting =
        Provider::anthropic().otherwise(Reply::raw(r#"{"input_tokens":11}"#)).start().await.unwrap();
    let file =
        format!("providers.c = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n", counting.base_url())
            + &route("any", &["c/m"]).replace(CHAT, MESSAGES)
            + &callers("rate_limiter = { requests_per_minute = 2, tokens_per_minute = 1 }");
    let gateway = gateway(&file).await;
    let count = async |key: &str| {
        let response = post(&gateway, "/v1/messages/count_tokens", key, "any").await;
        let is_estimated = response.headers().contains_key("x-tidegate-estimated");
        (response.status().as_u16(), is_estimated)
    };
    // A count uses no tokens, and is no request for a message.
    for _ in 0..2 {
        assert_eq!(count(ANN_KEY).await, (200, false));
    }
    for _ in 0..2 {
        assert_eq!(count(ANN_KEY).await, (200, true));
    }
    assert_eq!(count(BEN_KEY).await, (200, false));
    assert_eq!(counting.log().calls(), 3);
}

/// Regression: a count waited in the queue of the calls, and took a permit of theirs.
#[tokio::test]
async fn a_token_count_neither_waits_for_a_call_nor_takes_its_permit() {
    let reply = |reply| Provider::anthropic().otherwise(reply).start();
    let counting = reply(Reply::hang()).await.unwrap();
    let file =
        format!("providers.c = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n", counting.base_url())
            + &route("any", &["c/m"]).replace(CHAT, MESSAGES)
            + &callers("backpressure = { max_inflight = 1, queue_timeout = \"20s\" }");
    let gateway = std::sync::Arc::new(gateway(&file).await);
    let send = |path: &'static str| {
        let gateway = std::sync::Arc::clone(&gateway);
        tokio::spawn(async move { post(&gateway, path, ANN_KEY, "any").await })
    };
    let call = send(MESSAGES);
    timeout(BOUND, counting.log().in_flight_is(1)).await.unwrap();
    // The count is sent beside the call, and a further one is estimated at once.
    let count = send("/v1/messages/count_tokens");
    timeout(BOUND, counting.log().in_flight_is(2)).await.unwrap();
    let estimated =
        timeout(Duration::from_secs(10), send("/v1/messages/count_tokens")).await.unwrap().unwrap();
    assert!(estimated.headers().contains_key("x-tidegate-estimated"), "{estimated:?}");
    call.abort();
    count.abort();
}

/// Regression: calls that were refused before the limits cost no quota, whatever was read for them.
#[tokio::test]
async fn refused_calls_have_a_limit_before_their_bodies_are_read() {
    let (server, file) = provider(Reply::ok()).await;
    let limit = "rate_limiter = { requests_per_minute = 3 }";
    let gateway = gateway(&(file + &route("a", &["p/a"]) + &callers(limit))).await;
    let send = async |key: &str, body: &'static str| {
        let response = chat(&gateway, body).bearer_auth(key).send().await.unwrap();
        response.status().as_u16()
    };
    const GOOD: &str = r#"{"model":"a","messages":[]}"#;
    for (body, status) in [("x", 400), (r#"{"model":"none"}"#, 404), ("[]", 400), ("x", 429), (GOOD, 429)] {
        assert_eq!(send(ANN_KEY, body).await, status, "{body}");
    }
    assert_eq!(send(BEN_KEY, GOOD).await, 200);
    assert_eq!(server.log().calls(), 1);
}

/// Regression: the limits of the caller were refunded by the chain, after the work of a translation.
#[tokio::test]
async fn calls_that_the_chain_refuses_as_invalid_have_a_limit() {
    let claude = Provider::anthropic().otherwise(Reply::ok()).start().await.unwrap();
    let file = "translated_body_limit = 500\npolicies.default.timeout.header = \"x-timeout\"\n".to_owned()
        + &format!("providers.c = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n", claude.base_url())
        + &route("any", &["c/m"])
        + &callers("rate_limiter = { requests_per_minute = 2 }");
    let user = |content: &str| json!({"model": "any", "messages": [{"role": "user", "content": content}]});
    let several = json!({"model": "any", "n": 2, "messages": [{"role": "user", "content": "x"}]});
    for (body, timeout, status) in
        [(user(&"x".repeat(1000)), None, 413), (several, None, 400), (user("x"), Some("soon"), 400)]
    {
        let gateway = gateway(&file).await;
        for expected in [status, status, 429] {
            let request = chat(&gateway, body.to_string()).bearer_auth(ANN_KEY);
            let request = timeout.iter().fold(request, |it, &value| it.header("x-timeout", value));
            let response = request.send().await.unwrap();
            let (found, text) = (response.status(), response.text().await.unwrap());
            assert_eq!(found, expected, "{timeout:?}: {text}");
            // The caller does not know which of its headers is a setting of the operator.
            let is_named = text.contains("timeout header `x-timeout` is not a number of seconds above 0");
            assert_eq!(is_named, timeout.is_some() && expected == 400, "{text}");
        }
        assert_eq!(post(&gateway, CHAT, BEN_KEY, "any").await.status(), 200);
    }
}

/// Regression: a response in the background was outside of all limits, and `models` outside of the routes of
/// its caller.
#[tokio::test]
async fn a_body_does_not_lead_out_of_the_limits_of_its_caller() {
    const RESPONSES: &str = "/v1/responses";
    let queued = Reply::raw(r#"{"id":"r","object":"response","status":"queued","output":[]}"#);
    let responses = Provider::responses().otherwise(queued).start().await.unwrap();
    let (_chat, file) = provider(Reply::ok()).await;
    // Regression: this answer was taken for a failure, and each repetition was paid.
    let xai = Provider::openai().otherwise(Reply::raw(r#"{"request_id":"r"}"#)).start().await.unwrap();
    let file = openai("r", &responses.base_url())
        + &openai("xai", &xai.base_url())
        + &file
        + &route("a", &["r/a"]).replace(CHAT, RESPONSES)
        + &route("a", &["p/a"])
        + &route("grok", &["xai/grok"])
        + &callers("routes = [\"a\"]");
    let strict = gateway(&file).await;
    let lenient = gateway(&("allow_background = true\n".to_owned() + &file)).await;
    let background = r#"{"model":"a","input":"x","background":true}"#;
    let deferred = r#"{"model":"a","messages":[],"deferred":true}"#;
    let models = r#"{"model":"a","models":["b"]}"#;
    for (gateway, path, key, body, status, field) in [
        (&strict, RESPONSES, ANN_KEY, background, 400, "`background`"),
        (&strict, RESPONSES, ANN_KEY, r#"{"model":"a","input":"x","background":false}"#, 200, ""),
        (&lenient, RESPONSES, ANN_KEY, background, 200, ""),
        (&strict, CHAT, BEN_KEY, deferred, 400, "`deferred`"),
        (&strict, CHAT, BEN_KEY, r#"{"model":"a","messages":[],"deferred":false}"#, 200, ""),
        (&lenient, CHAT, BEN_KEY, r#"{"model":"grok","messages":[],"deferred":true}"#, 200, "request_id"),
        (&strict, CHAT, ANN_KEY, models, 403, "`models`"),
        (&strict, CHAT, BEN_KEY, models, 200, ""),
    ] {
        let request = client().post(url(gateway, path)).bearer_auth(key).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(response.status(), status, "{path} {body}");
        assert!(response.text().await.unwrap().contains(field), "{path} {body}");
    }
    assert_eq!((responses.log().calls(), xai.log().calls()), (2, 1));
}

/// Regression: only `models` was read, and other fields of routers named models beside the routes of a
/// caller.
#[tokio::test]
async fn no_field_of_a_body_names_a_model_beside_the_routes_of_its_caller() {
    let (server, file) = provider(Reply::ok()).await;
    let paths = [CHAT, MESSAGES];
    let routes = paths.map(|path| route("a", &["p/a"]).replace(CHAT, path)).concat();
    let file = file + &routes + &callers("routes = [\"a\"]");
    let gateway = gateway(&file).await;
    let send = async |path: &str, key: &str, field: &str| {
        let body = format!(
            r#"{{"model":"a","max_tokens":9,{field},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let request = client().post(url(&gateway, path)).bearer_auth(key).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for field in [
        r#""models":["b"]"#,
        r#""fallbacks":["b"]"#,
        r#""fallbacks":[{"model":"b"}]"#,
        r#""fallb\u0061cks":["b"]"#,
        r#""Fallbacks":["b"]"#,
        r#""mock_testing_fallbacks":true"#,
        r#""context_window_fallbacks":[{"a":["b"]}]"#,
        r#""context_window_fallback_dict":{"a":"b"}"#,
        r#""model_list":[{"model_name":"a"}]"#,
        r#""safety_model":"b""#,
        r#""route":"fallback""#,
        r#""preset":"b""#,
        r#""router_settings_override":{"fallbacks":[]}"#,
        r#""extra_body":{"fallbacks":["b"]}"#,
        r#""user_config":{"model_list":[]}"#,
        r#""plugins":[{"id":"web"},{"id":"auto-router","allowed_models":["b"]}]"#,
        r#""providerOptions":{"gateway":{"models":["b"]}}"#,
        r#""provider_options":{"gateway":{"model\u0073":["b"]}}"#,
        r#""compound_custom":{"models":{"answering_model":"b"}}"#,
        r#""tools":[{"type":"image_generation","model":"b"}]"#,
    ] {
        for path in paths {
            let (status, text) = send(path, ANN_KEY, field).await;
            assert!(status == 403 && text.contains("E1003"), "{path} {field}: {status} {text}");
        }
    }
    assert_eq!(server.log().calls(), 0);
    for field in [
        r#""models":[]"#,
        r#""fallbacks":null"#,
        r#""mock_testing_fallbacks":false"#,
        r#""plugins":[{"id":"web","max_results":3}]"#,
        r#""providerOptions":{"gateway":{"order":["x"]},"openai":{"models":[]}}"#,
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"}}}}}]"#,
        r#""metadata":{"model":"b","fallbacks":"b"}"#,
    ] {
        assert_eq!(send(CHAT, ANN_KEY, field).await.0, 200, "{field}");
    }
    assert_eq!(send(CHAT, BEN_KEY, r#""fallbacks":["b"]"#).await.0, 200);
}

/// A provider that is overloaded must not lock its callers out of the other providers.
#[tokio::test]
async fn failures_of_a_provider_do_not_change_the_limits_of_a_caller() {
    let limited = Reply::error(429, "rate_limit_exceeded").header("retry-after", "30");
    let (_busy, file) = provider(limited.header("x-ratelimit-remaining-requests", "0")).await;
    let good = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = file
        + &openai("good", &good.base_url())
        + &route("busy", &["p/m"])
        + &route("good", &["good/m"])
        + &callers("rate_limiter = { requests_per_minute = 100, on_limit = \"reject\" }\nbackpressure = {}");
    let gateway = gateway(&file).await;
    let response = post(&gateway, CHAT, ANN_KEY, "busy").await;
    // The outcome of the chain is that of the response, in front of the limits as well.
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (429, &"E2001".parse().unwrap())
    );
    for _ in 0..3 {
        assert_eq!(post(&gateway, CHAT, ANN_KEY, "good").await.status(), 200);
    }
}

#[tokio::test]
async fn a_caller_has_a_limit_of_calls_in_flight_until_their_bodies_end() {
    let (server, file) = provider(Reply::ok().tokens(5).stall_after(1)).await;
    let file = file + &route("*", &["p/m"]) + &callers("backpressure = { max_inflight = 1, max_queued = 0 }");
    let gateway = gateway(&file).await;
    let stream = async |key: &str| {
        let body = r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
        chat(&gateway, body).bearer_auth(key).send().await.unwrap()
    };
    let mut first = stream(ANN_KEY).await;
    assert!(first.chunk().await.unwrap().is_some());
    let second = stream(ANN_KEY).await;
    assert_eq!(
        (second.status().as_u16(), &second.headers()["x-tidegate-code"]),
        (429, &"E2001".parse().unwrap())
    );
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(stream(BEN_KEY).await.status(), 200);
    drop(first);
    timeout(BOUND, server.log().in_flight_is(0)).await.unwrap();
    // The permit is released just after the connection to the provider.
    let mut again = stream(ANN_KEY).await;
    for _ in 0..100 {
        if again.status() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        again = stream(ANN_KEY).await;
    }
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_key_by_caller_keeps_a_limit_for_each_caller() {
    let (_server, file) = provider(Reply::ok()).await;
    let limit = "{ requests_per_minute = 1, on_limit = \"reject\", key_by = \"caller\" }";
    let file = format!("policies.default.rate_limiter = {limit}\n{file}") + &route("*", &["p/m"]) + CALLERS;
    let gateway = gateway(&file).await;
    for status in [200, 429] {
        for key in [ANN_KEY, BEN_KEY] {
            assert_eq!(post(&gateway, CHAT, key, "any").await.status(), status);
        }
    }
}

/// Regression: each name that a caller made up had a quota of its own.
#[tokio::test]
async fn a_key_by_model_keeps_one_limit_for_all_names_of_a_route_for_any_model() {
    let limit = "rate_limiter = { requests_per_minute = 1, on_limit = \"reject\", key_by = \"model\" }\n";
    let counting =
        Provider::anthropic().otherwise(Reply::raw(r#"{"input_tokens":11}"#)).start().await.unwrap();
    let (_server, file) = provider(Reply::ok()).await;
    let file = file
        + &format!("providers.c = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n", counting.base_url())
        + &route("*", &["p/m"])
        + &route("own", &["p/m"])
        + &route("*", &["c/m"]).replace(CHAT, MESSAGES);
    for file in [file.clone() + &callers(limit), format!("policies.default.{limit}{file}{CALLERS}")] {
        let gateway = gateway(&file).await;
        for (model, status) in [("x1", 200), ("x2", 429), ("*", 429), ("own", 200), ("own", 429)] {
            assert_eq!(post(&gateway, CHAT, ANN_KEY, model).await.status(), status, "{model}");
        }
    }
    let gateway = gateway(&(file + &callers(limit))).await;
    for (model, is_estimated) in [("x1", false), ("x2", true)] {
        let response = post(&gateway, "/v1/messages/count_tokens", ANN_KEY, model).await;
        assert_eq!(response.headers().contains_key("x-tidegate-estimated"), is_estimated, "{model}");
    }
}

/// With one permit: of the waiting calls those that are interactive come first.
#[tokio::test]
async fn calls_of_a_batch_caller_wait_for_those_that_are_interactive() {
    let (server, file) = provider(Reply::hang()).await;
    let file = "policies.default.backpressure = { max_inflight = 1, max_queued = 9 }\n".to_owned()
        + &file
        + &route("*", &["p/m"])
        + &callers("priority = \"batch\"");
    let gateway = std::sync::Arc::new(gateway(&file).await);
    let call = |key: &'static str, model: &'static str| {
        let gateway = std::sync::Arc::clone(&gateway);
        tokio::spawn(async move { post(&gateway, CHAT, key, model).await.status() })
    };
    let holding = call(BEN_KEY, "first");
    server.log().in_flight_is(1).await;
    server.script().otherwise(Reply::ok());
    let queued = async |count: u64| {
        let is_queued = async || {
            while signals(&gateway).await[0]["queued"] != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BOUND, is_queued()).await.expect("the call is queued");
    };
    let mut waiting = Vec::new();
    for (number, (key, model)) in [(ANN_KEY, "batch"), (BEN_KEY, "interactive")].into_iter().enumerate() {
        waiting.push(call(key, model));
        queued(number as u64 + 1).await;
    }
    holding.abort();
    for call in waiting {
        assert_eq!(timeout(BOUND, call).await.unwrap().unwrap(), 200);
    }
    let requests = server.log().requests();
    let prompts = requests.iter().map(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        body["messages"][0]["content"].as_str().unwrap().to_owned()
    });
    assert_eq!(prompts.collect::<Vec<_>>(), ["first", "interactive", "batch"]);
}

/// Regression: it followed the times and the failures of each provider.
#[tokio::test]
async fn an_adaptive_limit_of_a_caller_is_its_upper_bound() {
    let (_server, file) = provider(Reply::ok().tokens(5).stall_after(1)).await;
    let limit = "backpressure = { max_inflight = 2, max_queued = 0, adaptive = \"aimd\" }";
    let gateway = gateway(&(file + &route("*", &["p/m"]) + &callers(limit))).await;
    let body = r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    let stream = async || chat(&gateway, body).bearer_auth(ANN_KEY).send().await.unwrap();
    let open = [stream().await, stream().await];
    assert_eq!(open.each_ref().map(|response| response.status().as_u16()), [200; 2]);
    assert_eq!(stream().await.status(), 429);
}
