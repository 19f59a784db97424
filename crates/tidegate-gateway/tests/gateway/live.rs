//! The live page: which clients get it, its files, and its events.

use std::time::{Duration, Instant};

use crate::support::*;
use reqwest::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate_gateway::{Config, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::time::timeout;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"the secret of the prompt"}]}"#;
const BREAKER: &str = "policies.default.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }\n\
                       policies.default.rate_limiter = { requests_per_minute = 60, burst_size = 9 }\n";

/// The `accept` of a browser that opens a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

/// No event may take longer.
const BOUND: Duration = Duration::from_secs(20);

/// A provider of the target `p/m` that fails its first call, and one of `q/m`.
async fn providers() -> [Server; 2] {
    let flaky = Provider::openai().then(Reply::status(500)).otherwise(Reply::ok());
    [flaky.start().await.unwrap(), Provider::openai().otherwise(Reply::ok()).start().await.unwrap()]
}

async fn gateway_of([p, q]: &[Server; 2]) -> RunningGateway {
    let providers = openai("p", &p.base_url()) + &openai("q", &q.base_url());
    gateway(&(BREAKER.to_owned() + &providers + &route("*", &["p/m", "q/m"]))).await
}

async fn get(gateway: &RunningGateway, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = client().get(url(gateway, path));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// The events of one subscriber.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn subscribe(gateway: &RunningGateway) -> Self {
        let response = get(gateway, "/live", &[]).await;
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &"text/event-stream".parse().unwrap())
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The name and the data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let event = field("event: ").zip(field("data: "));
                let event = event.map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap()));
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    // A comment.
                    None => continue,
                }
            }
            let chunk = timeout(BOUND, self.response.chunk()).await.expect("an event or the end");
            self.text += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }

    /// Waits for an event with data for which `holds`.
    async fn wait_for(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        while started.elapsed() < BOUND {
            let (_, data) = self.next().await.expect("an event");
            if holds(&data) {
                return data;
            }
        }
        panic!("no such event within {BOUND:?}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_other_clients_the_list_of_paths() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let page = get(&gateway, "/", &[("accept", BROWSER)]).await;
    assert_eq!(
        (&page.headers()[CONTENT_TYPE], &page.headers()[VARY]),
        (&"text/html; charset=utf-8".parse().unwrap(), &"accept".parse().unwrap())
    );
    assert!(page.text().await.unwrap().starts_with("<!doctype html>"));
    for headers in [&[][..], &[("accept", "*/*")], &[("accept", "application/json")]] {
        let list = get(&gateway, "/", headers).await;
        assert_eq!(
            (&list.headers()[CONTENT_TYPE], &list.headers()[VARY]),
            (&"text/plain; charset=utf-8".parse().unwrap(), &"accept".parse().unwrap())
        );
        assert!(list.text().await.unwrap().starts_with("tidegate, a gateway for model providers\n"));
    }
}

/// Every file that the page names is served, under a policy that allows nothing inline and no other host.
#[tokio::test]
async fn the_page_is_complete_and_its_policy_strict() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let page = get(&gateway, "/", &[("accept", BROWSER)]).await;
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    let mut directives = policy.split("; ");
    assert_eq!(directives.next(), Some("default-src 'none'"));
    for directive in directives {
        let (name, value) = directive.split_once(' ').unwrap();
        let expected = match name {
            "base-uri" | "form-action" | "frame-ancestors" | "trusted-types" => "'none'",
            "require-trusted-types-for" => "'script'",
            _ => "'self'",
        };
        assert_eq!(value, expected, "{name}");
    }
    let page = page.text().await.unwrap();
    let is_handler = |attribute: &str| attribute.starts_with("on") && attribute.contains('=');
    assert!(
        !page.contains("http://")
            && !page.contains("https://")
            && !page.contains("style=")
            && !page.split_whitespace().any(is_handler)
    );
    let attributes = page.split(['"']).filter(|value| value.starts_with("live/"));
    let mut paths: Vec<String> = attributes.map(|path| format!("/{path}")).collect();
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        let file = get(&gateway, &path, &[]).await;
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(
            (&file.headers()["x-content-type-options"], &file.headers()[CONTENT_SECURITY_POLICY]),
            (&"nosniff".parse().unwrap(), &policy.parse().unwrap())
        );
        let text = file.text().await.unwrap();
        if path.ends_with(".js") && !path.ends_with("uplot.js") {
            assert!(
                !text.contains("innerHTML") && !text.contains("https://") && !text.contains("eval("),
                "{path}"
            );
            let imports = text.split("from \"./").skip(1).map(|rest| rest.split('"').next().unwrap());
            let new: Vec<_> =
                imports.map(|file| format!("/live/{file}")).filter(|file| !paths.contains(file)).collect();
            paths.extend(new);
        }
        at += 1;
    }
    assert!(paths.len() > 10, "{paths:?}");
    assert_eq!(get(&gateway, "/live/none.js", &[]).await.status(), 404);
}

