//! The signals of the process, and the calls in flight when it is stopped.
#![cfg(unix)]

use std::time::Duration;

use crate::support::process::GatewayProcess;
use crate::support::{self, client, openai, route};
use tidegate_testkit::{Provider, Reply, Server};

const STREAM_REQUEST: &str =
    r#"{"model":"any","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;

async fn provider(reply: Reply) -> (Server, String) {
    let server = Provider::openai().otherwise(reply).start().await.unwrap();
    let routes = ["/v1/chat/completions", "/v1/messages"]
        .map(|path| format!("[[routes]]\npath = {path:?}\nchain = [\"p/m\"]\n"));
    let config = openai("p", &server.base_url()) + &routes.concat();
    (server, config)
}

async fn post(gateway: &GatewayProcess, path: &str) -> reqwest::Response {
    let request = client().post(gateway.url(path)).header("content-type", "application/json");
    request.body(STREAM_REQUEST).send().await.unwrap()
}

#[tokio::test]
async fn a_stop_signal_right_after_the_first_line_is_handled() {
    let config =
        "notice = \"0s\"\n".to_owned() + &openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]);
    for (round, signal) in ["TERM", "INT", "QUIT"].into_iter().cycle().take(12).enumerate() {
        let gateway = GatewayProcess::start(&format!("early-{round}"), &config);
        gateway.signal(signal);
        let (code, log) = gateway.end().await;
        assert_eq!(code, Some(0), "SIG{signal}: {log}");
        assert!(log.contains("stopping"), "{log}");
    }
}

#[tokio::test]
async fn other_signals_do_not_end_the_process() {
    let (_server, config) = provider(Reply::ok()).await;
    let gateway = GatewayProcess::start("ignored", &("notice = \"0s\"\n".to_owned() + &config));
    let of_linux = ["PWR", "STKFLT", "RTMIN", "RTMIN+3", "64"];
    let of_linux = if cfg!(target_os = "linux") { &of_linux[..] } else { &[] };
    for signal in
        ["USR1", "USR2", "ALRM", "PIPE", "IO", "PROF", "VTALRM", "XCPU", "XFSZ"].iter().chain(of_linux)
    {
        gateway.signal(signal);
        assert_eq!(post(&gateway, "/v1/chat/completions").await.status(), 200, "SIG{signal}");
    }
    gateway.signal("TERM");
    let (code, log) = gateway.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("signal ignored") && log.contains("SIGUSR1"), "{log}");
}

#[tokio::test]
async fn a_hangup_is_ignored_without_a_file() {
    let mut gateway = GatewayProcess::demo();
    gateway.signal("HUP");
    let chat = r#"{"model":"demo","messages":[{"role":"user","content":"hello"}]}"#;
    let request =
        client().post(gateway.url("/v1/chat/completions")).header("content-type", "application/json");
    assert_eq!(request.body(chat).send().await.unwrap().status(), 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().await.code(), Some(0));
    let mut log = String::new();
    std::io::Read::read_to_string(&mut gateway.stderr(), &mut log).unwrap();
    assert!(log.contains("signal ignored") && log.contains("SIGHUP"), "{log}");
}

