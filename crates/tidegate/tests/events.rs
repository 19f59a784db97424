//! Every decision as an event and as a value. In a process of its own: tracing caches whether an event has a
//! subscriber, and a thread without one may cache that at the same moment.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate::backpressure::{Limit, Round};
use tidegate::circuit_breaker::Handle;
use tidegate::events::{self, Event as Decided, Subscription};
use tidegate::hedge::HedgeLayer;
use tidegate::provider::{HttpService, ModelCapabilities, ModelCatalog, Requirements};
use tidegate::rate_limit::OnLimit;
use tidegate::retry::{Jitter, Strategy};
use tidegate::translators::StreamContinuation;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Error, FallbackLayer, KeyBy, Payload, RateLimitLayer,
    ResilienceBuilder, RetryLayer, Tenant,
};
use tidegate_testkit::strict::{self, Answer};
use tower::{Layer, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Seed items 24, 41 and 85: the name of a breaker is a field of its events. Here, events have levels and
/// fields in common, and one logger per name is a filter of the program.
#[tokio::test(start_paused = true)]
async fn the_events_of_a_breaker_have_its_name_as_a_field() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (inner, provider) = strict::service();
    let layer = CircuitBreakerLayer::new()
        .failure_threshold(1)
        .slow_call_threshold(Duration::from_secs(2))
        .cooldown(Duration::from_secs(60))
        .name("openai/gpt-4o");
    let request = || Request::post("http://provider.test/v1/any").body(Payload::empty()).unwrap();
    let (circuit, service): (Handle, _) = (layer.handle(), layer.layer(inner));
    provider.answer(200).after(Duration::from_secs(2));
    provider.answer(503);
    for _ in 0..2 {
        drop(service.clone().oneshot(request()).await.unwrap());
    }
    assert!(service.clone().oneshot(request()).await.is_err());
    circuit.reset();
    let breaker = "layer=circuit_breaker target=openai/gpt-4o";
    assert_eq!(
        log.lines(),
        [
            format!("DEBUG attempt succeeded {breaker} attempt=1 head_ms=2000"),
            format!("WARN attempt was slow {breaker} attempt=1 head_ms=2000"),
            format!("WARN attempt failed {breaker} attempt=1 code=E3002 kind=response head_ms=0"),
            format!("ERROR circuit opened {breaker} state=open reason=1 consecutive E3002 cooldown_ms=60000"),
            format!(
                "WARN circuit rejected an attempt {breaker} code=E3002 wait_ms=60000 reason=circuit open"
            ),
            format!("INFO circuit changed {breaker} state=closed reason=reset"),
        ]
    );
}

const SECOND: Duration = Duration::from_secs(1);
const SECRET: &str = "sk-secret";

type AddGate = fn(ResilienceBuilder) -> ResilienceBuilder;

fn chat(stream: bool, needs_tools: bool) -> Request<Payload> {
    let mut body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": SECRET}]});
    if needs_tools {
        body["tools"] = json!([{"type": "function", "function": {"name": "tide"}}]);
    }
    Request::post("http://provider.test/v1/chat/completions")
        .header("authorization", format!("Bearer {SECRET}"))
        .extension(Tenant(SECRET.into()))
        .body(Payload::from(body.to_string()))
        .unwrap()
}

/// Makes one call, to the last byte of its response.
async fn call<S>(service: &S, request: Request<Payload>) -> Result<u16, Error>
where
    S: HttpService<Payload> + Clone,
    S::Error: Into<BoxError>,
{
    let response = service.clone().oneshot(request).await.map_err(Error::boxed)?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(Error::boxed)?;
    Ok(status)
}

/// The events so far as JSON, without their times.
fn decided(events: &mut Subscription<Decided>) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some(event) = events.try_next() {
        let mut value = serde_json::to_value(&event).unwrap();
        let at = value.as_object_mut().unwrap().remove("at").unwrap();
        assert_eq!(at.as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
        assert!(!value.to_string().contains(SECRET), "{value}");
        values.push(value);
    }
    values
}

