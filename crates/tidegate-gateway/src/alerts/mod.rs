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
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::alerts::{Alert, AlertState, Alerts};
use tidegate::provider::HttpService;
use tidegate::stack::SignalsSnapshot;
use tidegate::{BoxError, Payload};
use tokio::sync::mpsc;

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

/// Watches the signals, and logs and posts the alerts, for as long as this is polled.
pub(crate) async fn run<S>(
    settings: AlertSettings,
    signals: impl FnMut() -> Vec<SignalsSnapshot> + Send + 'static,
    client: S,
    lost: LostAlerts,
) -> Infallible
where
    S: HttpService<Payload> + Clone,
    S::Error: Into<BoxError>,
{
    let mut alerts = Alerts::new(settings.thresholds, signals);
    let (queue, mut queued) = mpsc::channel::<Alert>(QUEUE);
    let is_posted = settings.webhook.is_some();
    let watch = async {
        loop {
            let alert = alerts.next().await;
            log(&alert);
            if is_posted && queue.try_send(alert).is_err() {
                lost.add();
            }
        }
    };
    let post = async {
        let Some(address) = settings.webhook else { return pending().await };
        let webhook = Webhook::new(address, client);
        while let Some(alert) = queued.recv().await {
            if let Err(failure) = webhook.post(&alert).await {
                lost.add();
                let (target, error) = (&*alert.target, failure.to_string());
                tracing::warn!(layer = "gateway", target, error, "an alert could not be posted");
            }
        }
        pending().await
    };
    tokio::select! {
        never = watch => never,
        never = post => never,
    }
}

fn log(alert: &Alert) {
    let (layer, target, reason) = ("gateway", &*alert.target, alert.to_string());
    match alert.state {
        AlertState::Raised => tracing::warn!(layer, target, reason, "alert raised"),
        AlertState::Cleared => tracing::info!(layer, target, reason, "alert cleared"),
    }
}
