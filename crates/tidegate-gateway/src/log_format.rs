use std::fmt;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tracing::Level;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, with `timestamp`, `level`, `message` and the fields of the event.
    Json,
}

impl LogFormat {
    /// The line of a message that is not an event. `source` is the program or a file.
    pub(crate) fn line(self, level: Level, source: impl fmt::Display, message: impl fmt::Display) -> String {
        match self {
            Self::Text => format!("{source}: {message}\n"),
            Self::Json => {
                let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
                let line = json!({
                    "timestamp": timestamp,
                    "level": level.as_str(),
                    "layer": "gateway",
                    "source": source.to_string(),
                    "message": message.to_string(),
                });
                format!("{line}\n")
            }
        }
    }
}
