//! The metrics of the gateway. In a process of its own, since it has one recorder.

mod support;

use support::{chat, client, gateway, openai, route, url};
use tidegate_gateway::{Config, Gateway, PrometheusMetrics, RecorderInstalled};
use tidegate_testkit::{Provider, Reply};

const REQUEST: &str = r#"{"model":"sonar-7","messages":[{"role":"user","content":"the prompt"}]}"#;

#[tokio::test]
async fn metrics_are_served_where_they_are_asked_for() {
    let metrics = PrometheusMetrics::install().unwrap();
    assert_eq!(PrometheusMetrics::install().unwrap_err(), RecorderInstalled);
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let up = Provider::openai().start().await.unwrap();
    let file = openai("down", &down.base_url())
        + &openai("up", &up.base_url())
        + "policies.default.circuit_breaker.failure_threshold = 1\n"
        + "policies.default.retry.max_retries = 0\n"
        + "policies.default.backpressure.max_inflight = 9\n"
        + &route("*", &["down/m", "up/m"]);
    let mut config = Config::parse(&file, support::env).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    let served = Gateway::new(config).unwrap().metrics(metrics).bind().await.unwrap();
    for _ in 0..2 {
        let request = chat(&served, REQUEST).bearer_auth("the-key-of-the-caller");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let response = client().get(url(&served, "/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "# TYPE tidegate_calls_total counter",
        r#"tidegate_attempts_total{target="down/m",code="E3002"} 1"#,
        r#"tidegate_attempts_total{target="up/m",code="ok"} 2"#,
        r#"tidegate_rejections_total{target="down/m",layer="circuit_breaker",reason="circuit open"} 1"#,
        r#"tidegate_fallbacks_total{target="up/m",kind="alternative_model"} 2"#,
        r#"tidegate_circuit_transitions_total{target="down/m",kind="open"} 1"#,
        r#"tidegate_circuit_state{target="down/m",policy="default"} 2"#,
        r#"tidegate_circuit_state{target="up/m",policy="default"} 0"#,
        r#"gen_ai_client_operation_duration_seconds_count{target="up/m"} 2"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is missing in\n{text}");
    }
    for secret in ["the prompt", "the-key-of-the-caller", "sonar-7"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }

    // A reload is counted, and the gauges of targets that have gone do not stay.
    let reloads =
        |result, count| format!("tidegate_gateway_config_reloads_total{{result=\"{result}\"}} {count}");
    assert!(text.contains(&reloads("ok", 0)) && text.contains(&reloads("error", 0)), "{text}");
    assert!(
        text.contains("# HELP tidegate_gateway_config_reloads_total Reloads of the gateway's configuration")
    );
    assert!(text.contains(r#"tidegate_inflight_limit{target="up/m",policy="default"} 9"#), "{text}");
    let rest = openai("up", &up.base_url()) + &route("*", &["up/m"]);
    served.reload(Config::parse(&rest, support::env).unwrap()).unwrap();
    let text = client().get(url(&served, "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&reloads("ok", 1)) && text.contains(&reloads("error", 0)), "{text}");
    assert!(text.contains(r#"tidegate_admits_calls{target="up/m",policy="default"} 1"#), "{text}");
    assert!(!text.contains(r#"tidegate_admits_calls{target="down/m""#), "{text}");
    for gone in ["tidegate_circuit_state{", "tidegate_inflight_limit{"] {
        assert!(!text.contains(gone), "a part that is gone has no {gone}: {text}");
    }
    assert!(text.contains(r#"tidegate_attempts_total{target="down/m",code="E3002"} 1"#), "{text}");

    // Without `Gateway::metrics` there is no page.
    let silent = gateway(&file).await;
    let response = client().get(url(&silent, "/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("this gateway serves no metrics"));
}
