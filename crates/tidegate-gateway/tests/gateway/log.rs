//! Calls while the log cannot be written.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::process::GatewayProcess;
use crate::support::{self, client, openai, route};
use serde_json::Value;
use tidegate_testkit::{Provider, Reply, Server};

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;

async fn provider() -> (Server, String) {
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let config = "notice = \"0s\"\n".to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    (server, config)
}

async fn call(gateway: &GatewayProcess) -> reqwest::Response {
    let url = gateway.url("/v1/chat/completions");
    client().post(url).header("content-type", "application/json").body(REQUEST).send().await.unwrap()
}

/// A stream that breaks, and what the gateway logs until its end. The second value is the length of the
/// stream.
async fn log_of_a_broken_stream(name: &str, settings: &str, args: &[&str]) -> (String, usize) {
    let server = Provider::openai().otherwise(Reply::text("a b c").cut_after(2)).start().await.unwrap();
    let config = format!("notice = \"0s\"\n{settings}")
        + &openai("p", &server.base_url())
        + &route("*", &["p/m"])
        + "[policies.unused]\n";
    let gateway = GatewayProcess::start_with(name, &config, |command| _ = command.args(args));
    let url = gateway.url("/v1/chat/completions");
    let body = REQUEST.replacen('{', r#"{"stream":true,"#, 1);
    let response =
        client().post(url).header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let length = response.bytes().await.unwrap().len();
    gateway.signal("TERM");
    let (code, log) = gateway.end().await;
    assert_eq!(code, Some(0), "{log}");
    (log, length)
}

#[tokio::test]
async fn each_line_of_a_json_log_is_an_object_with_the_fields_of_its_event() {
    let in_file = log_of_a_broken_stream("json", "log = \"json\"\n", &[]).await;
    let in_argument = log_of_a_broken_stream("argument", "log = \"text\"\n", &["--log", "json"]).await;
    for (log, length) in [in_file, in_argument] {
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        for line in &lines {
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
            assert!(line["level"].is_string() && line["layer"].is_string(), "{line}");
        }
        let line = |message: &str| {
            let found = lines.iter().find(|line| line["message"].as_str().unwrap().contains(message));
            found.unwrap_or_else(|| panic!("{message}: {log}"))
        };
        assert_eq!(line("warning: ")["level"], "WARN");
        assert_eq!(line("stopping")["level"], "INFO");
        let ended = line("response ended");
        assert_eq!((&ended["status"], &ended["attempts"]), (&200.into(), &1.into()));
        let seen = (&ended["end"], &ended["code"], &ended["bytes"], &ended["target"]);
        assert_eq!(seen, (&"cut".into(), &"E3001".into(), &length.into(), &"p/m".into()));
        assert!(ended["head_ms"].as_u64().unwrap() <= ended["total_ms"].as_u64().unwrap());
    }
}

#[tokio::test]
async fn a_text_log_has_the_end_of_a_broken_stream() {
    let (log, length) = log_of_a_broken_stream("text", "", &[]).await;
    let ended = log.lines().find(|line| line.contains("response ended")).expect(&log);
    for part in ["end=\"cut\"", "code=\"E3001\"", &format!("bytes={length}"), "total_ms="] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    assert!(!log.contains("hello"), "{log}");
}

async fn lost_lines(gateway: &GatewayProcess) -> u64 {
    let health = client().get(gateway.url("/healthz")).send().await.unwrap();
    let health: Value = support::json(health).await;
    assert_eq!(health["status"], "ok");
    health["lost_log_lines"].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_log_on_a_full_device_fails_no_call() {
    let (_server, config) = provider().await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut gateway = GatewayProcess::start_with("full", &config, |command| {
        command.stderr(Stdio::from(full));
    });
    for _ in 0..5 {
        assert_eq!(call(&gateway).await.status(), 200);
    }
    let started = Instant::now();
    while lost_lines(&gateway).await < 5 {
        assert!(started.elapsed() < Duration::from_secs(10), "lost lines are not counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_fails_no_call() {
    let (_server, config) = provider().await;
    let mut gateway = GatewayProcess::start("gone", &config);
    drop(gateway.stderr());
    for _ in 0..5 {
        assert_eq!(call(&gateway).await.status(), 200);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait().await.code(), Some(0));
}

/// A pipe takes 64 KiB. At this level a few calls fill it.
#[tokio::test]
async fn a_log_that_nobody_reads_blocks_neither_calls_nor_the_end() {
    let (_server, config) = provider().await;
    let mut gateway = GatewayProcess::start_with("unread", &config, |command| {
        command.env("RUST_LOG", "trace");
    });
    let client = client();
    for _ in 0..200 {
        let request = client.post(gateway.url("/v1/chat/completions"));
        let response = request.header("content-type", "application/json").body(REQUEST).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let stopping = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait().await.code(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    let mut log = String::new();
    gateway.stderr().read_to_string(&mut log).unwrap();
    // Of the sixteen pages of a pipe each is filled by more than half.
    assert!(log.len() >= 32 * 1024, "the pipe was not full: {} bytes", log.len());
}

#[tokio::test]
async fn an_output_that_cannot_be_written_does_not_end_the_program() {
    let (_server, config) = provider().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = support::process::TempFile::new("stdout", &config);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = support::process::program(&["--listen", &port.to_string(), "--config", file.path()])
        .stdout(Stdio::from(full))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _child = support::process::ChildGuard(child);
    let started = Instant::now();
    while client().get(format!("http://{port}/healthz")).send().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "the gateway does not serve");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
