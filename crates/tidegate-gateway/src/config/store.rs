use std::ffi::OsString;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::DurationText;
use tidegate::store::{OnUnavailable, Settings};
use tidegate_redis::{RedisSettings, RedisStoreError};

use super::GatewayConfigError;
use super::provider::secret;

/// The store through which several gateways share the limits of their targets and callers.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Store")]
#[serde(deny_unknown_fields, expecting = "a table with url or url_env")]
pub(super) struct StoreEntry {
    /// The URL of the Redis server: `redis://`, `rediss://` for TLS, or `unix://`. With a password it is
    /// better in a variable.
    url: Option<String>,
    /// The variable of the environment with the URL.
    url_env: Option<String>,
    /// The beginning of all keys in the store; `"tidegate"` by default. Gateways with the same prefix share
    /// their limits.
    prefix: Option<String>,
    /// The longest time of an operation of the store, after which the decision is local; `"50ms"` by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    timeout: Option<Duration>,
    /// What happens to calls while the store is unavailable: `"fail_open"`, by the local share of the quotas,
    /// or `"fail_closed"`; `"fail_open"` by default.
    mode: Option<OnUnavailable>,
    /// Whether quotas are taken in slices ahead of need; `true` by default.
    leases: Option<bool>,
    /// How long a slice of a quota may be used; `"100ms"` by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    lease: Option<Duration>,
    /// The number of gateways, by which quotas are divided while the store is unavailable; by default as many
    /// as were seen, so that a gateway that starts without the store takes whole quotas.
    processes: Option<u32>,
}

impl StoreEntry {
    pub(super) fn url_env(&self) -> Option<&str> {
        self.url_env.as_deref()
    }

    /// The settings. No message contains the URL.
    pub(super) fn check(
        self,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<RedisSettings, GatewayConfigError> {
        let invalid = |key: &str, problem: String| GatewayConfigError::new(format!("store.{key}"), problem);
        let (key, url) = match (self.url, self.url_env) {
            (Some(url), None) => ("url", url),
            (None, Some(variable)) => {
                ("url_env", secret(&variable, env).map_err(|problem| invalid("url_env", problem))?)
            }
            _ => return Err(GatewayConfigError::new("store", "expected url or url_env, and not both")),
        };
        let defaults = RedisSettings::new(&url);
        let settings = RedisSettings {
            prefix: self.prefix.unwrap_or(defaults.prefix),
            store: Settings {
                timeout: self.timeout.unwrap_or(defaults.store.timeout),
                mode: self.mode.unwrap_or(defaults.store.mode),
                leases: self.leases.unwrap_or(defaults.store.leases),
                lease: self.lease.unwrap_or(defaults.store.lease),
                processes: self.processes,
            },
            url,
        };
        settings.store.check().map_err(|error| error.within("store"))?;
        settings.check().map_err(|error| match error {
            RedisStoreError::InvalidPrefix => invalid("prefix", error.to_string()),
            error => invalid(key, error.to_string()),
        })?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<RedisSettings, String> {
        let entry: StoreEntry = toml::from_str(text).map_err(|error| error.to_string())?;
        let env = |name: &str| (name == "REDIS_URL").then(|| "rediss://user:s3cret@redis.test:6380/1".into());
        entry.check(env).map_err(|error| error.to_string())
    }

    #[test]
    fn the_url_is_in_the_file_or_in_a_variable_and_in_no_output() {
        assert_eq!(check("url = \"redis://redis.test\"").unwrap().url, "redis://redis.test");
        let settings = check("url_env = \"REDIS_URL\"\nprefix = \"a\"\nlease = \"1s\"").unwrap();
        assert_eq!((&*settings.prefix, settings.store.lease), ("a", Duration::from_secs(1)));
        assert!(settings.url.contains("s3cret") && !format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn a_mistake_names_its_key_and_not_the_url() {
        for (text, expected) in [
            ("", "store: expected url or url_env, and not both"),
            ("url = \"redis://a\"\nurl_env = \"REDIS_URL\"", "store: expected url or url_env"),
            ("url = \"http://s3cret@a\"", "store.url: expected a URL such as redis://host:6379"),
            ("url = \"s3cret\"", "store.url: expected a URL"),
            ("url_env = \"MISSING\"", "store.url_env: MISSING is not set"),
            ("url = \"redis://a\"\nprefix = \"{\"", "store.prefix: expected a prefix"),
            ("url = \"redis://a\"\ntimeout = \"0s\"", "store.timeout: expected more than no time"),
            ("url = \"redis://a\"\nprocesses = 0", "store.processes: expected at least 1"),
            ("url = \"redis://a\"\nmode = \"open\"", "fail_open"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