#[tokio::test]
async fn the_events_show_targets_transitions_and_calls_as_they_change() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let mut events = Events::subscribe(&gateway).await;
    let (name, snapshot) = events.next().await.unwrap();
    assert_eq!(
        (&*name, &snapshot["keeps_calls"], &snapshot["calls"], &snapshot["transitions"]),
        ("snapshot", &json!(true), &json!([]), &json!([]))
    );
    assert_eq!(snapshot["totals"], json!({"begun": 0, "succeeded": 0, "failed": 0, "left": 0}));
    let fields =
        ["target", "policy", "has_circuit", "circuit_state", "rate_remaining", "rate_capacity", "status"];
    let target: Vec<_> = fields.map(|field| snapshot["targets"][0][field].clone()).into();
    assert_eq!(
        target,
        [json!("p/m"), json!("default"), json!(true), json!("closed"), json!(9), json!(9), json!("healthy")]
    );
    assert_eq!(snapshot["targets"][0]["busiest_keys"], Value::Null);

    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let id = response.headers()["x-tidegate-call"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["x-tidegate-target"], "q/m");
    response.text().await.unwrap();
    let opened = events.wait_for(|data| data["transitions"] != json!([])).await;
    let fields = ["number", "target", "policy", "from", "to", "reason", "cooldown_ms", "recovery_ms"];
    let transition = fields.map(|field| opened["transitions"][0][field].clone());
    let expected = json!([0, "p/m", "default", "closed", "open", "1 consecutive E3001", 60000, null]);
    assert_eq!(json!(transition), expected);
    assert_eq!(
        (&opened["targets"][0]["circuit_state"], &opened["targets"][0]["status"]),
        (&json!("open"), &json!("unhealthy"))
    );
    let is_ended =
        |data: &Value| data["calls"].as_array().unwrap().iter().any(|call| call["end"] == "finished");
    let ended = if is_ended(&opened) { opened } else { events.wait_for(is_ended).await };
    let call = &ended["calls"][0];
    let fields = ["id", "number", "route", "target", "status", "code", "attempts", "is_fallback"];
    assert_eq!(
        json!(fields.map(|field| call[field].clone())),
        json!([id, 0, "*", "q/m", 200, null, 2, true])
    );
    assert_eq!(call["trail"], Value::Null);
    assert_eq!(ended["totals"], json!({"begun": 1, "succeeded": 1, "failed": 0, "left": 0}));
    assert_eq!(ended["targets"][1]["first_token_ms"].as_array().unwrap().len(), 1, "{ended}");

    let reset = client().post(url(&gateway, "/signals/p/m/reset")).send().await.unwrap();
    assert_eq!(reset.status(), 200);
    let closed = events.wait_for(|data| data["transitions"] != json!([])).await;
    let closed = &closed["transitions"][0];
    assert_eq!((&closed["to"], &closed["reason"]), (&json!("closed"), &json!("reset")));
    assert!(closed["recovery_ms"].is_u64(), "{closed}");

    // A later subscriber begins with everything.
    let mut later = Events::subscribe(&gateway).await;
    let (name, snapshot) = later.next().await.unwrap();
    assert_eq!((&*name, snapshot["calls"].as_array().unwrap().len()), ("snapshot", 1));
    assert_eq!(snapshot["transitions"].as_array().unwrap().len(), 2);
    assert!(!snapshot.to_string().contains("secret"));

    let listed = json(get(&gateway, "/transitions", &[]).await).await;
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|entry| entry["to"].clone()).collect();
    assert_eq!(states, ["closed", "open"]);
}