#[tokio::test(start_paused = true)]
async fn hedges_and_their_spent_budget_are_events() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (inner, provider) = strict::service();
    let stack =
        ResilienceBuilder::new("a/hedge").hedge(HedgeLayer::new().min_delay(2 * SECOND)).service(inner);
    let slow = |seconds| {
        Answer::status(200).after(seconds * SECOND).body(r#"{"choices":[{"message":{"content":"Low."}}]}"#)
    };
    for _ in 0..50 {
        provider.then(slow(1));
        call(&stack, chat(false, false)).await.unwrap();
    }
    let before = log.lines().len();
    let mut events = stack.signals().subscribe();
    for [first, second] in [[9, 1], [4, 9], [9, 1]] {
        provider.then(slow(first));
        provider.then(slow(second));
        call(&stack, chat(false, false)).await.unwrap();
        provider.clear();
    }
    let of = |decision| json!({"target": "a/hedge", "decision": decision, "layer": "hedge"});
    let hedged = json!({"target": "a/hedge", "decision": "hedged", "layer": "hedge", "wait_ms": 2_000});
    let expected = [hedged.clone(), of("hedge_won"), hedged, of("hedge_lost"), of("hedge_denied")];
    assert_eq!(decided(&mut events), expected);
    let hedged = "DEBUG sending a late request once more layer=hedge target=a/hedge wait_ms=2000";
    let won = "DEBUG hedge won layer=hedge target=a/hedge";
    let lost = "DEBUG hedge lost layer=hedge target=a/hedge";
    let denied = "DEBUG hedge budget is used up layer=hedge target=a/hedge";
    assert_eq!(log.lines()[before..], [hedged, won, hedged, lost, denied]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_and_a_spent_budget_are_events() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (inner, provider) = strict::service();
    let retry = RetryLayer::new(Strategy::Fixed)
        .initial_delay(SECOND / 100)
        .jitter(Jitter::None)
        .max_retries(5)
        .budget(0.0, 1);
    let stack = ResilienceBuilder::new("a/retry").retry(retry).service(inner);
    let mut events = stack.signals().subscribe();
    for _ in 0..6 {
        provider.answer(503);
    }
    assert_eq!(call(&stack, chat(false, false)).await.unwrap(), 503);
    let lines = log.lines();
    let retried = |attempt| {
        json!({
            "target": "a/retry", "decision": "retried", "layer": "retry", "attempt": attempt, "code": "E3002",
            "wait_ms": 10,
        })
    };
    let denied = json!({"target": "a/retry", "decision": "retry_denied", "layer": "retry"});
    let decided = decided(&mut events);
    let count = decided.len();
    assert!(count > 1, "{decided:?}");
    for (index, value) in decided.into_iter().enumerate() {
        assert_eq!(value, if index + 1 == count { denied.clone() } else { retried(index + 1) });
        let line = match index + 1 {
            last if last == count => "DEBUG retry budget is used up layer=retry target=a/retry".to_owned(),
            attempt => {
                format!("DEBUG retrying layer=retry target=a/retry attempt={attempt} code=E3002 wait_ms=10")
            }
        };
        assert_eq!(lines[index], line);
    }
}

/// Of every gate, with its key; of a circuit in shadow mode as well.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_an_event_with_the_key_of_its_gate() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let circuit = || CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::tenant());
    let cases: [(_, &str, AddGate); 3] = [
        ("rate_limit", "rate limit reached", |stack| {
            let limit = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
            stack.rate_limit(limit.key_by(KeyBy::tenant()))
        }),
        ("backpressure", "too many calls in flight, and the queue is full", |stack| {
            let limit = BackpressureLayer::max_inflight(1).max_queued(0);
            stack.backpressure(limit.key_by(KeyBy::tenant()))
        }),
        ("circuit_breaker", "circuit open", |stack| {
            let circuit = CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::tenant());
            stack.circuit_breaker(circuit)
        }),
    ];
    for (layer, reason, gate) in cases {
        let (inner, provider) = strict::service();
        let target = format!("a/{layer}");
        let stack = gate(ResilienceBuilder::new(&target)).service(inner);
        provider.answer(503).body("{}");
        let first = stack.clone().oneshot(chat(false, false)).await.unwrap();
        let _held = if layer == "backpressure" { Some(first) } else { None };
        let key = stack.signals().keys(1)[0].key.unwrap();
        let mut events = stack.signals().subscribe();
        call(&stack, chat(false, false)).await.unwrap_err();
        let decided = decided(&mut events);
        let [value] = &decided[..] else { panic!("{decided:?}") };
        assert_eq!(value["decision"], "rejected");
        assert_eq!(
            (&value["layer"], &value["reason"], &value["attempt"]),
            (&json!(layer), &json!(reason), &json!(1))
        );
        assert_eq!(value["key"], key.to_string());
        let line = log.lines().pop().unwrap();
        assert!(line.contains(&format!(" layer={layer} target={target} key={key} code=")), "{line}");
    }

    let (inner, provider) = strict::service();
    let layer = circuit().shadow(true).name("a/shadow");
    let (service, mut events) = (layer.layer(inner), events::subscribe_to("a/shadow"));
    provider.answer(503);
    for _ in 0..2 {
        call(&service, chat(false, false)).await.unwrap();
    }
    let decided = decided(&mut events);
    let shadow = decided.iter().find(|value| value["decision"] == "admitted_in_shadow").expect("an event");
    assert_eq!((&shadow["code"], &shadow["wait_ms"]), (&json!("E3002"), &json!(30_000)));
    let expected = format!(
        "DEBUG would have rejected: circuit open for another 30s layer=circuit_breaker target=a/shadow key={}",
        shadow["key"].as_str().unwrap()
    );
    assert!(log.lines().contains(&expected), "{:?}", log.lines());
}