/// The time of the latest reload, once it is later than `before`.
async fn next_reload(gateway: &GatewayProcess, before: &str) -> serde_json::Value {
    for _ in 0..1500 {
        let health = support::json(client().get(gateway.url("/healthz")).send().await.unwrap()).await;
        if health["last_reload"]["time"].as_str().is_some_and(|time| time > before) {
            return health["last_reload"].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the configuration is not reloaded");
}

#[tokio::test]
async fn a_hangup_and_a_renamed_file_reload_the_configuration() {
    let (_server, config) = provider(Reply::ok()).await;
    let config = |model: &str| config.replace("chain =", &format!("model = {model:?}\nchain ="));
    let gateway = GatewayProcess::start("reload", &("notice = \"0s\"\n".to_owned() + &config("one")));
    let serves = async |model: &str| {
        let request = client().post(gateway.url("/v1/chat/completions"));
        let body = STREAM_REQUEST.replace("any", model);
        let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
        response.status() == 200
    };
    assert!(serves("one").await && !serves("two").await);
    // The same file: nothing changes, `--listen` included.
    gateway.signal("HUP");
    let mut reload = next_reload(&gateway, "").await;
    assert!(serves("one").await);
    std::fs::write(gateway.file(), "notice = \"0s\"\n".to_owned() + &config("two")).unwrap();
    gateway.signal("HUP");
    reload = next_reload(&gateway, reload["time"].as_str().unwrap()).await;
    assert!(serves("two").await && !serves("one").await);

    let edited = format!("{}.edited", gateway.file());
    std::fs::write(&edited, "notice = \"0s\"\n".to_owned() + &config("three")).unwrap();
    std::fs::rename(&edited, gateway.file()).unwrap();
    reload = next_reload(&gateway, reload["time"].as_str().unwrap()).await;
    assert!(serves("three").await);

    std::fs::write(gateway.file(), "routes = 1").unwrap();
    reload = next_reload(&gateway, reload["time"].as_str().unwrap()).await;
    assert_eq!(reload["result"], "error");
    assert!(serves("three").await);
    gateway.signal("TERM");
    let (code, log) = gateway.end().await;
    assert_eq!(code, Some(0), "{log}");
    for part in ["configuration reloaded", "ERROR", "the one before stays in use", "stopping"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("restart"), "{log}");
}

#[tokio::test]
async fn during_the_notice_time_the_gateway_is_not_ready_and_accepts_calls() {
    let (_server, config) = provider(Reply::ok()).await;
    let gateway = GatewayProcess::start("notice", &("notice = \"20s\"\n".to_owned() + &config));
    let ready = async || client().get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready().await.status(), 200);
    gateway.signal("TERM");
    let mut draining = ready().await;
    for _ in 0..100 {
        if draining.status() == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        draining = ready().await;
    }
    assert_eq!(
        (draining.status().as_u16(), draining.text().await.unwrap()),
        (503, r#"{"status":"draining"}"#.into())
    );
    assert_eq!(post(&gateway, "/v1/chat/completions").await.status(), 200);
    // A second signal ends the notice time.
    gateway.signal("TERM");
    assert_eq!(gateway.end().await.0, Some(0));
}

#[tokio::test]
async fn streams_that_are_cut_end_in_an_error_event_and_the_exit_code_reports_them() {
    let (server, config) = provider(Reply::ok().stall_after(2)).await;
    let config = "notice = \"0s\"\ndrain = \"200ms\"\n".to_owned() + &config;
    let gateway = GatewayProcess::start("cut", &config);
    let mut responses = Vec::new();
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for path in ["/v1/chat/completions", "/v1/messages"] {
        responses.push((path, post(&gateway, path).await));
        let request = http2.post(gateway.url(path)).header("content-type", "application/json");
        responses.push((path, request.body(STREAM_REQUEST).send().await.unwrap()));
    }
    gateway.signal("TERM");
    for (path, response) in responses {
        let text = response.text().await.unwrap();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        let begin = if path == "/v1/messages" { "event: error\ndata: {\"" } else { "data: {\"error\":{" };
        assert!(last.starts_with(begin), "{path}: {text}");
        assert!(last.contains("the gateway stops") && last.contains("E3002"), "{path}: {last}");
    }
    let (code, log) = gateway.end().await;
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("4 calls were cut"), "{log}");
    server.log().in_flight_is(0).await;
}

#[tokio::test]
async fn a_call_without_a_response_head_is_cut_with_a_503() {
    let (server, config) = provider(Reply::hang()).await;
    let gateway =
        GatewayProcess::start("head", &("notice = \"0s\"\ndrain = \"100ms\"\n".to_owned() + &config));
    let url = gateway.url("/v1/chat/completions");
    let calling = tokio::spawn(
        client().post(url).header("content-type", "application/json").body(STREAM_REQUEST).send(),
    );
    server.log().in_flight_is(1).await;
    gateway.signal("TERM");
    let response = calling.await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (503, &"E3002".parse().unwrap())
    );
    assert_eq!(gateway.end().await.0, Some(3));
}
