//! What is valid in the settings of a provider, and probably a mistake.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;

/// Endings of names that only a private network resolves.
const PRIVATE_NAMES: [&str; 7] =
    [".local", ".localhost", ".internal", ".lan", ".home.arpa", ".intranet", ".svc"];

/// Whether the URL or its query has a version: the segment `v1`, `v1beta` or the like, or an `api-version`.
pub(super) fn has_version(base_url: &Uri, query: Option<&str>) -> bool {
    let is_version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    base_url.path().split('/').any(is_version) || query.is_some_and(|query| query.contains("version="))
}

/// Whether requests to `base_url` can be read on their way through a public network.
pub(super) fn is_public_plain_text(base_url: &Uri) -> bool {
    base_url.scheme() == Some(&Scheme::HTTP) && base_url.host().is_some_and(is_public)
}

fn is_public(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || is_shared)
        }
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(&ip.to_string()),
            None => !(ip.is_loopback() || ip.is_unspecified() || is_local(ip)),
        },
        Err(_) => is_public_name(&bare.to_ascii_lowercase()),
    }
}

fn is_local(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

/// A name without a dot is one of a private network.
fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.contains('.') && !PRIVATE_NAMES.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{AUTHORIZATION, ORIGIN};

    use crate::chain::ProviderSettings;

    #[test]
    fn a_url_without_a_version_is_a_warning() {
        for (url, expected) in [
            ("https://api.openai.com", true),
            ("https://api.openai.com/", true),
            ("https://proxy/openai/api", true),
            ("https://host/vision/api", true),
            ("https://api.openai.com/v1", false),
            ("https://generativelanguage.googleapis.com/v1beta/openai", false),
            ("https://host/v1/projects/p/endpoints/openapi", false),
        ] {
            let settings = [ProviderSettings::openai(url), ProviderSettings::anthropic(url)];
            for warnings in settings.map(|settings| settings.warnings()) {
                let has_warning =
                    warnings.iter().any(|warning| warning.starts_with("base_url: no version such as /v1"));
                assert_eq!(has_warning, expected, "{url}");
            }
        }
        assert!(ProviderSettings::azure("https://r.openai.azure.com", "2024-10-21").warnings().is_empty());
    }

    #[test]
    fn a_header_that_the_key_replaces_is_a_warning() {
        let with_header = |name| {
            let url = "https://api.openai.com/v1";
            ProviderSettings::openai(url).header(name, HeaderValue::from_static("a-value"))
        };
        let warnings = with_header(AUTHORIZATION).api_key("sk-secret").warnings();
        assert_eq!(warnings, ["headers.authorization: the API key replaces it"]);
        assert!(with_header(AUTHORIZATION).warnings().is_empty());
        assert!(with_header(ORIGIN).api_key("sk-secret").warnings().is_empty());
    }

    #[test]
    fn a_key_in_plain_text_to_a_public_host_is_a_warning() {
        for (url, expected) in [
            ("http://api.openai.com/v1", true),
            ("http://8.8.8.8:80/v1", true),
            ("http://[2001:4860:4860::8888]/v1", true),
            ("http://[::ffff:8.8.8.8]/v1", true),
            ("https://api.openai.com/v1", false),
            ("http://localhost:8000/v1", false),
            ("http://gpu-box/v1", false),
            ("http://ollama.default.svc/v1", false),
            ("http://GPU.Local./v1", false),
            ("http://127.0.0.1/v1", false),
            ("http://10.1.2.3/v1", false),
            ("http://100.64.0.1/v1", false),
            ("http://[::1]/v1", false),
            ("http://[fd00::1]/v1", false),
        ] {
            let warnings = ProviderSettings::openai(url).api_key("sk-secret").warnings();
            assert_eq!(!warnings.is_empty(), expected, "{url}: {warnings:?}");
            assert!(!format!("{warnings:?}").contains("secret"));
            assert!(ProviderSettings::openai(url).warnings().is_empty(), "no key");
        }
        let mut secret = http::HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        let header = http::HeaderName::from_static("x-secret");
        let settings = ProviderSettings::openai("http://api.openai.com/v1").header(header, secret);
        assert_eq!(settings.warnings(), ["base_url: http:// sends the key in plain text, use https://"]);
    }
}
