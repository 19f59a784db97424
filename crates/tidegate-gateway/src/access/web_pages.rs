use std::net::IpAddr;
use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tidegate::ErrorCode;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::admin::{AdminPages, Area};
use crate::proxy::GatewayError;

/// Which web pages may use the gateway, and under which host names it is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebPages {
    /// Names of hosts, beside those of the loopback interface.
    hosts: Vec<String>,
    /// Whether a request for any other host is rejected.
    checks_hosts: bool,
    is_on_loopback: bool,
    /// Whether pages of the gateway itself may use those for operators, which need a key then.
    trusts_own_pages: bool,
    origins: Vec<HeaderValue>,
}

/// The relation of the page that sent a request to the host of the request. Only browsers send it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// How long a browser may keep a permission.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// The longest part of a host or an origin, in characters, that an error message repeats.
const MAX_NAME: usize = 80;

impl WebPages {
    /// Pages of `origins` may use the gateway. `hosts` are names of the gateway beside those of the loopback
    /// interface; if there are any, a request for another host is rejected.
    pub(crate) fn new(hosts: Vec<String>, origins: Vec<HeaderValue>) -> Self {
        Self {
            checks_hosts: !hosts.is_empty(),
            is_on_loopback: false,
            trusts_own_pages: false,
            hosts,
            origins,
        }
    }

    /// The same for a listener on `ip`. On the loopback interface hosts are checked in any case: a name that
    /// resolves to it is that of a page which got around the same-origin policy (DNS rebinding).
    pub(crate) fn listening_on(self, ip: IpAddr) -> Self {
        let is_on_loopback = is_loopback(ip);
        let checks_hosts = self.checks_hosts || is_on_loopback;
        Self { checks_hosts, is_on_loopback, trusts_own_pages: !is_on_loopback, ..self }
    }

    /// The headers for pages of the origins that are allowed; `None` if there are none.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.origins.clone()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .allow_private_network(true)
            .expose_headers(Any)
            .max_age(PREFLIGHT_MAX_AGE);
        Some(cors)
    }

    /// Checks the host, and the page if one sent the request.
    ///
    /// # Errors
    ///
    /// The host is that of another server, or the page is of an origin that is not allowed. One in the list
    /// may use the pages for operators only if these have a key of their own.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        admin: &AdminPages,
    ) -> Result<(), Box<GatewayError>> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            let error = GatewayError::new(ErrorCode::InvalidRequest, "request has more than one host");
            return Err(Box::new(error.status(StatusCode::BAD_REQUEST)));
        }
        let authority = uri.authority().map(Authority::as_str);
        for host in host.map(HeaderValue::as_bytes).into_iter().chain(authority.map(str::as_bytes)) {
            if self.checks_hosts && !self.is_own_host(host) && !(is_local_name(host) && is_no_page(headers)) {
                return Err(forbidden("host", host, "is not that of this gateway, see `hosts`"));
            }
        }
        let is_admin = Area::of(uri.path()) == Area::Admin;
        let trusts_own = self.checks_hosts || (self.trusts_own_pages && is_admin);
        let own = authority.or(host.and_then(|host| host.to_str().ok())).filter(|_| trusts_own);
        let is_open = is_admin && admin.are_open();
        let is_listed = |origin: &HeaderValue| !is_open && self.origins.contains(origin);
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            if let Some(origin) = origins.find(|origin| !is_listed(origin) && !is_own_origin(origin, own)) {
                let problem = if self.origins.contains(origin) {
                    "may not use this page while it has no key of its own, see `[admin]`"
                } else {
                    "is not allowed, see `origins`"
                };
                return Err(forbidden("origin", origin.as_bytes(), problem));
            }
            if headers.get_all(ORIGIN).iter().all(is_listed) {
                return Ok(());
            }
            // A page at the address of the gateway may still be another site: that of another scheme.
        }
        let is_own = |site: &&[u8]| matches!(*site, b"none" | b"same-origin");
        let mut sites = headers.get_all(FETCH_SITE).iter().map(HeaderValue::as_bytes);
        match sites.find(|site| !is_own(site)) {
            None => Ok(()),
            Some(_) if is_navigation(method, headers) => Ok(()),
            Some(site) => Err(forbidden("page of `sec-fetch-site`", site, "is not allowed, see `origins`")),
        }
    }

    fn is_own_host(&self, host: &[u8]) -> bool {
        let Some(host) = host_name(host) else { return false };
        // Health checks use addresses, and no name of a page is one.
        let is_address = || !self.is_on_loopback && ip_address(&host).is_some();
        is_loopback_name(&host) || self.hosts.contains(&host) || is_address()
    }
}

