//! The alerts about the targets: watched, logged, and posted to a webhook.
//!
//! ```text
//! signals ──▶ thresholds ──▶ log
//!                   └──────▶ queue, bounded ──▶ webhook, retried
//! ```
//!
//! No call waits for any of it. An alert that does not fit in the queue, or that the webhook does not accept,
//! is lost, logged and counted.

mod webhook;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::alerts::{Alert, AlertState, Alerts, ChainSignals};
use tidegate::provider::HttpService;
use tidegate::stack::SignalsSnapshot;
use tidegate::{BoxError, Payload};
use tokio::sync::{mpsc, watch};

use self::webhook::Webhook;
use crate::config::{AlertSettings, WebhookAddress};

/// The batches of alerts that wait for the webhook. The size of a batch is bounded by the number of targets
/// and routes.
const QUEUE: usize = 64;

/// The alerts that begin or end at one look at the signals, or by one reload, and where they are posted to,
/// in turn.
type AlertBatch = (WebhookAddress, Vec<Alert>);

/// The number of alerts that were not posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostAlerts(Arc<AtomicU64>);

impl LostAlerts {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, alerts: usize) {
        self.0.fetch_add(u64::try_from(alerts).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Where the signals are read.
pub(crate) trait SignalsSource: Clone + Send + 'static {
    /// The signals of all targets.
    fn targets(&self) -> Vec<SignalsSnapshot>;

    /// The signals of the targets of each chain.
    fn chains(&self) -> Vec<ChainSignals>;
}

/// The alerts of a gateway.
pub(crate) struct AlertTask {
    /// Watches the signals, and logs the alerts and puts them in the queue, until it is dropped.
    pub(crate) watch: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    /// Posts what is in the queue. Ready once `watch` is dropped, and the queue is empty.
    pub(crate) post: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl AlertTask {
    /// The alerts by the latest `settings`; none while there are no settings. What is raised stays so when
    /// they change, and is cleared when they, or the webhook that it was posted to, are removed.
    pub(crate) fn new<S>(
        settings: watch::Receiver<Option<AlertSettings>>,
        signals: impl SignalsSource,
        client: S,
        lost: LostAlerts,
    ) -> Self
    where
        S: HttpService<Payload, Future: Send, Body: Send> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
    {
        let (queue, queued) = mpsc::channel(QUEUE);
        let watch = observe(settings.clone(), signals, queue, lost.clone());
        Self { watch: Box::pin(watch), post: Box::pin(post(settings, queued, client, lost)) }
    }
}

async fn observe(
    mut settings: watch::Receiver<Option<AlertSettings>>,
    signals: impl SignalsSource,
    queue: mpsc::Sender<AlertBatch>,
    lost: LostAlerts,
) -> Infallible {
    let mut alerts: Option<Alerts> = None;
    let mut webhook: Option<WebhookAddress> = None;
    let emit = |alerts: Vec<Alert>, webhook: Option<&WebhookAddress>| {
        alerts.iter().for_each(log);
        let number = alerts.len();
        if let Some(address) = webhook.filter(|_| number > 0)
            && queue.try_send((address.clone(), alerts)).is_err()
        {
            lost.add(number);
            let error = "too many wait for the webhook";
            tracing::warn!(layer = "gateway", alerts = number, error, "alerts could not be posted");
        }
    };
    loop {
        let current = settings.borrow_and_update().clone();
        let before = webhook.take();
        webhook = current.as_ref().and_then(|current| current.webhook.clone());
        // The receiver of an alert receives its end, too.
        let is_left = before.as_ref().is_some_and(|before| !before.is_same_receiver(webhook.as_ref()));
        if (is_left || current.is_none())
            && let Some(alerts) = &mut alerts
        {
            emit(alerts.clear(), before.as_ref());
        }
        match (&mut alerts, current) {
            (Some(alerts), Some(current)) => alerts.set_settings(current.thresholds),
            (none, Some(current)) => {
                let (targets, chains) = (signals.clone(), signals.clone());
                let new = Alerts::new(current.thresholds, move || targets.targets());
                *none = Some(new.chains(move || chains.chains()));
            }
            (alerts, None) => *alerts = None,
        }
        let next = async {
            let Some(alerts) = &mut alerts else { return pending().await };
            loop {
                let mut batch = vec![alerts.next().await];
                batch.extend(alerts.ready());
                emit(batch, webhook.as_ref());
            }
        };
        tokio::select! {
            changed = settings.changed() => if changed.is_err() {
                return pending().await;
            },
            never = next => match never {},
        }
    }
}

async fn post<S>(
    settings: watch::Receiver<Option<AlertSettings>>,
    mut queued: mpsc::Receiver<AlertBatch>,
    client: S,
    lost: LostAlerts,
) where
    S: HttpService<Payload> + Clone,
    S::Error: Into<BoxError>,
{
    while let Some((address, alerts)) = queued.recv().await {
        let mut alerts = alerts.iter();
        while let Some(alert) = alerts.next() {
            // With the current token.
            let current = settings.borrow().as_ref().and_then(|settings| settings.webhook.clone());
            let current = current.filter(|current| address.is_same_receiver(Some(current)));
            let is_left = current.is_none();
            let webhook = Webhook::new(current.unwrap_or_else(|| address.clone()), client.clone());
            let posted = if is_left { webhook.post_once(alert).await } else { webhook.post(alert).await };
            let Err(failure) = posted else { continue };
            // A former receiver may not respond. It gets no further alerts, since those of the current one wait.
            let unposted = if is_left { alerts.by_ref().count() } else { 0 };
            lost.add(1 + unposted);
            let (target, error) = (&*alert.target, failure.to_string());
            tracing::warn!(layer = "gateway", target, error, unposted, "an alert could not be posted");
        }
    }
}

fn log(alert: &Alert) {
    let (layer, target, reason) = ("gateway", &*alert.target, alert.to_string());
    match alert.state {
        AlertState::Raised => tracing::warn!(layer, target, reason, "alert raised"),
        AlertState::Cleared => tracing::info!(layer, target, reason, "alert cleared"),
    }
}

impl fmt::Debug for AlertTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertTask").finish_non_exhaustive()
    }
}
