//! Request bodies that are many, slow or large.
#![cfg(unix)]

use std::time::{Duration, Instant};

use crate::support::process::GatewayProcess;
use crate::support::*;
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);

/// A request for a chat completion with about `length` bytes.
fn long_request(length: usize) -> String {
    format!(r#"{{"model":"any","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(length))
}

/// Sends a part of a request body, and no more.
async fn half_sent(gateway: &RunningGateway, sent: usize, length: usize) -> TcpStream {
    let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(&vec![b' '; sent]).await.unwrap();
    caller
}

#[tokio::test]
async fn request_bodies_beyond_the_budget_are_rejected_with_retry_after() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = "body_limit = 1_000_000\nbody_budget = 1_000_000\n".to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let call = async || chat(&gateway, long_request(300_000)).send().await.unwrap();
    // Announced bytes do not count.
    let announced = [half_sent(&gateway, 0, 900_000).await, half_sent(&gateway, 0, 900_000).await];
    assert_eq!(call().await.status(), 200);
    let (mut held, started) = (Vec::new(), Instant::now());
    let rejected = loop {
        // While a call is in flight, one of these may be the body that is rejected.
        held.push(half_sent(&gateway, 400_000, 900_000).await);
        let response = call().await;
        if response.status() != 200 {
            break response;
        }
        assert!(started.elapsed() < BOUND, "the budget is not used up");
    };
    assert_eq!(
        (rejected.status().as_u16(), &rejected.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(rejected.headers()["x-tidegate-code"], "E3002");
    drop((announced, held));
    while call().await.status() != 200 {
        assert!(started.elapsed() < BOUND, "the budget is not released");
    }
}

/// Regression: the connection was reset while the caller still sent, and the response to it was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_sends_its_whole_body_first_reads_why_it_is_rejected() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let limit = "rate_limiter = { requests_per_minute = 1 }";
    let file = openai("p", &provider.base_url())
        + &route("*", &["p/m"])
        + &CALLERS.replacen("\"ANN_KEY\"", &format!("\"ANN_KEY\"\n{limit}"), 1);
    let gateway = gateway(&file).await;
    // A refused call uses up the limit of refused calls.
    assert_eq!(chat(&gateway, "x").bearer_auth(ANN_KEY).send().await.unwrap().status(), 400);
    let (ann, ben) = (format!("authorization: Bearer {ANN_KEY}"), format!("authorization: Bearer {BEN_KEY}"));
    for length in [1, 8, 24].map(|mebibytes: usize| mebibytes * 1024 * 1024) {
        for (path, header, status) in [
            ("/v1/chat/completions", "x-none: 1".to_owned(), 401),
            ("/v1/chat/completions", format!("{ben}\r\ncontent-encoding: none"), 415),
            ("/v1/chat/completions", format!("{ben}\r\ncontent-type: text/plain"), 415),
            ("/v1/chat/completions", ann.clone(), 429),
            ("/v1/embeddings", ben.clone(), 404),
            ("/v1/none", ben.clone(), 404),
        ] {
            let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{header}\r\ncontent-length: {length}\r\n\r\n"
            );
            caller.write_all(head.as_bytes()).await.unwrap();
            timeout(BOUND, caller.readable()).await.expect("a response before the body").unwrap();
            for _ in 0..16 {
                let sent = caller.write_all(&vec![b' '; length / 16]).await;
                sent.unwrap_or_else(|error| panic!("{path} {header} {length}: {error}"));
            }
            let mut response = [0; 12];
            let read = timeout(BOUND, caller.read_exact(&mut response)).await.expect("a response");
            read.unwrap_or_else(|error| panic!("{path} {header} {length}: {error}"));
            assert_eq!(response, *format!("HTTP/1.1 {status}").as_bytes(), "{path} {header}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_slower_than_the_minimum_rate_is_rejected() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let mut caller = half_sent(&gateway, 10, 1000).await;
    let mut response = Vec::new();
    let _ = timeout(BOUND, caller.read_to_end(&mut response)).await.expect("well before two minutes");
    let response = String::from_utf8(response).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 408 ") && response.contains("16384 bytes per second"),
        "{response}"
    );
}

#[tokio::test]
async fn a_body_above_the_limit_of_translation_reaches_only_targets_of_the_callers_dialect() {
    let claude = Provider::anthropic().otherwise(Reply::ok()).start().await.unwrap();
    let gpt = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = format!(
        "translated_body_limit = 1_000_000\n\
         providers.claude = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n",
        claude.base_url()
    ) + &openai("gpt", &gpt.base_url())
        + &route("claude", &["claude/m"])
        + &route("*", &["claude/m", "gpt/m"]);
    let gateway = gateway(&file).await;
    let response = chat(&gateway, long_request(2_000_000)).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-target"]),
        (200, &"gpt/m".parse().unwrap())
    );
    let alone = long_request(2_000_000).replace("any", "claude");
    assert_eq!(chat(&gateway, alone).send().await.unwrap().status(), 413);
    assert_eq!((claude.log().calls(), gpt.log().calls()), (0, 1));
    // One that is translated on another thread.
    assert_eq!(chat(&gateway, long_request(900_000)).send().await.unwrap().status(), 200);
    assert_eq!(claude.log().calls(), 1);
}

/// A request that is a multiple of its size once it is parsed.
fn many_messages(length: usize) -> String {
    const MESSAGE: &str = r#"{"role":"user","content":"hi"},{"role":"assistant","content":""},"#;
    let messages = MESSAGE.repeat(length / MESSAGE.len());
    format!(r#"{{"model":"any","messages":[{messages}{{"role":"user","content":"?"}}]}}"#)
}

/// Attack M5 of the field: 31 MB of tiny messages took a runtime thread for 1.4 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn translations_of_many_messages_leave_the_runtime_free() {
    let claude = Provider::anthropic().otherwise(Reply::ok()).start().await.unwrap();
    let config = format!(
        "notice = \"0s\"\nproviders.claude = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n",
        claude.base_url()
    ) + &route("*", &["claude/m"]);
    // All calls share one thread.
    let gateway = GatewayProcess::start_with("thread", &config, |command| {
        command.env("TOKIO_WORKER_THREADS", "1");
    });
    let call = |length: usize| {
        let request = client().post(gateway.url("/v1/chat/completions"));
        request.header("content-type", "application/json").body(many_messages(length)).send()
    };
    assert_eq!(call(31_000_000).await.unwrap().status(), 413);
    let client = client();
    let mut busy = Vec::new();
    // The machine may have other load.
    while busy.len() < 3 && busy.last().is_none_or(|share| *share >= 1.0 / 3.0) {
        let started = Instant::now();
        let call = tokio::spawn(call(4_000_000));
        let mut longest = Duration::ZERO;
        while !call.is_finished() {
            let asked = Instant::now();
            client.get(gateway.url("/healthz")).send().await.unwrap();
            longest = longest.max(asked.elapsed());
        }
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
        busy.push(longest.as_secs_f64() / started.elapsed().as_secs_f64());
    }
    println!("{busy:?}");
    assert!(busy.last().is_some_and(|share| *share < 1.0 / 3.0), "the thread was busy: {busy:?}");
}

/// ... and 28 times its memory, as often as callers liked.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_translations_does_not_grow_with_their_number() {
    let claude = Provider::anthropic().otherwise(Reply::ok()).start().await.unwrap();
    let config = format!(
        "notice = \"0s\"\nproviders.claude = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n",
        claude.base_url()
    ) + &route("*", &["claude/m"]);
    let gateway = GatewayProcess::start("messages", &config);
    let client = client();
    let calls = async |count: usize| {
        let calls = (0..count).map(|_| {
            let request = client.post(gateway.url("/v1/chat/completions"));
            request.header("content-type", "application/json").body(many_messages(1_000_000)).send()
        });
        for response in futures_util::future::join_all(calls).await {
            assert_eq!(response.unwrap().status(), 200);
        }
        memory(gateway.id(), "VmHWM")
    };
    let before = memory(gateway.id(), "VmRSS");
    let one = calls(1).await - before;
    let processors = std::thread::available_parallelism().unwrap().get();
    let count = 16 * processors;
    let many = calls(count).await - before;
    println!("{one} MiB for one call, {many} MiB for {count}");
    // What runs at once, and the bodies with their translations.
    assert!(many < one * (processors + 1) + 4 * count, "{one} MiB for one call, {many} MiB for {count}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_returned_after_a_burst_of_large_bodies() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let config = "notice = \"0s\"\n".to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = GatewayProcess::start("memory", &config);
    let burst = async || {
        let client = client();
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let request = client.post(gateway.url("/v1/chat/completions"));
                let request = request.header("content-type", "application/json");
                tokio::spawn(request.body(long_request(8 * 1024 * 1024)).send())
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
    };
    let before = resident(gateway.id());
    for _ in 0..3 {
        burst().await;
    }
    let started = Instant::now();
    let mut after = resident(gateway.id());
    while after > before + 64 && started.elapsed() < BOUND {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The allocator returns memory while it is used.
        client().get(gateway.url("/healthz")).send().await.unwrap();
        after = resident(gateway.id());
    }
    assert!(after <= before + 64, "{before} MiB before and {after} MiB after");
}

/// The resident memory of a process in MiB.
#[cfg(target_os = "linux")]
fn resident(id: u32) -> usize {
    memory(id, "VmRSS")
}

/// A field of the memory of a process in MiB.
#[cfg(target_os = "linux")]
fn memory(id: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}
