//! Mixed load on the program, with callers that leave, providers that fail and restart, exhausted descriptors
//! and a log without a reader. By hand, and for a minute in the gate:
//!
//! ```text
//! SOAK_SECONDS=60 cargo test -p tidegate-gateway --test soak -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::GatewayProcess;
use support::{client, openai};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const POLICY: &str = "
    notice = \"0s\"
    max_connections = 64
    [policies.default]
    retry = { max_retries = 2, initial_delay = \"5ms\", max_delay = \"20ms\" }
    circuit_breaker = { failure_threshold = 20, cooldown_seconds = 1 }
    backpressure = { max_inflight = 16, max_queued = 64 }
    timeout = { attempt = \"5s\", total = \"10s\" }
";

/// The most that resident memory may grow after the first round, in MiB.
const MAX_GROWTH: usize = 48;

const BOUND: Duration = Duration::from_secs(30);

struct Soak {
    gateway: GatewayProcess,
    flaky: Server,
    cutting: Server,
    claude: Server,
    random: u64,
}

impl Soak {
    async fn start(seed: u64) -> Self {
        let flaky = flaky(seed).start().await.unwrap();
        let cutting = Provider::openai().otherwise(Reply::ok().tokens(9).cut_after(4)).start().await.unwrap();
        let claude = Provider::anthropic().otherwise(Reply::ok().tokens(20)).start().await.unwrap();
        let routes = [
            ("flaky", r#"["flaky/m", "claude/m"]"#),
            ("cutting", r#"["cutting/m"]"#),
            ("*", r#"["claude/m"]"#),
        ];
        let routes = ["/v1/chat/completions", "/v1/messages"].map(|path| {
            routes
                .map(|(model, chain)| {
                    format!("[[routes]]\npath = {path:?}\nmodel = {model:?}\nchain = {chain}\n")
                })
                .concat()
        });
        let providers = openai("flaky", &flaky.base_url())
            + &openai("cutting", &cutting.base_url())
            + &format!(
                "providers.claude = {{ base_url = \"{}\", dialect = \"anthropic\" }}\n",
                claude.base_url()
            );
        let config = providers + POLICY + &routes.concat();
        Self { gateway: GatewayProcess::start("soak", &config), flaky, cutting, claude, random: seed }
    }

    /// A number below `bound` (xorshift).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn request(&mut self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        let path = ["/v1/chat/completions", "/v1/messages"][self.random(2) as usize];
        let model = ["flaky", "cutting", "any"][self.random(3) as usize];
        let (is_stream, length) = (self.random(2) == 0, self.random(200_000) as usize);
        let body = format!(
            r#"{{"model":"{model}","stream":{is_stream},"max_tokens":9,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "x".repeat(length)
        );
        client.post(self.gateway.url(path)).header("content-type", "application/json").body(body)
    }

    fn provider_calls(&self) -> usize {
        [&self.flaky, &self.cutting, &self.claude].iter().map(|server| server.log().calls()).sum()
    }

    /// Calls that are read to their end. Their attempts are those that the providers have received.
    async fn counted_calls(&mut self) {
        let (client, before) = (client(), self.provider_calls());
        let mut attempts = 0;
        for _ in 0..8 {
            let mut calls = JoinSet::new();
            for _ in 0..8 {
                calls.spawn(self.request(&client).send());
            }
            while let Some(response) = calls.join_next().await {
                let response = response.unwrap().expect("every call is answered");
                attempts +=
                    response.headers()["x-tidegate-attempts"].to_str().unwrap().parse::<usize>().unwrap();
                let _ = response.bytes().await;
            }
        }
        assert_eq!(attempts, self.provider_calls() - before, "attempts and requests at the providers");
    }

    /// Callers that leave at any moment.
    async fn leaving_callers(&mut self) {
        let client = client();
        let mut calls = JoinSet::new();
        for _ in 0..24 {
            let (call, patience) = (self.request(&client).send(), Duration::from_millis(self.random(40)));
            calls.spawn(timeout(patience, async move { call.await?.bytes().await }));
        }
        for rest in ["", "P", "{\"model\":"] {
            let head = format!("POST /v1/messages HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{rest}");
            let mut caller = TcpStream::connect(self.gateway.addr()).await.unwrap();
            caller.write_all(head.as_bytes()).await.unwrap();
        }
        calls.join_all().await;
    }

    /// Calls while no descriptor is left, and idle connections that take up the rest.
    async fn exhausted_descriptors(&mut self) {
        let original = limit_descriptors(&self.gateway, None);
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.gateway.id())).unwrap().count();
        limit_descriptors(&self.gateway, Some(open as u64 + 3));
        let mut idle = Vec::new();
        for _ in 0..8 {
            idle.push(TcpStream::connect(self.gateway.addr()).await.unwrap());
        }
        let client = client();
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            calls.spawn(timeout(Duration::from_secs(2), self.request(&client).send()));
        }
        calls.join_all().await;
        limit_descriptors(&self.gateway, Some(original));
    }

    /// One provider is away for a while.
    async fn restarted_provider(&mut self, seed: u64) {
        let addr = self.flaky.base_url().split('/').nth(2).unwrap().parse().unwrap();
        let restarting = flaky(seed).start().await.unwrap();
        std::mem::replace(&mut self.flaky, restarting).stop().await;
        let client = client();
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            calls.spawn(self.request(&client).send());
        }
        while let Some(response) = calls.join_next().await {
            let _ = response.unwrap().expect("every call is answered").bytes().await;
        }
        self.flaky = flaky(seed).start_on(addr).await.unwrap();
    }

    /// Waits until nothing is in flight, waits or is held.
    async fn is_quiet(&self) {
        let started = Instant::now();
        loop {
            let signals = client().get(self.gateway.url("/signals")).send().await.unwrap();
            let signals = support::json(signals).await;
            let is_zero = |target: &Value| {
                // An open circuit would only answer the calls of the next round itself.
                target["circuit_state"] != "open"
                    && ["current_inflight", "queued", "rate_waiting"].iter().all(|count| target[count] == 0)
            };
            let is_quiet = signals.as_array().unwrap().iter().all(is_zero)
                && [&self.flaky, &self.cutting, &self.claude]
                    .iter()
                    .all(|server| server.log().in_flight() == 0);
            if is_quiet {
                return;
            }
            assert!(started.elapsed() < BOUND, "something is still in flight: {signals}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn flaky(seed: u64) -> Provider {
    Provider::openai()
        .failing(0.3, seed, Reply::error(503, "server_is_overloaded"))
        .otherwise(Reply::ok().tokens(20))
}

/// Sets the soft limit of descriptors, and returns the one before.
fn limit_descriptors(gateway: &GatewayProcess, limit: Option<u64>) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    if let Some(limit) = limit {
        let args = [format!("--pid={}", gateway.id()), format!("--nofile={limit}:")];
        assert!(std::process::Command::new("prlimit").args(args).status().unwrap().success());
    }
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn resident(gateway: &GatewayProcess) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes SOAK_SECONDS, 10 by default; .ci/run runs it for 60"]
async fn counts_return_to_zero_memory_is_flat_and_no_call_or_attempt_is_lost() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, seed) =
        (number("SOAK_SECONDS", 10), number("SOAK_SEED", u64::from(std::process::id())).max(1));
    println!("SOAK_SEED={seed}");
    let mut soak = Soak::start(seed).await;
    let (started, mut rounds, mut first) = (Instant::now(), 0, 0);
    while started.elapsed() < Duration::from_secs(seconds) || rounds < 2 {
        soak.counted_calls().await;
        soak.leaving_callers().await;
        soak.is_quiet().await;
        soak.exhausted_descriptors().await;
        soak.is_quiet().await;
        soak.restarted_provider(seed + rounds).await;
        soak.is_quiet().await;
        if rounds == 0 {
            first = resident(&soak.gateway);
            drop(soak.gateway.stderr());
        }
        rounds += 1;
    }
    let last = resident(&soak.gateway);
    println!(
        "{rounds} rounds in {:?}, {first} MiB after the first and {last} MiB after the last",
        started.elapsed()
    );
    assert!(last <= first + MAX_GROWTH, "memory grows: {first} MiB, {last} MiB");
    soak.gateway.signal("TERM");
    assert_eq!(soak.gateway.wait().await.code(), Some(0));
}
