//! The settings for web pages: names of hosts, and origins.

use http::uri::Authority;
use http::{HeaderValue, Uri};
use tidegate::config::{Checks, found};

use super::GatewayConfigError;
use super::lists::no_duplicates;
use crate::access::WebPages;

pub(super) fn check(hosts: Vec<String>, origins: Vec<String>) -> Result<WebPages, GatewayConfigError> {
    let mut checks = Checks::default();
    let is_same_host = |one: &str, other: &str| without_dot(one).eq_ignore_ascii_case(without_dot(other));
    checks.keep(no_duplicates("hosts", &hosts, is_same_host));
    checks.keep(no_duplicates("origins", &origins, str::eq_ignore_ascii_case));
    let hosts = hosts.into_iter().enumerate().map(|(index, host)| {
        host_name(&host).ok_or_else(|| {
            let problem = format!("expected the name of a host without its port{}", found_text(&host));
            GatewayConfigError::new(format!("hosts[{index}]"), problem)
        })
    });
    let origins = origins.into_iter().enumerate().map(|(index, origin)| {
        origin_header(&origin).ok_or_else(|| {
            let problem = format!("expected an origin such as https://app.example{}", found_text(&origin));
            GatewayConfigError::new(format!("origins[{index}]"), problem)
        })
    });
    let hosts: Vec<_> = hosts.filter_map(|host| checks.keep(host)).collect();
    let origins: Vec<_> = origins.filter_map(|origin| checks.keep(origin)).collect();
    checks.finish(WebPages::new(hosts, origins))
}

fn found_text(text: &str) -> String {
    found(format_args!("{text:?}"))
}

fn host_name(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    let name = without_dot(host);
    let is_name = !name.is_empty() && !name.ends_with('.') && !name.contains('*');
    (authority.host() == host && is_name).then(|| name.to_ascii_lowercase())
}

/// The name without the dot of the root at its end, as those of requests are compared.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// The origin as a browser sends it: scheme, host in lower case and port, which is left out if it is that of
/// the scheme.
fn origin_header(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let is_origin = origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}"));
    let usual_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let has_port = authority.as_str() == authority.host() || authority.port_u16().is_some_and(|it| it > 0);
    let authority = match authority.port_u16() {
        port if port == usual_port => authority.host(),
        _ => authority.as_str(),
    };
    let header = format!("{scheme}://{authority}").to_ascii_lowercase();
    (is_origin && has_port && !origin.contains(['@', '*'])).then(|| HeaderValue::try_from(header).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for (origin, expected) in [
            ("https://app.example", Some("https://app.example")),
            ("https://App.Example:443", Some("https://app.example")),
            ("HTTP://app.example:80", Some("http://app.example")),
            ("http://app.example:443", Some("http://app.example:443")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("https://app.example/", None),
            ("https://app.example:80800", None),
            ("https://*.example", None),
            ("https://user@app.example", None),
            ("app.example", None),
            ("null", None),
        ] {
            let header = origin_header(origin);
            assert_eq!(header.as_ref().map(|header| header.to_str().unwrap()), expected, "{origin}");
        }
    }

    #[test]
    fn a_host_is_a_name_without_port_and_pattern() {
        for host in ["Gateway.Internal", "gateway.internal."] {
            assert_eq!(host_name(host).as_deref(), Some("gateway.internal"));
        }
        for host in ["*.internal", "gateway:80", "a@b", "http://a", "", ".", "gateway.internal.."] {
            assert_eq!(host_name(host), None, "{host}");
        }
    }

    /// Regression: with a dot at its end a host was that of no request.
    #[test]
    fn a_host_is_the_same_with_a_dot_at_its_end() {
        let is_duplicate = |hosts: [&str; 2]| check(hosts.map(str::to_owned).into(), Vec::new()).is_err();
        assert!(is_duplicate(["a.internal", "A.internal."]));
        assert!(!is_duplicate(["a.internal", "b.internal."]));
    }
}
