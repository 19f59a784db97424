use axum::body::Body;
use axum::extract::Extension;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, Response, Uri};
use tidegate::ErrorCode;

use super::recent::RecentCalls;
use super::record::CallRecord;
use crate::endpoint::dialect_of_caller;
use crate::paths::PathText;
use crate::proxy::{GatewayError, shortened};
use crate::running_config::ConfigOfRequest;

/// The calls that a request selects.
#[derive(Debug, PartialEq)]
struct CallFilter {
    limit: usize,
    code: Option<ErrorCode>,
    target: Option<String>,
}

const DEFAULT_LIMIT: usize = 50;

/// The pages of the recent calls.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/calls", get(list)).route("/calls/{id}", get(one))
}

async fn list(Extension(running): ConfigOfRequest, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let recent = &running.proxy.recent_calls;
    let filter = check_enabled(recent).and_then(|()| {
        CallFilter::parse(uri.query().unwrap_or_default(), |target| running.targets.is_known(target))
    });
    match filter {
        Ok(filter) => {
            let calls = recent.newest_first();
            let selected = calls.iter().filter(|call| filter.selects(call)).take(filter.limit);
            Json(selected.map(|call| call.report()).collect::<Vec<_>>()).into_response()
        }
        Err(error) => error.into_response(dialect_of_caller(uri.path(), &headers)),
    }
}

async fn one(
    Extension(running): ConfigOfRequest,
    PathText(id): PathText,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let recent = &running.proxy.recent_calls;
    let found = check_enabled(recent).and_then(|()| {
        let unknown = || {
            let message = format!("call `{}` is not kept, see /calls", shortened(&id));
            Box::new(GatewayError::new(ErrorCode::NotFound, message))
        };
        recent.find(&id).ok_or_else(unknown)
    });
    match found {
        Ok(call) => Json(call.report()).into_response(),
        Err(error) => error.into_response(dialect_of_caller(uri.path(), &headers)),
    }
}

fn check_enabled(recent: &RecentCalls) -> Result<(), Box<GatewayError>> {
    if recent.is_enabled() {
        Ok(())
    } else {
        let message = "no call is kept, since calls_kept is 0";
        Err(Box::new(GatewayError::new(ErrorCode::NotFound, message)))
    }
}

impl CallFilter {
    fn parse(query: &str, is_target: impl Fn(&str) -> bool) -> Result<Self, Box<GatewayError>> {
        let mut filter = Self { limit: DEFAULT_LIMIT, code: None, target: None };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let invalid = |expected: &str| {
                let message = format!("{name}: expected {expected}, found `{}`", shortened(&value));
                Box::new(GatewayError::new(ErrorCode::InvalidRequest, message))
            };
            match &*name {
                "limit" => {
                    let limit = value.parse().ok().filter(|&limit| limit > 0);
                    filter.limit = limit.ok_or_else(|| invalid("a number of calls above 0"))?;
                }
                "code" => {
                    let code = value.parse().map_err(|_| invalid("a standard code such as E2001"))?;
                    filter.code = Some(code);
                }
                "target" if is_target(&value) => filter.target = Some(value.into_owned()),
                "target" => return Err(invalid("the name of a target, see /signals")),
                _ => {
                    let message =
                        format!("unknown parameter `{}`, expected limit, code or target", shortened(&name));
                    return Err(Box::new(GatewayError::new(ErrorCode::InvalidRequest, message)));
                }
            }
        }
        Ok(filter)
    }

    fn selects(&self, call: &CallRecord) -> bool {
        self.code.is_none_or(|code| call.code() == Some(code))
            && self.target.as_ref().is_none_or(|target| call.trail().target().as_deref() == Some(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::MAX_NAME;

    #[test]
    fn a_filter_names_the_parameter_at_fault() {
        let parse = |query: &str| CallFilter::parse(query, |target| target == "p/m");
        let all = CallFilter { limit: DEFAULT_LIMIT, code: None, target: None };
        assert_eq!(parse("").unwrap(), all);
        let rate_limited = Some(ErrorCode::RateLimited);
        let filter = CallFilter { limit: 2, code: rate_limited, target: Some("p/m".to_owned()) };
        assert_eq!(parse("limit=2&code=E2001&target=p/m").unwrap(), filter);
        assert_eq!(parse("target=p%2Fm&code=rate_limited&limit=2").unwrap(), filter);
        let long = "x".repeat(1000);
        for (query, message) in [
            ("limit=0", "limit: expected a number of calls above 0, found `0`"),
            ("limit=-1", "limit: expected a number of calls above 0, found `-1`"),
            ("limit", "limit: expected a number of calls above 0, found ``"),
            ("code=E9", "code: expected a standard code such as E2001, found `E9`"),
            ("target=p/n", "target: expected the name of a target, see /signals, found `p/n`"),
            ("Limit=1", "unknown parameter `Limit`, expected limit, code or target"),
            (&long, &format!("unknown parameter `{}`, expected limit, code or target", &long[..MAX_NAME])),
        ] {
            assert_eq!(parse(query).unwrap_err().message(), message, "{query}");
        }
    }
}
