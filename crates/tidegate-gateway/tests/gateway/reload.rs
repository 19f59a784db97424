//! The change of the configuration while calls are in flight.
#![cfg(unix)]

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::process::TempFile;
use crate::support::*;
use serde_json::{Value, json};
use tidegate_gateway::{Config, ConfigSource, Gateway, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::sync::Notify;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"the-prompt"}]}"#;
const STREAM: &str = r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"the-prompt"}]}"#;

/// No condition may take longer.
const BOUND: Duration = Duration::from_secs(60);

fn config(file: &str) -> Config {
    Config::parse(file, env).unwrap()
}

async fn serve(reply: Reply) -> Server {
    Provider::openai().otherwise(reply).start().await.unwrap()
}

async fn get(gateway: &RunningGateway, path: &str) -> Value {
    json(client().get(url(gateway, path)).send().await.unwrap()).await
}

async fn status(gateway: &RunningGateway, body: &'static str) -> u16 {
    chat(gateway, body).send().await.unwrap().status().as_u16()
}

fn model(name: &str) -> String {
    REQUEST.replace("any", name)
}

/// The values of `fields` in the signals of the first target.
async fn signals(gateway: &RunningGateway, fields: &[&str]) -> Value {
    let targets = get(gateway, "/signals").await;
    fields.iter().map(|field| targets[0][*field].clone()).collect()
}

