//! The settings for web pages: names of hosts, and origins.

use http::uri::Authority;
use http::{HeaderValue, Uri};
use tidegate::config::Checks;

use super::GatewayConfigError;
use super::lists::no_duplicates;
use crate::access::WebPages;

pub(super) fn check(hosts: Vec<String>, origins: Vec<String>) -> Result<WebPages, GatewayConfigError> {
    let mut checks = Checks::default();
    checks.keep(no_duplicates("hosts", &hosts, str::eq_ignore_ascii_case));
    checks.keep(no_duplicates("origins", &origins, str::eq_ignore_ascii_case));
    let hosts = hosts.into_iter().enumerate().map(|(index, host)| {
        host_name(&host).ok_or_else(|| {
            let problem = format!("expected the name of a host without its port, found {host:?}");
            GatewayConfigError::new(format!("hosts[{index}]"), problem)
        })
    });
    let origins = origins.into_iter().enumerate().map(|(index, origin)| {
        origin_header(&origin).ok_or_else(|| {
            let problem = format!("expected an origin such as https://app.example, found {origin:?}");
            GatewayConfigError::new(format!("origins[{index}]"), problem)
        })
    });
    let hosts: Vec<_> = hosts.filter_map(|host| checks.keep(host)).collect();
    let origins: Vec<_> = origins.filter_map(|origin| checks.keep(origin)).collect();
    checks.finish(WebPages::new(hosts, origins))
}

fn host_name(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    (authority.host() == host).then(|| host.to_ascii_lowercase())
}

/// The origin as a browser sends it: scheme, host and port, and nothing else.
fn origin_header(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let is_origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?) == origin;
    (is_origin && !origin.contains(['@', '*'])).then(|| HeaderValue::try_from(origin).ok())?
}
