use std::collections::HashMap;
use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate::ErrorCode;
use tidegate::store::Store;

use super::{AccessKey, CallerRules, RuleSettings};
use crate::proxy::GatewayError;

/// The callers of the configuration. Without any, a request needs no key.
#[derive(Debug, Default)]
pub(crate) struct Callers(Vec<(Caller, CallerRules)>);

/// A caller, its key, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) key: AccessKey,
    pub(crate) rules: RuleSettings,
}

/// A request extension: the caller with the key of the request.
#[derive(Clone, Debug)]
pub(crate) struct CallerName(pub(crate) Arc<str>);

/// The headers in which the official clients send a key alone.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The most keys of a request: one in each header. The comparisons are as many as keys times callers.
const MAX_KEYS: usize = 1 + KEY_HEADERS.len();

impl Callers {
    /// The callers with their limits. A caller with the name and the rules of one of `previous` shares what
    /// is used of that one's limits: also of the rates if `has_same_store`. Rates are shared through `store`.
    pub(crate) fn new(
        callers: Vec<Caller>,
        store: Option<&Store>,
        previous: Option<&Self>,
        has_same_store: bool,
    ) -> Self {
        let previous = previous.iter().flat_map(|previous| &previous.0);
        let previous: HashMap<_, _> = previous.map(|same| (&same.0.name, same)).collect();
        let with_rules = |caller: Caller| {
            let same = previous.get(&caller.name).filter(|(before, _)| before.rules == caller.rules);
            let rules = match same {
                Some((_, rules)) if has_same_store => rules.clone(),
                same => {
                    let in_flight = same.map(|(_, rules)| rules);
                    CallerRules::new(&caller.name, &caller.rules, store, in_flight)
                }
            };
            (caller, rules)
        };
        Self(callers.into_iter().map(with_rules).collect())
    }

    /// The keys of all callers.
    pub(super) fn keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.0.iter().map(|(caller, _)| &caller.key)
    }

    /// The caller with the key of a request, and its rules; `None` if there are no callers.
    ///
    /// # Errors
    ///
    /// The request has no key, or not that of exactly one caller.
    pub(super) fn identify(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<(CallerName, CallerRules)>, Box<GatewayError>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = keys(headers).take(MAX_KEYS + 1).collect();
        if keys.len() > MAX_KEYS {
            return Err(unauthorized(&format!("keys are more than {MAX_KEYS}")));
        }
        // Every key is compared with that of every caller, so that the time depends on neither.
        let is_known = |(caller, _): &&(Caller, _)| caller.key.is_among(keys.iter().copied());
        let known: Vec<_> = self.0.iter().filter(is_known).collect();
        match (&*known, keys.is_empty()) {
            ([(caller, rules)], _) => Ok(Some((CallerName(Arc::clone(&caller.name)), rules.clone()))),
            ([], true) => Err(unauthorized(
                "key of a caller is missing, expected `authorization: Bearer` or `x-api-key`",
            )),
            ([], false) => Err(unauthorized("key is that of no caller")),
            (_, _) => Err(unauthorized("keys are those of several callers")),
        }
    }
}

/// The keys in the headers of a request.
fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    let alone = KEY_HEADERS.iter().flat_map(|name| headers.get_all(name)).map(HeaderValue::as_bytes);
    bearer.chain(alone)
}

/// The token of a value with the scheme `Bearer`.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    after_scheme("bearer ", value)
}

/// The rest of a value that begins with `scheme`, in any case.
pub(super) fn after_scheme<'a>(scheme: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = value.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
}

fn unauthorized(message: &str) -> Box<GatewayError> {
    let error = GatewayError::new(ErrorCode::Authentication, message);
    Box::new(error.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, key: &str) -> Caller {
        Caller { name: name.into(), key: key.to_owned().into(), rules: RuleSettings::default() }
    }

    fn identified(
        callers: &Callers,
        lines: &[(&'static str, &'static str)],
    ) -> Result<Option<String>, String> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let name = callers.identify(&headers.collect());
        name.map(|caller| caller.map(|(CallerName(name), _)| name.to_string()))
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_key_identifies_its_caller_in_each_header_that_clients_use() {
        let callers =
            Callers::new(vec![caller("ann", "key-of-ann"), caller("ben", "key-of-ben")], None, None, false);
        for (line, name) in [
            (("authorization", "Bearer key-of-ann"), "ann"),
            (("authorization", "bearer  key-of-ben"), "ben"),
            (("x-api-key", "key-of-ann"), "ann"),
            (("api-key", "key-of-ben"), "ben"),
            (("x-goog-api-key", "key-of-ben"), "ben"),
        ] {
            assert_eq!(identified(&callers, &[line]), Ok(Some(name.to_owned())), "{line:?}");
            // Some clients send a placeholder in the other header.
            assert_eq!(identified(&callers, &[line, ("x-api-key", "none")]), Ok(Some(name.to_owned())));
        }
    }

    #[test]
    fn any_other_key_is_rejected() {
        let callers =
            Callers::new(vec![caller("ann", "key-of-ann"), caller("ben", "key-of-ben")], None, None, false);
        for lines in [
            &[("authorization", "Bearer key-of-an")][..],
            &[("authorization", "Bearer key-of-anna")],
            &[("authorization", "Bearer KEY-OF-ANN")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic key-of-ann")],
            &[("authorization", "key-of-ann")],
            &[("x-api-key", "")],
            &[("cookie", "key-of-ann")],
            &[],
        ] {
            assert!(identified(&callers, lines).unwrap_err().starts_with("key "), "{lines:?}");
        }
        // Regression: a request of one connection had as many keys compared as its head has room for, for
        // each caller.
        let several = |count: usize| identified(&callers, &vec![("x-api-key", "key-of-ann"); count]);
        assert_eq!(several(4), Ok(Some("ann".to_owned())));
        assert_eq!(several(5).unwrap_err(), "keys are more than 4");
        let both = [("x-api-key", "key-of-ann"), ("authorization", "Bearer key-of-ben")];
        assert_eq!(identified(&callers, &both).unwrap_err(), "keys are those of several callers");
        assert_eq!(identified(&Callers::default(), &both), Ok(None));
        assert_eq!(format!("{callers:?}").find("key-of"), None);
    }
}
