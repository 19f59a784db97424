use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use tidegate::ErrorCode;

use super::AccessKey;
use super::callers::{after_scheme, bearer};
use crate::proxy::GatewayError;

/// The access to the pages for operators: signals, calls, metrics, the changes of targets.
#[derive(Debug, PartialEq)]
pub(crate) struct AdminPages {
    key: Option<AccessKey>,
    /// Whether only this machine reaches the gateway.
    is_on_loopback: bool,
}

/// A request extension: the request may read everything about the gateway, and change its targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminAccess;

/// The part of the gateway to which a path belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// Needs no key: load balancers have none.
    Health,
    /// The APIs for callers.
    Api,
    /// All other paths, so that a new page is not open by accident.
    Admin,
}

/// The paths of [`Area::Health`].
const HEALTH: [&str; 3] = ["/health", "/healthz", "/readyz"];

/// The beginnings of the paths of [`Area::Api`].
const APIS: [&str; 2] = ["/v1/", "/openai/"];

/// With this a browser requests the key, as the password of any user.
const BASIC: HeaderValue =
    HeaderValue::from_static("Basic realm=\"tidegate, with the admin key as password\"");

impl Area {
    pub(super) fn of(path: &str) -> Self {
        if HEALTH.contains(&path) {
            return Self::Health;
        }
        if APIS.iter().any(|api| path.starts_with(api)) { Self::Api } else { Self::Admin }
    }
}

impl AdminPages {
    pub(crate) fn new(key: Option<AccessKey>, is_on_loopback: bool) -> Self {
        Self { key, is_on_loopback }
    }

    /// Whether the pages need no key of their own.
    pub(super) fn are_open(&self) -> bool {
        self.is_on_loopback && self.key.is_none()
    }

    /// Whether `/healthz` may name targets.
    pub(super) fn shows_health(&self, headers: &HeaderMap) -> bool {
        self.are_open() || self.check(headers).is_ok()
    }

    /// Checks that a request has the admin key.
    ///
    /// # Errors
    ///
    /// It has another key or none, or there is no admin key.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Box<GatewayError>> {
        let Some(key) = &self.key else {
            let message =
                "this page needs the admin key, and the gateway has none, see `[admin]` in its configuration";
            return Err(Box::new(GatewayError::new(ErrorCode::PermissionDenied, message)));
        };
        let values = || headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let passwords: Vec<Vec<u8>> = values().filter_map(password).collect();
        let keys: Vec<&[u8]> =
            values().filter_map(bearer).chain(passwords.iter().map(Vec::as_slice)).collect();
        let problem = if keys.is_empty() {
            "admin key is missing, expected `authorization: Bearer`, or `Basic` with the key as password"
        } else {
            "key is not the admin key"
        };
        if key.is_among(keys) {
            Ok(())
        } else {
            let error = GatewayError::new(ErrorCode::Authentication, problem);
            Err(Box::new(error.header(WWW_AUTHENTICATE, BASIC)))
        }
    }
}

/// The password of a value with the scheme `Basic`.
fn password(value: &[u8]) -> Option<Vec<u8>> {
    let pair = BASE64_STANDARD.decode(after_scheme("basic ", value)?).ok()?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pages: &AdminPages, values: &[&str]) -> Result<(), String> {
        let values = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap()));
        pages.check(&values.collect()).map_err(|error| error.message().to_owned())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    #[test]
    fn the_admin_key_is_a_bearer_token_or_a_password() {
        let pages = AdminPages::new(Some("the:key".to_owned().into()), true);
        for value in ["Bearer the:key", "bearer  the:key", &basic("any:the:key"), &basic(":the:key")] {
            assert_eq!(check(&pages, &[value]), Ok(()), "{value}");
        }
        assert_eq!(check(&pages, &["Bearer other", &basic("u:the:key")]), Ok(()));
        for value in [
            "Bearer the:ke",
            "Bearer the:key2",
            "Bearer THE:KEY",
            &basic("the:key"),
            &basic("the:key:"),
            &basic("u:the:keys"),
        ] {
            assert_eq!(check(&pages, &[value]).unwrap_err(), "key is not the admin key", "{value}");
        }
        for value in
            ["the:key", "Basic the:key", "Basic !", "Basic", "Basic ", &basic("no colon"), "Digest x"]
        {
            assert!(check(&pages, &[value]).unwrap_err().starts_with("admin key is missing"), "{value}");
        }
        assert!(check(&pages, &[]).unwrap_err().starts_with("admin key is missing"));
        assert!(!format!("{pages:?}").contains("the:key"));
    }

    #[test]
    fn without_a_key_the_pages_are_open_on_loopback_only() {
        for (key, is_on_loopback, are_open) in
            [(None, true, true), (None, false, false), (Some("k"), true, false), (Some("k"), false, false)]
        {
            let pages = AdminPages::new(key.map(|key| key.to_owned().into()), is_on_loopback);
            assert_eq!(pages.are_open(), are_open, "{key:?} {is_on_loopback}");
            assert_eq!(pages.shows_health(&HeaderMap::new()), are_open, "{key:?} {is_on_loopback}");
        }
        let refused = check(&AdminPages::new(None, false), &["Bearer "]).unwrap_err();
        assert!(refused.contains("`[admin]`"), "{refused}");
    }

    #[test]
    fn a_path_that_is_not_that_of_an_api_is_for_operators() {
        for (path, area) in [
            ("/healthz", Area::Health),
            ("/health", Area::Health),
            ("/readyz", Area::Health),
            ("/v1/models", Area::Api),
            ("/openai/deployments/m/embeddings", Area::Api),
            ("/", Area::Admin),
            ("/live", Area::Admin),
            ("/signals/p/m/reset", Area::Admin),
            ("/healthz/x", Area::Admin),
            ("/v1", Area::Admin),
            ("/V1/models", Area::Admin),
            ("/calls", Area::Admin),
            ("/metrics", Area::Admin),
            ("*", Area::Admin),
        ] {
            assert_eq!(Area::of(path), area, "{path}");
        }
    }
}
