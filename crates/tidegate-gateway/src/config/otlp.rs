use std::ffi::OsString;
use std::fmt;

use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::http_uri;

use super::GatewayConfigError;

/// The export of traces by OTLP, to a collector.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "Otlp")]
#[serde(deny_unknown_fields, expecting = "a table with endpoint")]
pub(super) struct OtlpEntry {
    /// The base URL of the collector, to which `/v1/traces` is appended; `"http://localhost:4318"` by
    /// default.
    endpoint: Option<String>,
}

/// The export of traces.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OtlpSettings {
    pub(crate) endpoint: Uri,
}

const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// The variables of the environment that OpenTelemetry defines. They precede the file.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SWITCHES: [(&str, &str); 2] = [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")];

const IS_BUILT: bool = cfg!(feature = "otlp");
const NOT_BUILT: &str = "this build has no exporter of traces, build it with `--features otlp`";

/// The export of traces by the file and the environment, if there is one.
pub(super) fn check(
    entry: Option<&OtlpEntry>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<OtlpSettings>, GatewayConfigError> {
    match entry {
        _ if IS_BUILT => settings(entry, env),
        Some(_) => Err(GatewayConfigError::new("otlp", NOT_BUILT)),
        None => Ok(None),
    }
}

/// A warning, if a variable names a collector and this build has no exporter, or names a protocol that it
/// does not have.
pub(super) fn unread_variable(env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let is_set = |name: &&str| env(name).is_some_and(|value| !value.is_empty());
    let variable = [TRACES_ENDPOINT, ENDPOINT].into_iter().find(is_set)?;
    if !IS_BUILT {
        return Some(format!("{variable}: {NOT_BUILT}"));
    }
    let protocol = [TRACES_PROTOCOL, PROTOCOL].into_iter().find(is_set)?;
    let is_known = env(protocol).is_some_and(|value| value == "http/protobuf");
    (!is_known).then(|| format!("{protocol}: nothing reads it, spans are sent as http/protobuf"))
}

fn settings(
    entry: Option<&OtlpEntry>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<OtlpSettings>, GatewayConfigError> {
    let variable = |name| env(name).map(|it| it.to_string_lossy().into_owned()).filter(|it| !it.is_empty());
    let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
    let of_file = entry.map(|entry| entry.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT));
    let endpoint = variable(TRACES_ENDPOINT).map(|url| (url, TRACES_ENDPOINT));
    let endpoint = endpoint.or_else(|| variable(ENDPOINT).map(|base| (below(&base), ENDPOINT)));
    let endpoint = endpoint.or_else(|| of_file.map(|base| (below(base), "otlp.endpoint")));
    let is_off =
        SWITCHES.iter().any(|(name, off)| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(off)));
    let Some((url, key)) = endpoint.filter(|_| !is_off) else { return Ok(None) };
    let endpoint =
        http_uri(&url, DEFAULT_ENDPOINT, HEADERS).map_err(|problem| GatewayConfigError::new(key, problem))?;
    Ok(Some(OtlpSettings { endpoint }))
}

/// Without the path and the query, which may be secret.
impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSettings").field("host", &self.endpoint.host()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(entry: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let entry = entry.map(|endpoint| OtlpEntry { endpoint: Some(endpoint.to_owned()) });
        let env = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).into())
        };
        let settings = settings(entry.as_ref(), env).map_err(|error| error.to_string())?;
        Ok(settings.map(|settings| settings.endpoint.to_string()))
    }

    #[test]
    fn the_environment_precedes_the_file() {
        let file = Some("https://file.test/otlp/");
        let general = (ENDPOINT, "http://general.test:4318");
        let special = (TRACES_ENDPOINT, "http://special.test/custom");
        for (variables, expected) in [
            (&[][..], Some("https://file.test/otlp/v1/traces")),
            (&[general], Some("http://general.test:4318/v1/traces")),
            (&[general, special], Some("http://special.test/custom")),
            (&[(ENDPOINT, "")], Some("https://file.test/otlp/v1/traces")),
            (&[("OTEL_SDK_DISABLED", "TRUE")], None),
            (&[("OTEL_TRACES_EXPORTER", "none"), general], None),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], Some("https://file.test/otlp/v1/traces")),
        ] {
            assert_eq!(endpoint(file, variables).unwrap().as_deref(), expected, "{variables:?}");
        }
        assert_eq!(endpoint(None, &[]), Ok(None));
        assert_eq!(
            endpoint(None, &[general]).unwrap().as_deref(),
            Some("http://general.test:4318/v1/traces")
        );
        let default = settings(Some(&OtlpEntry::default()), |_| None).unwrap().unwrap();
        assert_eq!(default.endpoint, "http://localhost:4318/v1/traces");
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_an_error_without_it() {
        for url in [
            "localhost:4318",
            "s3cret",
            "ftp://s3cret",
            "http://",
            "http://user:s3cret@localhost:4318",
            "http://s3cret:431800",
        ] {
            let error = endpoint(Some(url), &[]).unwrap_err();
            assert!(error.contains("otlp.endpoint") && !error.contains("s3cret"), "{error}");
            let error = endpoint(None, &[(ENDPOINT, url)]).unwrap_err();
            assert!(error.contains(ENDPOINT) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_build_without_the_exporter_names_the_feature() {
        let collector = |name: &str| (name == ENDPOINT).then(|| "http://localhost:4318".into());
        let unread = unread_variable(collector);
        let table = check(Some(&OtlpEntry::default()), |_| None);
        if IS_BUILT {
            assert!(unread.is_none() && table.unwrap().is_some());
            for (protocol, is_read) in [("grpc", false), ("http/json", false), ("http/protobuf", true)] {
                let unread =
                    unread_variable(
                        |name| if name == PROTOCOL { Some(protocol.into()) } else { collector(name) },
                    );
                assert_eq!(unread.is_none(), is_read, "{protocol}: {unread:?}");
            }
        } else {
            assert_eq!(unread.unwrap(), format!("{ENDPOINT}: {NOT_BUILT}"));
            assert_eq!(table.unwrap_err().to_string(), format!("otlp: {NOT_BUILT}"));
            assert_eq!(check(None, collector), Ok(None));
        }
    }
}
