//! Processes of their own: this program, started again for one test.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tidegate::RateLimitLayer;
use tidegate::store::Settings;
use tokio::task::JoinSet;

use crate::limits::{Received, excess, spawn_callers, store, within};
use tidegate_testkit::RedisServer;

const URL: &str = "TIDEGATE_TEST_URL";
const LEASES: &str = "TIDEGATE_TEST_LEASES";

const TIME: Duration = Duration::from_secs(4);
const RATE: u32 = 500;
const BURST: u32 = 200;

#[tokio::test]
async fn three_processes_keep_to_one_quota_and_use_it() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    for leases in ["true", "false"] {
        server.clear().await.unwrap();
        let program = std::env::current_exe().unwrap();
        let start = |_| {
            Command::new(&program)
                .args(["--exact", "processes::one_of_the_processes", "--ignored", "--nocapture"])
                .env(URL, server.url())
                .env(LEASES, leases)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let processes: Vec<_> = (0..3).map(start).collect();
        let mut received: Vec<u64> = Vec::new();
        for process in processes {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stdout).unwrap();
            let times = text.lines().filter_map(|line| line.strip_prefix("received "));
            received.extend(times.map(|time| time.parse::<u64>().unwrap()));
        }
        received.sort_unstable();
        let start = Instant::now();
        let times: Vec<_> =
            received.iter().map(|at| start + Duration::from_micros(at - received[0])).collect();
        let excess = excess(&times, RATE.into(), BURST.into());
        let (used, quota) = (within(&times, TIME), f64::from(BURST) + f64::from(RATE) * TIME.as_secs_f64());
        eprintln!("leases {leases}: {used} of {quota}, {excess} above the quota");
        assert!(excess <= 0.0, "leases {leases}: {excess} calls above the quota in one window");
        assert!(used >= 0.95 * quota, "leases {leases}: {used} of {quota}");
    }
}

/// A hundred callers of one process. It prints when each request was received, in microseconds of the system clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test above"]
async fn one_of_the_processes() {
    let (Ok(url), Ok(leases)) = (std::env::var(URL), std::env::var(LEASES)) else { return };
    // Patient, so that a busy machine is no outage.
    let timeout = Duration::from_secs(1);
    let settings = Settings { leases: leases.parse().unwrap(), timeout, ..Settings::default() };
    let layer = RateLimitLayer::per_second(RATE).burst_size(BURST).name("provider/model");
    let (received, mut calls) = (Received::default(), JoinSet::new());
    let (clock, start) = (SystemTime::now(), Instant::now());
    spawn_callers(&mut calls, &layer.store(store(&url, settings)), &received, 100, start + TIME);
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    for at in received.times() {
        let at = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap() + (at - start);
        println!("received {}", at.as_micros());
    }
}
