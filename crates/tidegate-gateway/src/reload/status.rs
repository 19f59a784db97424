use std::sync::Mutex;
use std::time::SystemTime;

use metrics::{Unit, counter, describe_counter};
use serde_json::{Value, json};

use crate::config::GatewayConfigError;
use crate::sync::lock;

/// The result of the latest reload, and the metric of all.
#[derive(Debug)]
pub(crate) struct ReloadStatus {
    last: Mutex<Option<LastReload>>,
    /// Held during a reload, so that two of them do not overlap.
    turn: Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct LastReload {
    at: SystemTime,
    mistakes: usize,
}

const RELOADS: &str = "tidegate.gateway.config.reloads";

impl ReloadStatus {
    /// Registers the metric, and no reload yet.
    pub(crate) fn new() -> Self {
        describe_counter!(RELOADS, Unit::Count, "Reloads of the gateway's configuration, by their result");
        ["ok", "error"].iter().for_each(|result| counter!(RELOADS, "result" => *result).increment(0));
        Self { last: Mutex::default(), turn: Mutex::default() }
    }

    /// Runs `reload`, and records its result.
    pub(crate) fn record(
        &self,
        reload: impl FnOnce() -> Result<(), GatewayConfigError>,
    ) -> Result<(), GatewayConfigError> {
        let turn = lock(&self.turn);
        let result = reload();
        drop(turn);
        let mistakes = result.as_ref().err().map_or(0, |error| error.mistakes().count() + error.omitted());
        *lock(&self.last) = Some(LastReload { at: SystemTime::now(), mistakes });
        counter!(RELOADS, "result" => if mistakes == 0 { "ok" } else { "error" }).increment(1);
        for mistake in result.as_ref().err().map(ToString::to_string).unwrap_or_default().lines() {
            tracing::error!(layer = "gateway", %mistake, "configuration is invalid, the one before stays in use");
        }
        result
    }

    /// The latest reload for `/healthz`, if there was one.
    pub(crate) fn report(&self) -> Option<Value> {
        let LastReload { at, mistakes } = (*lock(&self.last))?;
        let time = humantime::format_rfc3339_millis(at).to_string();
        Some(match mistakes {
            0 => json!({"time": time, "result": "ok"}),
            _ => json!({"time": time, "result": "error", "mistakes": mistakes}),
        })
    }
}
