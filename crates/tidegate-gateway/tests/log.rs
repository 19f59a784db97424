//! Calls while the log cannot be written.
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::GatewayProcess;
use support::{client, openai, route};
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
    assert!(lost_lines(&gateway).await >= 5);
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
    assert!(log.len() >= 60 * 1024, "the pipe was not full: {} bytes", log.len());
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