/// Whether `origin` is that of the gateway itself, which is at `own`.
fn is_own_origin(origin: &HeaderValue, own: Option<&str>) -> bool {
    let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    parts.zip(own).is_some_and(|((scheme, authority), own)| {
        matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(own)
    })
}

/// Whether a browser opens a page of the gateway, which is all that a link can do.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let has = |name, value| headers.get(name).is_some_and(|it| it == value);
    method == Method::GET && has(FETCH_MODE, "navigate") && has(FETCH_DEST, "document")
}

/// The name of a host without its port, in lower case; `None` if it is no host.
fn host_name(host: &[u8]) -> Option<String> {
    let authority = Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host();
    let name = host.strip_suffix('.').unwrap_or(host);
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// Whether a host is a name without a dot, as those of containers and side-cars are. No public name server
/// answers for one, so a page cannot choose what it resolves to.
fn is_local_name(host: &[u8]) -> bool {
    host_name(host).is_some_and(|name| !name.contains(['.', '[']))
}

/// Whether the request has no sign of a browser, which sends an origin with each POST of a page.
fn is_no_page(headers: &HeaderMap) -> bool {
    !headers.contains_key(ORIGIN) && !headers.contains_key(FETCH_SITE)
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || ip_address(name).is_some_and(is_loopback)
}

/// The address, if a host is one.
fn ip_address(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse().ok()
}

/// Whether only this machine reaches `ip`.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn forbidden(what: &str, found: &[u8], problem: &str) -> Box<GatewayError> {
    let found = String::from_utf8_lossy(found);
    let found: String = found.chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    let error = GatewayError::new(ErrorCode::PermissionDenied, format_args!("{what} `{found}` {problem}"));
    // No event has the value of a header, which may be a credential in the wrong place.
    Box::new(error.logged_as(format!("{what} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(hosts: &[&str]) -> WebPages {
        let origins = vec![HeaderValue::from_static("https://app.example")];
        WebPages::new(hosts.iter().map(|&host| host.to_owned()).collect(), origins)
    }

    fn check(pages: &WebPages, lines: &[(&'static str, &'static str)]) -> Result<(), String> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let uri = Uri::from_static("/v1/messages");
        let checked = pages.check(&Method::POST, &uri, &headers.collect(), &open());
        checked.map_err(|error| error.message().to_owned())
    }

    fn open() -> AdminPages {
        AdminPages::new(None, true)
    }

    fn keyed() -> AdminPages {
        AdminPages::new(Some("the-long-key".to_owned().into()), true)
    }

    /// Regression: without an admin key, a page of the list had the rights of the operator.
    #[test]
    fn a_page_of_the_list_may_use_those_for_operators_only_if_these_have_a_key() {
        let own = "http://localhost:8787";
        let origins = ["https://app.example", own].map(HeaderValue::from_static).into();
        let pages = WebPages::new(Vec::new(), origins).listening_on([127, 0, 0, 1].into());
        for (origin, path, admin, is_allowed) in [
            ("https://app.example", "/v1/models", open(), true),
            ("https://app.example", "/healthz", open(), true),
            ("https://app.example", "/calls", open(), false),
            ("https://app.example", "/signals/p/m/force-open", open(), false),
            ("https://app.example", "/calls", keyed(), true),
            (own, "/calls", open(), true),
        ] {
            let headers = [("host", "localhost:8787"), ("origin", origin)];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let headers = HeaderMap::from_iter(headers);
            for method in [Method::GET, Method::POST] {
                let checked = pages.check(&method, &Uri::from_static(path), &headers, &admin);
                assert_eq!(checked.is_ok(), is_allowed, "{origin} {path} {admin:?}");
            }
        }
    }

    #[test]
    fn only_hosts_of_the_loopback_interface_and_of_the_file_are_accepted() {
        let loopback = pages(&["gateway.internal"]).listening_on([127, 0, 0, 1].into());
        for host in [
            "localhost",
            "localhost:8787",
            "LOCALHOST",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:8787",
            "127.9.9.9",
            "[::1]:8787",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "gateway.internal",
            "Gateway.Internal:80",
        ] {
            assert_eq!(check(&loopback, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8787",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "not.localhost.example",
            "localhost@evil.example",
            "evil@localhost",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0:8787",
            "",
            ":8787",
            "a b",
            ".",
            "gateway.internal.evil.example",
        ] {
            let error = check(&loopback, &[("host", host)]).unwrap_err();
            assert!(error.ends_with("is not that of this gateway, see `hosts`"), "{host}: {error}");
        }
        for host in ["gateway", "gateway:8787", "notlocalhost"] {
            assert_eq!(check(&loopback, &[("host", host)]), Ok(()), "{host}");
            for sign in [("origin", "http://gateway:8787"), ("sec-fetch-site", "same-origin")] {
                assert!(check(&loopback, &[("host", host), sign]).is_err(), "{host} {sign:?}");
            }
        }
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check(&loopback, &twice).unwrap_err(), "request has more than one host");
        // HTTP/1.0, which no browser sends.
        assert_eq!(check(&loopback, &[]), Ok(()));
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        let absolute = Uri::from_static("http://evil.example/v1/messages");
        assert!(loopback.check(&Method::POST, &absolute, &headers, &open()).is_err());
    }

    #[test]
    fn elsewhere_hosts_are_checked_if_the_file_names_some() {
        let elsewhere = |hosts: &[&str]| pages(hosts).listening_on([0, 0, 0, 0].into());
        assert_eq!(check(&elsewhere(&[]), &[("host", "gateway.example")]), Ok(()));
        assert!(check(&elsewhere(&["a.example"]), &[("host", "gateway.example")]).is_err());
        for host in ["localhost", "10.0.0.7:8787", "[fd00::7]:8787"] {
            assert_eq!(check(&elsewhere(&["a.example"]), &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_rejected() {
        let loopback = pages(&[]).listening_on([127, 0, 0, 1].into());
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://app.example",
            "https://app.example:444",
            "HTTPS://app.example",
            "https://app.example.evil.example",
            "http://localhost:3000",
            "http://127.0.0.1:8787",
            "file://",
            "chrome-extension://abc",
            "https://app.example, https://evil.example",
        ] {
            let error = check(&loopback, &[("host", "localhost:8787"), ("origin", origin)]).unwrap_err();
            assert!(error.ends_with("is not allowed, see `origins`"), "{origin}: {error}");
        }
        let allowed = ("origin", "https://app.example");
        assert_eq!(
            check(&loopback, &[("host", "localhost"), allowed, ("sec-fetch-site", "cross-site")]),
            Ok(())
        );
        assert!(check(&loopback, &[allowed, ("origin", "https://evil.example")]).is_err());
        let own = [("host", "localhost:8787"), ("origin", "http://localhost:8787")];
        assert_eq!(check(&loopback, &own), Ok(()));
        let [host, origin] = own;
        for (site, is_own) in [("same-origin", true), ("same-site", false), ("cross-site", false)] {
            assert_eq!(check(&loopback, &[host, origin, ("sec-fetch-site", site)]).is_ok(), is_own, "{site}");
        }
        // Where the host is not checked, it may be that of a page.
        let elsewhere = pages(&[]).listening_on([10, 0, 0, 1].into());
        assert!(check(&elsewhere, &own).is_err());
        // The pages for operators need a key there, which a browser keeps for the host.
        let reset = Uri::from_static("/signals/p/m/reset");
        let headers = own.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = headers.into_iter().collect();
        assert!(elsewhere.check(&Method::POST, &reset, &headers, &keyed()).is_ok());
        assert!(
            pages(&[]).check(&Method::POST, &reset, &headers, &keyed()).is_err(),
            "the address is unknown"
        );
    }

    #[test]
    fn requests_of_other_sites_without_an_origin_are_rejected() {
        let loopback = pages(&[]).listening_on([127, 0, 0, 1].into());
        for (site, is_accepted) in
            [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false), ("x", false)]
        {
            assert_eq!(check(&loopback, &[("sec-fetch-site", site)]).is_ok(), is_accepted, "{site}");
        }
        for (method, mode, destination, is_accepted) in [
            (Method::GET, "navigate", "document", true),
            (Method::GET, "navigate", "iframe", false),
            (Method::GET, "no-cors", "document", false),
            (Method::POST, "navigate", "document", false),
        ] {
            let lines = [(FETCH_SITE, "cross-site"), (FETCH_MODE, mode), (FETCH_DEST, destination)];
            let headers =
                lines.map(|(name, value)| (name, HeaderValue::from_static(value))).into_iter().collect();
            let checked = loopback.check(&method, &Uri::from_static("/"), &headers, &open());
            assert_eq!(checked.is_ok(), is_accepted, "{method} {mode} {destination}");
        }
    }
}
