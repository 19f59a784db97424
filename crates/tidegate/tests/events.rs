//! The events of a breaker. In a process of its own: tracing caches whether an event has a subscriber, and a thread
//! without one may cache that at the same moment.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tidegate::circuit_breaker::Handle;
use tidegate::{CircuitBreakerLayer, Payload};
use tidegate_testkit::strict;
use tower::{Layer, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Seed items 24, 41 and 85: the name of a breaker is a field of its events. Here, events have levels and fields
/// in common, and one logger per name is a filter of the program.
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
            format!("WARN attempt failed {breaker} attempt=1 code=E3002 head_ms=0"),
            format!("ERROR circuit opened {breaker} state=open reason=1 consecutive E3002 cooldown_ms=60000"),
            format!(
                "WARN circuit rejected an attempt {breaker} code=E3002 wait_ms=60000 reason=circuit open"
            ),
            format!("INFO circuit changed {breaker} state=closed reason=reset"),
        ]
    );
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