#[tokio::test]
async fn the_events_end_when_the_gateway_stops() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let mut events = Events::subscribe(&gateway).await;
    events.next().await.unwrap();
    let started = Instant::now();
    assert_eq!(gateway.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(5), "the drain time is not used up");
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn too_many_subscribers_are_rejected_with_the_limit() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Events::subscribe(&gateway).await);
    }
    let rejected = get(&gateway, "/live", &[]).await;
    assert_eq!(rejected.status(), 503);
    let error = json(rejected).await;
    assert_eq!(error["error"]["message"], "expected at most 16 subscribers at a time");
}

#[tokio::test]
async fn a_page_of_another_site_gets_neither_events_nor_changes() {
    let servers = providers().await;
    let gateway = gateway_of(&servers).await;
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    for path in ["/live", "/transitions", "/signals", "/calls", "/live/page.js"] {
        assert_eq!(get(&gateway, path, &evil).await.status(), 403, "{path}");
        assert_eq!(get(&gateway, path, &evil[1..]).await.status(), 403, "{path}");
    }
    // In a frame of another page.
    let framed = [evil[1], ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("accept", BROWSER)];
    assert_eq!(get(&gateway, "/", &framed).await.status(), 403);

    let own = format!("http://{}", gateway.addr());
    let own = [("origin", &*own), ("sec-fetch-site", "same-origin")];
    for (headers, expected) in [(&own, 200), (&evil, 403)] {
        let request = client().post(url(&gateway, "/signals/p%2Fm/reset?policy=default"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
    assert_eq!(get(&gateway, "/live", &own[1..]).await.status(), 200);
}

#[tokio::test]
async fn without_kept_calls_the_events_have_their_totals() {
    let servers = providers().await;
    let file = "calls_kept = 0\n".to_owned() + &openai("q", &servers[1].base_url()) + &route("*", &["q/m"]);
    let gateway = gateway(&file).await;
    assert_eq!(chat(&gateway, REQUEST).header(ACCEPT, "*/*").send().await.unwrap().status(), 200);
    let mut events = Events::subscribe(&gateway).await;
    let (_, snapshot) = events.next().await.unwrap();
    assert_eq!((&snapshot["keeps_calls"], &snapshot["calls"]), (&json!(false), &json!([])));
    assert_eq!(snapshot["totals"]["begun"], 1);
}

/// Regression: events that were subscribed to with a key that is no longer valid went on.
#[tokio::test]
async fn events_end_when_the_keys_change() {
    let servers = providers().await;
    let file = openai("p", &servers[0].base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let reload = |file: String| {
        let mut config = Config::parse(&file, env).unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        gateway.reload(config).unwrap();
    };
    let mut events = Events::subscribe(&gateway).await;
    events.wait_for(|_| true).await;
    reload(BREAKER.to_owned() + &file);
    events.wait_for(|_| true).await;
    reload(ADMIN.to_owned() + &file);
    let started = Instant::now();
    while events.next().await.is_some() {
        assert!(started.elapsed() < BOUND);
    }
    assert_eq!(get(&gateway, "/live", &[]).await.status(), StatusCode::UNAUTHORIZED);
}
