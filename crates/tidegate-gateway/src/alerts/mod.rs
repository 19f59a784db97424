//! The alerts about the targets: watched, logged, and posted to a webhook.
//!
//! ```text
//! signals ──▶ thresholds ──▶ log
//!                   └──────▶ queue, bounded ──▶ webhook, retried
//! ```
//!
//! No call waits for any of it. An alert that does not fit in the queue, or that the webhook does not accept, is lost and
//! counted.

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
use crate::config::AlertSettings;

/// The alerts that wait for the webhook.
const QUEUE: usize = 64;

/// The number of alerts that were not posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostAlerts(Arc<AtomicU64>);

impl LostAlerts {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the signals are read.
pub(crate) trait SignalsSource: Clone + Send + 'static {
    /// Those of all targets.
    fn targets(&self) -> Vec<SignalsSnapshot>;

    /// Those of the targets of each chain.
    fn chains(&self) -> Vec<ChainSignals>;
}

/// The alerts of a gateway.
pub(crate) struct AlertTask {
    /// Watches the signals, and logs the alerts and puts them in the queue, for as long as it is polled.
    pub(crate) watch: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    /// Posts what is in the queue. Ready once `watch` is dropped, and the queue is empty.
    pub(crate) post: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl AlertTask {
    /// The alerts by the latest `settings`; none while there are no settings. What is raised stays so when they change.
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
    queue: mpsc::Sender<Alert>,
    lost: LostAlerts,
) -> Infallible {
    let mut alerts: Option<Alerts> = None;
    loop {
        let current = settings.borrow_and_update().clone();
        match (&mut alerts, &current) {
            (Some(alerts), Some(current)) => alerts.set_settings(current.thresholds.clone()),
            (none, Some(current)) => {
                let (targets, chains) = (signals.clone(), signals.clone());
                let new = Alerts::new(current.thresholds.clone(), move || targets.targets());
                *none = Some(new.chains(move || chains.chains()));
            }
            (alerts, None) => *alerts = None,
        }
        let is_posted = current.is_some_and(|current| current.webhook.is_some());
        let next = async {
            let Some(alerts) = &mut alerts else { return pending().await };
            loop {
                let alert = alerts.next().await;
                log(&alert);
                if is_posted && queue.try_send(alert).is_err() {
                    lost.add();
                }
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
    mut queued: mpsc::Receiver<Alert>,
    client: S,
    lost: LostAlerts,
) where
    S: HttpService<Payload> + Clone,
    S::Error: Into<BoxError>,
{
    while let Some(alert) = queued.recv().await {
        let address = settings.borrow().as_ref().and_then(|settings| settings.webhook.clone());
        let Some(address) = address else { continue };
        if let Err(failure) = Webhook::new(address, client.clone()).post(&alert).await {
            lost.add();
            let (target, error) = (&*alert.target, failure.to_string());
            tracing::warn!(layer = "gateway", target, error, "an alert could not be posted");
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