/// Seed items 24, 25 and 41.
#[tokio::test(start_paused = true)]
async fn a_circuit_with_keys_has_the_key_in_its_events_its_results_and_its_transitions() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (inner, provider) = strict::service();
    let layer = CircuitBreakerLayer::new()
        .failure_threshold(1)
        .slow_call_threshold(SECOND)
        .key_by(KeyBy::tenant())
        .name("a/circuit");
    let (circuit, service) = (layer.handle(), layer.layer(inner));
    let (mut events, mut texts) = (events::subscribe_to("a/circuit"), events::subscribe_to("a/circuit"));
    let (mut calls, mut changes) = (circuit.subscribe_to_calls(), circuit.subscribe());
    provider.answer(503).body("four").after(SECOND);
    assert_eq!(call(&service, chat(false, false)).await.unwrap(), 503);
    for fields in [
        r#""decision":"attempt_ended","layer":"circuit_breaker","attempt":1,"success":false,"slow":true,"code":"E3002","kind":"response","bytes":0,"head_ms":1000}"#,
        r#""decision":"circuit_changed","layer":"circuit_breaker","reason":"1 consecutive E3002","from":"closed","state":"open","cooldown_ms":30000}"#,
    ] {
        let text = serde_json::to_string(&texts.try_next().unwrap()).unwrap();
        assert!(text.ends_with(fields), "{text}");
    }
    let (result, change) = (calls.try_next().unwrap(), changes.try_next().unwrap());
    let key = result.key.expect("a key");
    assert_eq!((change.key, result.attempt, result.slow), (Some(key), 1, true));
    let expected = [
        json!({
            "target": "a/circuit", "key": key.to_string(), "decision": "attempt_ended",
            "layer": "circuit_breaker", "attempt": 1, "success": false, "slow": true, "code": "E3002", "kind": "response",
            "bytes": 0, "head_ms": 1000,
        }),
        json!({
            "target": "a/circuit", "key": key.to_string(), "decision": "circuit_changed",
            "layer": "circuit_breaker", "from": "closed", "state": "open", "reason": "1 consecutive E3002",
            "cooldown_ms": 30_000,
        }),
    ];
    assert_eq!(decided(&mut events), expected);
    let fields = format!("layer=circuit_breaker target=a/circuit key={key}");
    assert_eq!(
        log.lines(),
        [
            format!("WARN attempt failed {fields} attempt=1 code=E3002 kind=response head_ms=1000"),
            format!("WARN attempt was slow {fields} attempt=1 head_ms=1000"),
            format!("ERROR circuit opened {fields} state=open reason=1 consecutive E3002 cooldown_ms=30000"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_fallback_a_skipped_target_and_a_continued_stream_are_events() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let mut events = events::subscribe();
    let ((first, provider), (second, other), (small, _)) =
        (strict::service(), strict::service(), strict::service());
    let chain = FallbackLayer::new()
        .then_addressed("b/small", small)
        .then_addressed("b/second", second)
        .models(SmallWithoutTools)
        .continue_streams(StreamContinuation);
    let stack = ResilienceBuilder::new("b/first").fallback(chain).service(first);
    provider.answer(503);
    other
        .answer(200)
        .header("content-type", "application/json")
        .body(r#"{"choices":[{"message":{"content":"Low."}}]}"#);
    call(&stack, chat(false, true)).await.unwrap();
    let stream = |provider: &strict::Handle| provider.answer(200).header("content-type", "text/event-stream");
    let chunk = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    stream(&provider).frame(chunk("Low ")).break_off("connection reset");
    let done = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    stream(&other).frame(chunk("tide")).frame(done);
    call(&stack, chat(true, true)).await.unwrap();
    // Other tests have chains as well.
    let of_b = |value: &Value| value["target"].as_str().is_some_and(|target| target.starts_with("b/"));
    let of_chain: Vec<_> = decided(&mut events)
        .into_iter()
        .filter(|value| value["layer"] == "fallback" && of_b(value))
        .collect();
    let skipped = json!({
        "target": "b/small", "decision": "skipped", "layer": "fallback",
        "lack": "calls no tools",
    });
    let fell_back = json!({
        "target": "b/second", "decision": "fell_back", "layer": "fallback", "kind": "alternative_model",
        "code": "E3002",
    });
    let continued =
        json!({"target": "b/second", "decision": "continued", "layer": "fallback", "code": "E3001"});
    assert_eq!(of_chain, [skipped.clone(), fell_back, skipped, continued]);
    let mut lines = log.lines();
    lines.retain(|line| line.contains("layer=fallback"));
    let skipped = "INFO passing over a target layer=fallback target=b/small lack=calls no tools";
    assert_eq!(
        lines,
        [
            skipped,
            "INFO calling another target layer=fallback target=b/second code=E3002",
            skipped,
            "INFO continuing at another target layer=fallback target=b/second code=E3001",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_target_is_an_event() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let ((first, provider), (second, other)) = (strict::service(), strict::service());
    let chain = FallbackLayer::new().then_addressed("w/second", second).seed(7);
    let stack = ResilienceBuilder::new("w/first")
        .total_timeout(Duration::from_secs(60))
        .fallback(chain)
        .service(first);
    provider.answer(429).header("retry-after", "9");
    other.answer(429).header("retry-after", "5");
    let mut events = events::subscribe_to("w/second");
    call(&stack, chat(false, false)).await.unwrap();
    let waiting: Vec<_> =
        decided(&mut events).into_iter().filter(|value| value["decision"] == "waiting").collect();
    let [waiting] = &waiting[..] else { panic!("{waiting:?}") };
    let wait = waiting["wait_ms"].as_u64().unwrap();
    assert!((5000..=5500).contains(&wait), "{wait}");
    let expected = json!({"target": "w/second", "decision": "waiting", "layer": "fallback", "wait_ms": wait});
    assert_eq!(*waiting, expected);
    let line = format!("INFO all targets cool down, waiting layer=fallback target=w/second wait_ms={wait}");
    assert!(log.lines().contains(&line), "{:?}", log.lines());
}

/// A catalogue in which `b/small` calls no tools.
struct SmallWithoutTools;

impl ModelCatalog for SmallWithoutTools {
    fn capabilities(&self, target: &str) -> Option<ModelCapabilities> {
        Some(ModelCapabilities { tools: Some(target != "b/small"), ..ModelCapabilities::default() })
    }

    fn requirements(&self, _: &[u8]) -> Requirements {
        Requirements { tools: true, ..Requirements::default() }
    }
}

/// An adaptive limit that halves with each loss.
#[derive(Clone, Debug)]
struct HalveOnLoss;

impl Limit for HalveOnLoss {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost { limit / 2.0 } else { limit }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_moves_is_an_event() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (inner, provider) = strict::service();
    let layer = BackpressureLayer::max_inflight(16).adaptive(HalveOnLoss).name("c/limit");
    let (service, mut events) = (layer.layer(inner), events::subscribe_to("c/limit"));
    provider.answer(503);
    call(&service, chat(false, false)).await.unwrap();
    let moved = json!({"target": "c/limit", "decision": "limit_moved", "layer": "backpressure", "limit": 4});
    assert_eq!(decided(&mut events), [moved]);
    assert_eq!(log.lines(), ["DEBUG limit moved layer=backpressure target=c/limit limit=4"]);
}

/// Over a real connection, without paused time.
#[cfg(feature = "hyper-util")]
#[tokio::test]
async fn a_request_that_is_sent_again_is_an_event() {
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tidegate::Trail;
    use tidegate_testkit::{ConnectionServer, Reaction};

    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let server = ConnectionServer::http1([Reaction::Answer, Reaction::Close]).await.unwrap();
    let client = |idle| Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build_http();
    let client = tidegate::reconnect::Reconnect::new(client(usize::MAX), client(0));
    let mut events = events::subscribe_to("c/resend");
    for _ in 0..2 {
        let trail = Trail::new();
        trail.enter(&"c/resend".into());
        let url = format!("{}/chat/completions", server.base_url());
        let request = Request::post(url).extension(trail).body(Payload::from("{}")).unwrap();
        call(&client, request).await.unwrap();
    }
    let reason = "reused connection closed";
    let again =
        json!({"target": "c/resend", "decision": "sent_again", "layer": "reconnect", "reason": reason});
    assert_eq!(decided(&mut events), [again]);
    let line = "DEBUG request was not processed, sending it again layer=reconnect target=c/resend";
    assert_eq!(log.lines(), [format!("{line} reason={reason}")]);
}

/// A subscriber that keeps every event of tidegate as a line: level, message, fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidegate")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = format!("{} {}{}", event.metadata().level(), line.message, line.fields);
        self.0.lock().unwrap().push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
