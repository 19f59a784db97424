use std::ffi::OsString;
use std::fmt;

use http::{HeaderValue, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::alerts;
use tidegate::config::{Checks, http_uri};

use super::GatewayConfigError;
use super::provider::secret;

/// The alerts about the targets: they are logged, and posted to the webhook.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Alerts")]
#[serde(deny_unknown_fields, expecting = "a table with webhook, webhook_token_env or thresholds")]
pub(super) struct AlertsEntry {
    /// The URL that alerts are posted to as JSON; without it they are logged only.
    webhook: Option<String>,
    /// The variable of the environment with the token of the webhook, which is sent as `authorization:
    /// Bearer`.
    webhook_token_env: Option<String>,
    /// The thresholds.
    #[serde(default)]
    thresholds: alerts::Settings,
}

/// The alerts of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertSettings {
    pub(crate) thresholds: alerts::Settings,
    pub(crate) webhook: Option<WebhookAddress>,
}

/// Where alerts are posted to. The path and the query of a webhook are often its secret: no output contains
/// them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebhookAddress {
    pub(crate) uri: Uri,
    pub(crate) token: Option<HeaderValue>,
}

impl AlertsEntry {
    pub(super) fn token_env(&self) -> Option<&str> {
        self.webhook_token_env.as_deref()
    }

    pub(super) fn check(
        self,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<AlertSettings, GatewayConfigError> {
        let mut checks = Checks::default();
        checks.keep(self.thresholds.check().map_err(|error| error.within("alerts.thresholds")));
        let invalid = |key: &str, problem: String| GatewayConfigError::new(format!("alerts.{key}"), problem);
        let uri = |url: String| {
            http_uri(&url, "https://hooks.example/alerts", "webhook_token_env")
                .map_err(|problem| invalid("webhook", problem))
        };
        let uri = self.webhook.map(uri);
        let uri = uri.and_then(|uri| checks.keep(uri));
        let token = self.webhook_token_env.map(|variable| {
            let token = secret(&variable, env).and_then(|token| bearer(&token));
            token.map_err(|problem| invalid("webhook_token_env", problem))
        });
        if uri.is_none() && token.is_some() {
            checks.fail(invalid("webhook_token_env", "expected a webhook beside it".to_owned()));
        }
        let token = token.and_then(|token| checks.keep(token));
        let webhook = uri.map(|uri| WebhookAddress { uri, token });
        checks.finish(AlertSettings { thresholds: self.thresholds, webhook })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

impl WebhookAddress {
    /// Whether `other` is the same receiver. Its token may be another one.
    pub(crate) fn is_same_receiver(&self, other: Option<&Self>) -> bool {
        other.is_some_and(|other| self.uri == other.uri)
    }
}

impl fmt::Debug for WebhookAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookAddress").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}