/// A caller that makes calls, streams and others in turn, until `is_over`. Returns their number.
async fn call_constantly(
    url: String,
    caller: usize,
    completed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
) -> usize {
    let (client, mut calls) = (client(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let is_stream = (calls + caller).is_multiple_of(2);
        let body = if is_stream { STREAM } else { REQUEST };
        let body = if calls.is_multiple_of(3) { body.replace("any", "extra") } else { body.to_owned() };
        let request = client.post(&url).header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        let (status, target) = (response.status(), response.headers()["x-tidegate-target"].clone());
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{target:?}: {text}");
        let is_complete = if is_stream { text.ends_with("data: [DONE]\n\n") } else { text.ends_with('}') };
        assert!(is_complete, "{target:?}: {text}");
        calls += 1;
        completed.fetch_add(1, Ordering::Relaxed);
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_call_and_lose_no_permit() {
    let reply = || Reply::ok().tokens(8).pace(Duration::from_millis(2));
    let (first, second) = (serve(reply()).await, serve(reply()).await);
    let keys = TempFile::new("load-key", "sk-the-first-key-of-the-load");
    let file = |round: usize| {
        let provider = |name: &str, server: &Server| {
            format!(
                "providers.{name} = {{ base_url = \"{}\", dialect = \"openai\", api_key_file = {:?} }}\n",
                server.base_url(),
                keys.path()
            )
        };
        let policy = match round % 4 {
            0 => "backpressure = { max_inflight = 4, max_queued = 200, queue_timeout = \"60s\" }\n",
            1 => {
                "backpressure = { max_inflight = 8, max_queued = 200, queue_timeout = \"60s\" }\n\
                  retry = { max_retries = 1 }\n"
            }
            2 => {
                "backpressure = { max_inflight = 8, max_queued = 300, queue_timeout = \"50s\" }\n\
                  circuit_breaker = { failure_threshold = 3 }\n"
            }
            _ => {
                "backpressure = { max_inflight = 6, max_queued = 300, queue_timeout = \"50s\" }\n\
                  rate_limiter = { requests_per_second = 100000 }\n"
            }
        };
        let extra = if round.is_multiple_of(2) { route("extra", &["second/m"]) } else { String::new() };
        provider("first", &first)
            + &provider("second", &second)
            + &route("*", &["first/m", "second/m"])
            + &extra
            + "[policies.default]\n"
            + policy
    };
    let gateway = gateway(&file(0)).await;
    let (completed, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let url = url(&gateway, "/v1/chat/completions");
            tokio::spawn(call_constantly(url, caller, Arc::clone(&completed), Arc::clone(&is_over)))
        })
        .collect();
    let started = Instant::now();
    for round in 1..=100 {
        fs::write(keys.path(), format!("sk-the-key-of-the-load-{}", round % 3)).unwrap();
        gateway.reload(config(&file(round))).unwrap();
        // At least one call ends between two reloads.
        let before = completed.load(Ordering::Relaxed);
        while completed.load(Ordering::Relaxed) == before && !callers.iter().any(|it| it.is_finished()) {
            assert!(started.elapsed() < BOUND, "no call ends");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.expect("every call is complete");
    }
    assert!(calls >= 100, "{calls}");
    let sent: Vec<_> = [&first, &second].iter().flat_map(|server| server.log().requests()).collect();
    assert_eq!(sent.len(), calls, "attempts");
    for key in 0..3 {
        let key = format!("Bearer sk-the-key-of-the-load-{key}");
        assert!(sent.iter().any(|request| request.headers["authorization"] == *key), "{key}");
    }
    for target in get(&gateway, "/signals").await.as_array().unwrap() {
        for count in ["current_inflight", "queued", "rate_waiting"] {
            assert_eq!(target[count], 0, "{count}: {target}");
        }
    }
    first.log().in_flight_is(0).await;
    second.log().in_flight_is(0).await;
    let health = get(&gateway, "/healthz").await;
    assert_eq!((&health["status"], &health["last_reload"]["result"]), (&json!("ok"), &json!("ok")));

    // Every permit can be acquired.
    let all = "[policies.default]\nbackpressure = { max_inflight = 6, max_queued = 0 }\n";
    gateway.reload(config(&(openai("first", &first.base_url()) + &route("*", &["first/m"]) + all))).unwrap();
    let responses: Vec<_> =
        futures_util::future::join_all((0..6).map(|_| chat(&gateway, STREAM).send())).await;
    assert!(responses.iter().all(|response| response.as_ref().unwrap().status() == 200));
}

#[tokio::test]
async fn gates_whose_settings_are_unchanged_keep_their_state() {
    let server = Provider::openai().then(Reply::status(500)).otherwise(Reply::ok()).start().await.unwrap();
    let file = |policy: &str, circuit: &str| {
        openai("p", &server.base_url())
            + &route("*", &["p/m"])
            + &format!(
                "[policies.default]\n{policy}circuit_breaker = {{ failure_threshold = 1, {circuit} }}\n"
            )
    };
    let minute = "cooldown_seconds = 60";
    let gateway = gateway(&file("", minute)).await;
    assert_eq!((status(&gateway, REQUEST).await, status(&gateway, REQUEST).await), (500, 503));
    for policy in ["", "retry = { max_retries = 1 }\n", "timeout = { total = \"20s\" }\n"] {
        gateway.reload(config(&file(policy, minute))).unwrap();
        assert_eq!(status(&gateway, REQUEST).await, 503, "{policy}");
    }
    assert_eq!(server.log().calls(), 1);
    let rejected = get(&gateway, "/signals").await[0]["circuit_metrics"]["total_rejected"].clone();
    assert_eq!(rejected, 4);
    // Another circuit.
    gateway.reload(config(&file("", "cooldown_seconds = 50"))).unwrap();
    assert_eq!(status(&gateway, REQUEST).await, 200);
    // By hand, and then another circuit.
    let force = client().post(url(&gateway, "/signals/p/m/force-open")).send().await.unwrap();
    assert_eq!(force.status(), 200);
    gateway.reload(config(&file("", minute))).unwrap();
    assert_eq!(status(&gateway, REQUEST).await, 503);
}

#[tokio::test]
async fn a_spent_quota_stays_spent_until_the_quota_itself_is_changed() {
    let server = serve(Reply::ok()).await;
    let file = |quota: u32, more: &str| {
        openai("p", &server.base_url())
            + &route("*", &["p/m"])
            + &format!(
                "[policies.default]\nrate_limiter = {{ requests_per_day = {quota}, on_limit = \"reject\" }}\n{more}"
            )
    };
    let gateway = gateway(&file(2, "")).await;
    for expected in [200, 200, 429] {
        assert_eq!(status(&gateway, REQUEST).await, expected);
    }
    let with_key = file(2, "").replace("\"openai\" }", "\"openai\", api_key_env = \"PROVIDER_KEY\" }");
    for unchanged in [file(2, ""), file(2, "retry = { max_retries = 1 }\n"), with_key] {
        gateway.reload(config(&unchanged)).unwrap();
        assert_eq!(status(&gateway, REQUEST).await, 429, "{unchanged}");
    }
    assert_eq!(signals(&gateway, &["rate_remaining"]).await, json!([0]));
    gateway.reload(config(&file(3, ""))).unwrap();
    assert_eq!(status(&gateway, REQUEST).await, 200);
}

#[tokio::test]
async fn a_changed_chain_continues_the_statistics_of_its_fallbacks() {
    let (down, up) = (serve(Reply::status(503)).await, serve(Reply::ok()).await);
    let providers = openai("down", &down.base_url()) + &openai("up", &up.base_url());
    let gateway = gateway(&(providers.clone() + &route("*", &["down/m", "up/m"]))).await;
    let fallbacks = async || signals(&gateway, &["fallback"]).await[0].clone();
    assert_eq!(status(&gateway, REQUEST).await, 200);
    gateway.reload(config(&(providers + &route("*", &["down/m", "up/n", "up/m", "@static"])))).unwrap();
    assert_eq!(status(&gateway, REQUEST).await, 200);
    let counts: Vec<Value> = fallbacks()
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|target| json!([target["target"], target["calls"], target["successes"]]))
        .collect();
    assert_eq!(counts, [json!(["up/n", 1, 1]), json!(["up/m", 1, 1]), json!(["@static", 0, 0])]);
}

/// Regression: the rate was that of the first route, beside the calls of both.
#[tokio::test]
async fn the_statistics_of_a_target_in_several_routes_are_their_sum() {
    let (down, up) = (serve(Reply::status(503)).await, serve(Reply::ok()).await);
    let providers = openai("down", &down.base_url()) + &openai("up", &up.base_url());
    let routes = route("good", &["down/m", "up/m"]) + &route("*", &["down/m", "up/m"]);
    let gateway = gateway(&(providers + &routes)).await;
    let call = async |model: &str| {
        let body = REQUEST.replace("\"any\"", &format!("{model:?}"));
        chat(&gateway, body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(call("good").await, 200);
    assert_eq!((call("any").await, call("any").await), (200, 200));
    let of_target = signals(&gateway, &["fallback"]).await[0][0].clone();
    let counts =
        ["calls", "successes", "recent", "recent_successes", "success_rate"].map(|it| &of_target[it]);
    assert_eq!(json!(counts), json!([3, 3, 3, 3, 1.0]));
}

#[tokio::test]
async fn the_limits_of_a_caller_stay_used_until_its_rules_are_changed() {
    let server = serve(Reply::ok()).await;
    let file = |quota: u32, key: &str| {
        openai("p", &server.base_url())
            + &route("*", &["p/m"])
            + &format!(
                "[[callers]]\nname = \"ann\"\nkey_env = {key:?}\n\
                 rate_limiter = {{ requests_per_day = {quota}, on_limit = \"reject\" }}\n"
            )
    };
    let gateway = gateway(&file(1, "ANN_KEY")).await;
    let call =
        async |key: &str| chat(&gateway, REQUEST).bearer_auth(key).send().await.unwrap().status().as_u16();
    assert_eq!((call(ANN_KEY).await, call(ANN_KEY).await), (200, 429));
    gateway.reload(config(&file(1, "BEN_KEY"))).unwrap();
    assert_eq!((call(ANN_KEY).await, call(BEN_KEY).await), (401, 429));
    gateway.reload(config(&file(2, "BEN_KEY"))).unwrap();
    assert_eq!(call(BEN_KEY).await, 200);
}

#[tokio::test]
async fn a_changed_limit_counts_the_calls_in_flight() {
    let server = serve(Reply::ok().stall_after(2)).await;
    let file = |limit: usize| {
        openai("p", &server.base_url())
            + &route("*", &["p/m"])
            + &format!("[policies.default]\nbackpressure = {{ max_inflight = {limit}, max_queued = 0 }}\n")
    };
    let gateway = gateway(&file(2)).await;
    let begin = async || chat(&gateway, STREAM).send().await.unwrap();
    let mut held = vec![begin().await, begin().await];
    assert_eq!(begin().await.status(), 503);
    gateway.reload(config(&file(3))).unwrap();
    held.push(begin().await);
    assert!(held.iter().all(|response| response.status() == 200));
    assert_eq!(begin().await.status(), 503);
    gateway.reload(config(&file(1))).unwrap();
    assert_eq!(signals(&gateway, &["current_inflight", "max_inflight"]).await, json!([3, 1]));
    assert_eq!(begin().await.status(), 503);
    drop(held);
    let started = Instant::now();
    while begin().await.status() != 200 {
        assert!(started.elapsed() < BOUND, "no permit is released");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.log().max_in_flight() <= 3);
}

#[tokio::test]
async fn a_removed_route_is_unknown_to_new_calls_and_an_old_stream_goes_on() {
    let server = serve(Reply::ok().tokens(40).pace(Duration::from_millis(20))).await;
    let provider = openai("p", &server.base_url());
    let gateway = gateway(&(provider.clone() + &route("old", &["p/m"]) + &route("kept", &["p/m"]))).await;
    let mut stream = chat(&gateway, STREAM.replace("any", "old")).send().await.unwrap();
    let mut text = stream.chunk().await.unwrap().unwrap().to_vec();
    gateway.reload(config(&(provider + &route("kept", &["p/m"]) + &route("new", &["p/n"])))).unwrap();

    let response = chat(&gateway, model("old")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["x-tidegate-code"], "E1004");
    let message = json(response).await["error"]["message"].clone();
    assert_eq!(message, "model `old` is not served at /v1/chat/completions, which serves `kept`, `new`");
    for served in ["kept", "new"] {
        assert_eq!(chat(&gateway, model(served)).send().await.unwrap().status(), 200, "{served}");
    }
    let listed = get(&gateway, "/v1/models").await["data"].clone();
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&json!("kept"), &json!("new")));
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert!(text.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn a_rotated_key_is_used_by_the_next_call_and_neither_key_is_returned() {
    const OLD: &str = "sk-old-7Qd3xZ0pLmW4tRvB";
    const NEW: &str = "sk-new-2Kf8sYc1hNgJ5uEa";
    let repeated = Reply::error(401, "invalid_api_key").message(format!("not {NEW}, and not {OLD}"));
    let server = Provider::openai()
        .then(Reply::ok())
        .then(Reply::ok())
        .otherwise(repeated.header("x-key", OLD))
        .start()
        .await
        .unwrap();
    let key = TempFile::new("rotated-key", &format!("{OLD}\n"));
    let header = TempFile::new("rotated-header", OLD);
    let file = format!(
        "[providers.p]\nbase_url = \"{}\"\ndialect = \"openai\"\napi_key_file = {:?}\n\
         headers = {{ x-team = {{ file = {:?} }} }}\n",
        server.base_url(),
        key.path(),
        header.path(),
    ) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let sent = async || {
        let response = chat(&gateway, REQUEST).send().await.unwrap();
        let headers = server.log().last().unwrap().headers;
        let sent = ["authorization", "x-team"].map(|name| headers[name].to_str().unwrap().to_owned());
        (sent, response)
    };
    assert_eq!(sent().await.0, [format!("Bearer {OLD}"), OLD.to_owned()]);
    fs::write(key.path(), NEW).unwrap();
    fs::write(header.path(), NEW).unwrap();
    gateway.reload(config(&file)).unwrap();
    assert_eq!(sent().await.0, [format!("Bearer {NEW}"), NEW.to_owned()]);
    let (_, response) = sent().await;
    assert_eq!(response.status(), 401);
    let mut returned = format!("{:?}", response.headers());
    let text = response.text().await.unwrap();
    assert!(text.contains("not [redacted], and not [redacted]"), "{text}");
    returned += &text;
    for path in ["/signals", "/calls", "/healthz", "/v1/models"] {
        returned += &get(&gateway, path).await.to_string();
    }
    assert!(!returned.contains("sk-"), "{returned}");
}

#[tokio::test]
async fn callers_and_origins_are_those_of_the_latest_configuration() {
    let server = serve(Reply::ok()).await;
    let file = openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let call = async |key: &str, origin: Option<&str>| {
        let request = chat(&gateway, REQUEST).bearer_auth(key);
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        request.send().await.unwrap()
    };
    assert_eq!(call("any", None).await.status(), 200);
    let one = "[[callers]]\nname = \"ann\"\nkey_env = \"ANN_KEY\"\n";
    let origins = "origins = [\"https://app.example\"]\n";
    gateway.reload(config(&(origins.to_owned() + &file + one))).unwrap();
    assert_eq!(call("any", None).await.status(), 401);
    let allowed = call(ANN_KEY, Some("https://app.example")).await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    assert_eq!((allowed.status().as_u16(), call(BEN_KEY, None).await.status().as_u16()), (200, 401));
    let admin = "[admin]\nkey_env = \"BEN_KEY\"\n";
    gateway.reload(config(&(file.clone() + one + admin))).unwrap();
    for (key, status) in [(ANN_KEY, 401), (BEN_KEY, 200)] {
        let request = client().get(url(&gateway, "/signals")).bearer_auth(key);
        assert_eq!(request.send().await.unwrap().status(), status, "{key}");
    }
    gateway.reload(config(&(file + CALLERS))).unwrap();
    assert_eq!(call(ANN_KEY, Some("https://app.example")).await.status(), 403);
    assert_eq!(call(BEN_KEY, None).await.status(), 200);
}

thread_local! {
    /// What this thread has logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of the current thread.
struct LogOfThread;

impl io::Write for LogOfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this thread has logged since the last call about the gateway's configuration.
fn logged() -> Vec<String> {
    let log = String::from_utf8(LOG.take()).unwrap();
    log.lines().filter(|line| !line.contains("response ended")).map(|line| line.trim().to_owned()).collect()
}

/// A gateway that follows the file at `path`, until `steps` have ended. They get the gateway and what
/// requests a reload.
async fn following(path: &str, steps: impl AsyncFnOnce(&RunningGateway, &Notify)) {
    let adjust = |config: &mut Config| {
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.notice = Duration::ZERO;
    };
    let mut source = ConfigSource::new(path);
    let mut config = source.read().unwrap();
    adjust(&mut config);
    let gateway = Gateway::new(config).unwrap().bind().await.unwrap();
    let requests = Notify::new();
    let follow = gateway.follow(source, adjust, async || requests.notified().await);
    tokio::select! {
        never = follow => match never {},
        () = steps(&gateway, &requests) => {}
    }
}

/// Waits for a reload that is later than `before`, and returns its report.
async fn next_reload(gateway: &RunningGateway, before: &Value) -> Value {
    let started = Instant::now();
    loop {
        let reload = get(gateway, "/healthz").await["last_reload"].clone();
        if reload["time"] != before["time"] {
            return reload;
        }
        assert!(started.elapsed() < BOUND, "the configuration is not reloaded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_is_reported() {
    let server = serve(Reply::ok()).await;
    let valid = openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let file = TempFile::new("mistakes.toml", &valid);
    let unused = tidegate_testkit::closed_port().unwrap();
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(|| LogOfThread)
        .init();
    following(file.path(), async |gateway, requests| {
        assert_eq!(get(gateway, "/healthz").await, json!({"status": "ok"}));
        let mut reload = Value::Null;
        let bad = "[policies.default.retry]\nmax_retrys = 3\n\
                   [providers.q]\nbase_url = \"http://q/v1\"\ndialect = \"openai\"\n\
                   api_key_env = \"sk-pasted-by-mistake\"\n";
        let not_toml = "routes = [\napi_key_env = \"sk-pasted-by-mistake\"\n";
        let keeps = "configuration is invalid, the one before stays in use layer=\"gateway\" mistake=line";
        for (text, mistakes) in [
            (valid.clone() + bad, vec![
                format!(
                    "ERROR {keeps} 7, column 1: policies.default.retry: unknown key `max_retrys`, did you mean `max_retries`?"
                ),
                format!(
                    "ERROR {keeps} 11, column 15: providers.q.api_key_env: the variable it names is not set"
                ),
            ]),
            (not_toml.to_owned(), Vec::new()),
            // Regression: the parser of durations panicked.
            (format!("drain = \"18446744073709551615s 1000ms\"\n{valid}"), vec![format!(
                "ERROR {keeps} 1, column 9: drain: expected a duration such as \"30s\" or \"250ms\", \
                 or a number of seconds, found string"
            )]),
            // Regression: calls were rejected from then on, while a start with this file failed.
            (format!("{valid}[store]\nurl = \"redis://{}\"\nmode = \"fail_closed\"\n", unused.addr()), Vec::new()),
        ] {
            fs::write(file.path(), &text).unwrap();
            requests.notify_one();
            reload = next_reload(gateway, &reload).await;
            let lines = logged();
            assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("ERROR")), "{lines:?}");
            assert!(!lines.concat().contains("sk-"), "{lines:?}");
            if !mistakes.is_empty() {
                assert_eq!(lines, mistakes);
            }
            assert_eq!((&reload["result"], &reload["mistakes"]), (&json!("error"), &json!(lines.len())));
            let time = reload["time"].as_str().unwrap();
            assert!(time.ends_with('Z') && time.contains('T'), "{time}");
            assert_eq!(get(gateway, "/healthz").await["status"], "ok");
            assert_eq!(status(gateway, REQUEST).await, 200);
        }
        fs::remove_file(file.path()).unwrap();
        requests.notify_one();
        reload = next_reload(gateway, &reload).await;
        assert_eq!(reload["mistakes"], 1);
        assert!(logged()[0].contains("cannot be read: "));

        let restart = "drain = \"3s\"\nlog = \"json\"\nmax_connections = 7\n".to_owned() + &valid;
        fs::write(file.path(), restart + "[policies.unused]\n").unwrap();
        requests.notify_one();
        reload = next_reload(gateway, &reload).await;
        assert_eq!((&reload["result"], reload.get("mistakes")), (&json!("ok"), None));
        assert_eq!(logged(), [
            "WARN probably a mistake in the configuration layer=\"gateway\" \
             warning=\"line 9, column 1: policies.unused: no route uses it, expected `default`\"",
            "WARN settings are changed by a restart only layer=\"gateway\" \
             settings=\"max_connections, drain, log\"",
            "INFO configuration reloaded layer=\"gateway\" routes=1",
        ]);
    })
    .await;
}

#[tokio::test]
async fn changed_files_are_noticed_however_they_are_replaced() {
    let server = serve(Reply::ok()).await;
    let key = TempFile::new("watched-key", "sk-the-first-of-the-keys");
    let text = |model: &str| {
        format!(
            "providers.p = {{ base_url = \"{}\", dialect = \"openai\", api_key_file = {:?} }}\n",
            server.base_url(),
            key.path()
        ) + &route(model, &["p/m"])
    };
    // As in a ConfigMap of Kubernetes: the file is a link, and the directory of its target is replaced.
    let directory = |name: &str| std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
    let [one, two, current] = ["one", "two", "current"].map(directory);
    for (directory, model) in [(&one, "linked-one"), (&two, "linked-two")] {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("gateway.toml"), text(model)).unwrap();
    }
    let relink = |to: &std::path::Path| {
        let next = current.with_extension("next");
        symlink(to, &next).unwrap();
        fs::rename(&next, &current).unwrap();
    };
    relink(&one);
    let file = current.join("gateway.toml");
    following(file.to_str().unwrap(), async |gateway, _| {
        let served = async |name: &str| chat(gateway, model(name)).send().await.unwrap().status() == 200;
        assert!(served("linked-one").await);
        relink(&two);
        let mut reload = next_reload(gateway, &Value::Null).await;
        assert!(served("linked-two").await && !served("linked-one").await);

        // As editors do: another file takes the name.
        let edited = two.join("edited");
        fs::write(&edited, text("renamed")).unwrap();
        fs::rename(&edited, two.join("gateway.toml")).unwrap();
        reload = next_reload(gateway, &reload).await;
        assert!(served("renamed").await);

        fs::write(key.path(), "sk-the-second-of-the-keys").unwrap();
        reload = next_reload(gateway, &reload).await;
        assert_eq!(reload["result"], "ok");
        assert!(served("renamed").await);
        let authorization = server.log().last().unwrap().headers["authorization"].clone();
        assert_eq!(authorization, "Bearer sk-the-second-of-the-keys");
    })
    .await;
    for directory in [&one, &two] {
        fs::remove_dir_all(directory).unwrap();
    }
    fs::remove_file(&current).unwrap();
}
