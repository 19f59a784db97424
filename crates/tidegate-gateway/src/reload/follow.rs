use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, ConfigSource, GatewayConfigError, TlsCertificate};
use crate::pages::AppState;
use crate::running_config::check_changed_store;
use crate::server::ServerTls;

/// The time between two looks at the files. Notifications of the system would come sooner, but not from a
/// network or an overlay file system, and not for the links by which Kubernetes replaces files.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reloads the configuration when one of its files has another content that stays the same for
/// [`POLL_INTERVAL`], and at once whenever `requested` is ready.
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
                let config = panic_as_mistake(|| read.read());
                // The certificate may stay in use: without a restart, or because of the mistakes in the file.
                read.keep(certificate.iter().flat_map(TlsCertificate::paths));
                (read, config)
            })
            .await;
            source = read;
            before = source.stamps().clone();
            let config = match config {
                Ok(mut config) => {
                    adjust(&mut config);
                    check_changed_store(&config, &state.running()).await.map(|()| config)
                }
                Err(error) => Err(error),
            };
            // The mistakes are in the log. The certificate in use does not depend on them.
            if let (Err(_), Some(tls)) = (state.reload(config), state.tls.clone()) {
                blocking(move || renew(&tls)).await;
            }
        }
    }
}

/// A panic of `read` as a mistake in the file. Without it, no reload would follow.
fn panic_as_mistake<T>(
    read: impl FnOnce() -> Result<T, GatewayConfigError>,
) -> Result<T, GatewayConfigError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(GatewayConfigError::new("", "cannot be parsed: a panic, whose place is in the log"))
    })
}

/// Reads the files of the certificate in use again.
fn renew(tls: &ServerTls) {
    if let Err(error) = tls.reload() {
        tracing::error!(layer = "gateway", %error, "certificate is invalid, the one before stays in use");
    }
}

/// Runs `read` on a thread that may block. Not ready if the runtime shuts down.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(read).await {
        Ok(value) => value,
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_the_file_is_read_is_a_mistake_without_its_message() {
        let read = || -> Result<(), _> { panic!("the-secret") };
        let mistake = panic_as_mistake(read).unwrap_err().to_string();
        assert_eq!(mistake, "cannot be parsed: a panic, whose place is in the log");
    }
}
