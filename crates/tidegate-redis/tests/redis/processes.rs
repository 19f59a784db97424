//! Processes of their own: this program, started again for one test.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tidegate::RateLimitLayer;
use tidegate::store::Settings;
use tokio::task::JoinSet;

use crate::limits::{Lateness, Received, excess, spawn_callers, store, within};
use tidegate_testkit::RedisServer;

const URL: &str = "TIDEGATE_TEST_URL";
const LEASES: &str = "TIDEGATE_TEST_LEASES";

const TIME: Duration = Duration::from_secs(4);
const RATE: u32 = 500;
const BURST: u32 = 200;

/// Patient, so that a busy machine is no outage.
const TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn three_processes_keep_to_one_quota_and_use_it() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    // What refills until the latest reply is held back, at most half of the burst.
    let held_back = (f64::from(RATE) * TIMEOUT.as_secs_f64()).min(f64::from(BURST) / 2.0);
    let quota = f64::from(BURST) - held_back + f64::from(RATE) * TIME.as_secs_f64();
    for leases in ["true", "false"] {
        // A machine that is busy with other work may leave too little time to use the quota, and never
        // exceeds it.
        let mut shares = Vec::new();
        while shares.len() < 3 && shares.last().is_none_or(|share| *share < 0.95) {
            server.clear().await.unwrap();
            let used = play(&server, leases);
            eprintln!("leases {leases}: {used} of {quota}");
            shares.push(used / quota);
        }
        assert!(shares.last().is_some_and(|share| *share >= 0.95), "leases {leases}: {shares:?}");
    }
}

/// Starts three processes, and returns the calls that they made in their time.
fn play(server: &RedisServer, leases: &str) -> f64 {
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
    let (mut received, mut late): (Vec<u64>, Vec<u64>) = Default::default();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("received", time)) => received.push(time.parse().unwrap()),
                Some(("late", time)) => late.push(time.parse().unwrap()),
                _ => {}
            }
        }
    }
    received.sort_unstable();
    let late = Duration::from_micros(late.into_iter().max().unwrap());
    let start = Instant::now();
    let times: Vec<_> = received.iter().map(|at| start + Duration::from_micros(at - received[0])).collect();
    let excess = excess(&times, RATE.into(), BURST.into());
    let allowed = f64::from(RATE) * late.as_secs_f64();
    assert!(
        excess <= allowed,
        "leases {leases}: {excess} calls above the quota in one window, late by {late:?}"
    );
    within(&times, TIME)
}

/// A hundred callers of one process. It prints when each request was received, in microseconds of the system
/// clock, and by how much the machine was late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test above as a process of its own, also in `.ci/run`"]
async fn one_of_the_processes() {
    let (Ok(url), Ok(leases)) = (std::env::var(URL), std::env::var(LEASES)) else { return };
    let settings = Settings { leases: leases.parse().unwrap(), timeout: TIMEOUT, ..Settings::default() };
    let layer = RateLimitLayer::per_second(RATE).burst_size(BURST).name("provider/model");
    let (received, mut calls, lateness) = (Received::default(), JoinSet::new(), Lateness::measure());
    let (clock, start) = (SystemTime::now(), Instant::now());
    spawn_callers(&mut calls, &layer.store(store(&url, settings)), &received, 100, start + TIME);
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    println!("late {}", lateness.most().as_micros());
    for at in received.times() {
        let at = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap() + (at - start);
        println!("received {}", at.as_micros());
    }
}
