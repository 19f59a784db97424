//! The events of the gateway, through a subscriber that the process has one of. Each test looks for values of
//! its own. Those of the program are in `gateway/`.

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use support::*;
use tidegate_testkit::{Provider, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"the-prompt"}]}"#;

/// The events of this process, as lines of JSON.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log, which begins with the first use.
    fn begin() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt().with_env_filter("tidegate_gateway=debug").json();
            subscriber.flatten_event(true).with_target(false).with_writer(move || writer.clone()).init();
            log
        })
    }

    /// Waits for an event with this level, message and fields.
    async fn event(&self, level: &str, message: &str, fields: &Value) -> Value {
        let is_wanted = |line: &Value| {
            (&line["level"], &line["message"], &line["layer"])
                == (&json!(level), &json!(message), &json!("gateway"))
                && fields.as_object().unwrap().iter().all(|(name, value)| line[name] == *value)
        };
        for _ in 0..3_000 {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("the-prompt"), "{text}");
            let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            if let Some(found) = lines.find(is_wanted) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {level} `{message}` with {fields}");
    }
}

#[tokio::test]
async fn alerts_and_changes_by_hand_are_events() {
    let log = Log::begin();
    let provider = Provider::openai().then(Reply::status(500)).otherwise(Reply::status(404));
    let provider = provider.start().await.unwrap();
    let thresholds = r#"{ circuit_open = "0s", clear_after = "0s", interval = "20ms", all_targets = false }"#;
    let file = format!(
        "alerts = {{ webhook = \"{}/chat/completions\", thresholds = {thresholds} }}\n\
         policies.default.circuit_breaker = {{ failure_threshold = 1, cooldown_seconds = 60 }}\n{}{}",
        provider.base_url(),
        openai("p", &provider.base_url()),
        route("*", &["p/alerts"]),
    );
    let gateway = gateway(&file).await;
    chat(&gateway, REQUEST).send().await.unwrap();
    let target = |more: Value| {
        let mut fields = json!({"target": "p/alerts"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let reason = json!({"reason": "p/alerts: circuit not closed for 0s"});
    log.event("WARN", "alert raised", &target(reason)).await;
    let error = json!({"error": "webhook has responded with 404"});
    log.event("WARN", "an alert could not be posted", &target(error)).await;
    client().post(url(&gateway, "/signals/p/alerts/reset")).send().await.unwrap();
    let change = json!({"policy": "default", "action": "reset"});
    log.event("WARN", "changed by hand", &target(change)).await;
    let reason = json!({"reason": "p/alerts: circuit no longer open for 0s"});
    log.event("INFO", "alert cleared", &target(reason)).await;
}

#[tokio::test]
async fn what_a_stop_cuts_and_loses_is_an_event() {
    let log = Log::begin();
    let failing = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let hanging = Provider::openai().otherwise(Reply::text("a b").stall_after(1)).start().await.unwrap();
    let hook = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let thresholds = r#"{ circuit_open = "0s", interval = "20ms", all_targets = false }"#;
    let file = format!(
        "drain = \"100ms\"\nalerts = {{ webhook = \"{}/chat/completions\", thresholds = {thresholds} }}\n\
         policies.default.circuit_breaker = {{ failure_threshold = 1, cooldown_seconds = 60 }}\n{}{}{}{}",
        hook.base_url(),
        openai("failing", &failing.base_url()),
        openai("hanging", &hanging.base_url()),
        route("any", &["failing/m"]),
        route("slow", &["hanging/m"]),
    );
    let gateway = gateway(&file).await;
    chat(&gateway, REQUEST).send().await.unwrap();
    hook.log().in_flight_is(1).await;
    let stream = REQUEST.replacen("{\"model\":\"any\"", "{\"stream\":true,\"model\":\"slow\"", 1);
    let response = chat(&gateway, stream).send().await.unwrap();
    assert_eq!((response.status().as_u16(), gateway.stop().await), (200, 1));
    log.event("WARN", "calls still in flight are cut", &json!({"calls": 1})).await;
    log.event("WARN", "the last alerts may be lost", &json!({})).await;
}

#[tokio::test]
async fn what_may_not_use_the_gateway_and_an_open_gateway_are_events() {
    let log = Log::begin();
    let file = "open = true\n".to_owned() + &openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    let gateway = exposed_gateway(&file).await;
    let message = "everybody who reaches 0.0.0.0:0 can use the keys of the providers";
    log.event("WARN", message, &json!({})).await;
    let request = client().get(format!("http://127.0.0.1:{}/v1/models", gateway.addr().port()));
    assert_eq!(request.header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    let rejected = log.event("DEBUG", "rejected", &json!({"status": 403})).await;
    assert!(rejected["reason"].as_str().unwrap().contains("origin"), "{rejected}");
}

#[tokio::test]
async fn connections_that_end_early_or_break_are_events() {
    let log = Log::begin();
    let file = openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    drop(TcpStream::connect(gateway.addr()).await.unwrap());
    log.event("DEBUG", "connection ended without a request", &json!({})).await;
    let mut socket = TcpStream::connect(gateway.addr()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nno header\r\n\r\n").await.unwrap();
    socket.read_to_end(&mut Vec::new()).await.unwrap();
    log.event("DEBUG", "connection broke", &json!({})).await;
}

/// The limit of descriptors is lowered while the gateway runs: no further connection can be accepted.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_cannot_be_accepted_is_an_event() {
    use std::io::{BufRead, BufReader};
    use std::process::Command;

    let config =
        "notice = \"0s\"\n".to_owned() + &openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    let mut gateway = process::GatewayProcess::start("accept", &config);
    let mut lines = BufReader::new(gateway.stderr()).lines();
    let limit = |files: &str| {
        let id = gateway.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={files}:")]).status();
        assert!(limited.unwrap().success());
    };
    limit("3");
    let _waiting = TcpStream::connect(gateway.addr()).await.unwrap();
    // The process ends with the test, and with it the output that is read.
    let line = tokio::task::spawn_blocking(move || {
        lines.find_map(|line| line.ok().filter(|line| line.contains("cannot accept a connection")))
    });
    let line = tokio::time::timeout(Duration::from_secs(30), line).await.unwrap().unwrap().unwrap();
    assert!(line.contains("failures=1"), "{line}");
}
