use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, ConfigSource, TlsCertificate};
use crate::pages::AppState;

/// The time between two looks at the files. Notifications of the system would come sooner, but not from a network or an
/// overlay file system, and not for the links by which Kubernetes replaces files.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reloads the configuration when one of its files has another content that stays the same for [`POLL_INTERVAL`], and at
/// once whenever `requested` is ready.
pub(crate) async fn follow(
    state: &AppState,
    mut source: ConfigSource,
    adjust: impl Fn(&mut Config),
    mut requested: impl AsyncFnMut(),
) -> Infallible {
    let mut polls = interval(POLL_INTERVAL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = source.stamps().clone();
    loop {
        let is_requested = tokio::select! {
            _ = polls.tick() => false,
            () = requested() => true,
        };
        let stamps = source.stamps().clone();
        let now = blocking(move || stamps.renewed()).await;
        let is_settled = now == before;
        before = now;
        if is_requested || is_settled && before != *source.stamps() {
            let (mut read, certificate) = (source.clone(), state.running().config.tls.clone());
            let (read, config) = blocking(move || {
                let config = read.read();
                // Without a restart it stays in use.
                if config.as_ref().is_ok_and(|config| config.tls.is_none()) {
                    read.keep(certificate.iter().flat_map(TlsCertificate::paths));
                }
                (read, config)
            })
            .await;
            source = read;
            before = source.stamps().clone();
            let adjusted = config.map(|mut config| {
                adjust(&mut config);
                config
            });
            // The mistakes are in the log.
            let _ = state.reload(adjusted);
        }
    }
}

/// Runs `read` on a thread that may block. Not ready if the runtime shuts down.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(read).await {
        Ok(value) => value,
        Err(_) => pending().await,
    }
}
