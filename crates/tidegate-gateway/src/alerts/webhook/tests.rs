use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use tidegate::alerts::{ChainSignals, Settings};
use tidegate::stack::SignalsSnapshot;
use tidegate::{CircuitBreakerLayer, Payload, ResilienceBuilder, Signals};
use tidegate_testkit::strict::{self, Handle, Strict};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::alerts::{AlertTask, LostAlerts, SignalsSource};
use crate::config::AlertSettings;

const SECRET: &str = "s3cret";

fn webhook() -> (Webhook<Strict<Payload>>, Handle) {
    let (client, receiver) = strict::service();
    let mut token = HeaderValue::from_static("Bearer s3cret");
    token.set_sensitive(true);
    let uri = "https://hooks.test/s3cret?token=s3cret".parse().unwrap();
    (Webhook::new(WebhookAddress { uri, token: Some(token) }, client), receiver)
}

/// The first alert of a circuit that is forced open.
async fn alert() -> Alert {
    let client =
        tower::service_fn(async |_: Request<Payload>| Ok::<_, BoxError>(Response::new(Payload::empty())));
    let stack = ResilienceBuilder::new("p/m").circuit_breaker(CircuitBreakerLayer::new()).service(client);
    stack.signals().circuit_breaker().force_open();
    stack.signals().on_degraded(Settings { raise_after: Duration::ZERO, ..Settings::default() }).next().await
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_json_with_its_text_and_the_token() {
    let (webhook, receiver) = webhook();
    let alert = alert().await;
    webhook.post(&alert).await.unwrap();
    let [request] = &receiver.requests()[..] else { panic!("one request") };
    assert_eq!(request.headers[AUTHORIZATION], "Bearer s3cret");
    let body: serde_json::Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
    assert_eq!((&body["text"], &body["state"]), (&alert.to_string().into(), &"raised".into()), "{body}");
    assert_eq!((&body["alert"], &body["value"]), (&"all_targets_cooling".into(), &serde_json::Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_repeated_and_no_other() {
    let alert = alert().await;
    for (status, attempts, seconds) in [(503, 4, 20), (429, 4, 20), (404, 1, 0)] {
        let (webhook, receiver) = webhook();
        (0..9).for_each(|_| drop(receiver.answer(status)));
        let started = Instant::now();
        let expected = PostError::Status(StatusCode::from_u16(status).unwrap());
        assert_eq!(webhook.post(&alert).await, Err(expected));
        assert_eq!((receiver.calls(), started.elapsed().as_secs()), (attempts, seconds), "{status}");
    }
    let (webhook, receiver) = webhook();
    receiver.hang();
    receiver.fail("connection refused");
    receiver.answer(204);
    assert_eq!(webhook.post(&alert).await, Ok(()));
    assert_eq!(receiver.calls(), 3);
}

/// The URL of a webhook is its secret.
#[tokio::test(start_paused = true)]
async fn no_output_has_the_url_or_the_token() {
    let (webhook, receiver) = webhook();
    (0..9).for_each(|_| drop(receiver.fail(format!("cannot reach https://hooks.test/{SECRET}"))));
    let error = webhook.post(&alert().await).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{:?}", webhook.address)] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// A circuit that changes with every look at it.
#[derive(Clone)]
struct Flapping {
    signals: Signals,
    reads: Arc<AtomicUsize>,
}

impl SignalsSource for Flapping {
    fn targets(&self) -> Vec<SignalsSnapshot> {
        match self.reads.fetch_add(1, Ordering::Relaxed) % 2 {
            1 => self.signals.reset(),
            _ => self.signals.circuit_breaker().force_open(),
        }
        vec![self.signals.snapshot()]
    }

    fn chains(&self) -> Vec<ChainSignals> {
        Vec::new()
    }
}

/// The settings under which each change is an alert.
fn settings_at_once() -> AlertSettings {
    let thresholds = Settings {
        circuit_open: Duration::ZERO,
        raise_after: Duration::ZERO,
        clear_after: Duration::ZERO,
        all_targets: false,
        interval: Duration::from_millis(10),
        ..Settings::default()
    };
    let uri = "https://hooks.test/".parse().unwrap();
    AlertSettings { thresholds, webhook: Some(WebhookAddress { uri, token: None }) }
}

fn flapping() -> Flapping {
    let stack = ResilienceBuilder::new("p/m").circuit_breaker(CircuitBreakerLayer::new());
    let signals = stack.service(strict::service::<Payload>().0).signals();
    Flapping { signals, reads: Arc::default() }
}

/// A webhook that does not respond fills the queue; what is beyond it is lost and counted, and the signals
/// are read on.
#[tokio::test(start_paused = true)]
async fn a_webhook_that_hangs_loses_alerts_and_delays_nothing() {
    let (client, receiver) = strict::service::<Payload>();
    receiver.otherwise(strict::Answer::hang());
    let (source, lost) = (flapping(), LostAlerts::default());
    let settings = watch::Sender::new(Some(settings_at_once()));
    let AlertTask { watch, post } =
        AlertTask::new(settings.subscribe(), source.clone(), client, lost.clone());
    let _ = timeout(Duration::from_secs(4), async { tokio::join!(watch, post) }).await;
    let reads = source.reads.load(Ordering::Relaxed);
    assert!(reads > 390, "{reads}");
    assert!((300..=400).contains(&lost.count()), "{}", lost.count());
}

/// Many targets, of which all are degraded.
#[derive(Clone)]
struct Degraded(Signals);

impl SignalsSource for Degraded {
    fn targets(&self) -> Vec<SignalsSnapshot> {
        let snapshot = self.0.snapshot();
        let named = |number| {
            let mut snapshot = snapshot.clone();
            snapshot.target = format!("p/{number}").into();
            snapshot
        };
        (0..MANY).map(named).collect()
    }

    fn chains(&self) -> Vec<ChainSignals> {
        Vec::new()
    }
}

const MANY: usize = 200;

/// Regression: of the alerts that began or ended at once, those beyond the 64th were lost.
#[tokio::test(start_paused = true)]
async fn alerts_that_begin_or_end_at_once_are_all_posted_however_many() {
    let signals = flapping().signals;
    signals.circuit_breaker().force_open();
    for (is_reachable, posted, lost) in [(true, 2 * MANY, 0), (false, MANY + 1, MANY)] {
        let (client, receiver) = strict::service::<Payload>();
        receiver.otherwise(strict::Answer::status(204));
        let (settings, count) = (watch::Sender::new(Some(settings_at_once())), LostAlerts::default());
        let AlertTask { watch, post } =
            AlertTask::new(settings.subscribe(), Degraded(signals.clone()), client, count.clone());
        let mut run = Box::pin(async { tokio::join!(watch, post) });
        let _ = timeout(Duration::from_secs(1), &mut run).await;
        assert_eq!((receiver.calls(), count.count()), (MANY, 0));
        if !is_reachable {
            receiver.otherwise(strict::Answer::hang());
        }
        settings.send_replace(None);
        let _ = timeout(Duration::from_secs(10), &mut run).await;
        // A receiver that is left and does not answer is given up, and what it has not received is counted.
        assert_eq!((receiver.calls(), count.count()), (posted, lost as u64));
    }
}

/// Alerts begin, change and end with their settings.
#[tokio::test(start_paused = true)]
async fn the_settings_of_alerts_can_be_replaced() {
    let (client, receiver) = strict::service::<Payload>();
    receiver.otherwise(strict::Answer::status(204));
    let (source, lost) = (flapping(), LostAlerts::default());
    let settings = watch::Sender::new(None);
    let task = AlertTask::new(settings.subscribe(), source.clone(), client, lost);
    let mut run = Box::pin(async { tokio::join!(task.watch, task.post) });
    let mut posted_after = async |new: Option<AlertSettings>| {
        settings.send_replace(new);
        let before = (receiver.calls(), source.reads.load(Ordering::Relaxed));
        let _ = timeout(Duration::from_secs(1), &mut run).await;
        (receiver.calls() - before.0, source.reads.load(Ordering::Relaxed) - before.1)
    };
    assert_eq!(posted_after(None).await, (0, 0));
    let (posted, reads) = posted_after(Some(settings_at_once())).await;
    assert!(posted > 90 && reads > 90, "{posted} {reads}");
    let (posted, reads) = posted_after(Some(AlertSettings { webhook: None, ..settings_at_once() })).await;
    assert!(posted <= 1 && reads > 90, "{posted} {reads}");
    let (_, reads) = posted_after(None).await;
    assert_eq!(reads, 0);
}
