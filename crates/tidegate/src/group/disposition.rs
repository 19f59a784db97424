//! Decides, as plain code, whether another member is called after a failure.

use http::{Method, Request};

use crate::fallback::{FallbackPolicy, is_refusal};
use crate::{Failure, Outcome, Payload, Rejection};

/// What follows the result of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberDisposition {
    /// It is the result of the call.
    Return,
    /// Another member is called, if one can take the request.
    GoOn,
    /// As [`GoOn`](Self::GoOn), and the member is left out if another one takes the request: its account has no
    /// access to the model, or its deployment is gone.
    GoOnAfterRefusal,
}

/// The failures that another member may not have, whatever the request is.
const POLICY: FallbackPolicy = FallbackPolicy { on_context_length: false, on_content_filter: false };

/// The codes for what one account has stored or encrypted, and another may have.
const OF_ONE_ACCOUNT: [&str; 3] =
    ["previous_response_not_found", "invalid_encrypted_content", "item_not_found"];

/// The providers' codes for a model or a deployment that a member does not have. Any other refusal may be for
/// what is in the request.
const WITHOUT_MODEL: [&str; 6] = [
    "model_not_found",
    "DeploymentNotFound",
    "not_found_error",
    "not_found",
    "model_decommissioned",
    "ResourceNotFoundException",
];

/// The members of a body that name what one account has stored.
const STORED: [&[u8]; 7] = [
    b"previous_response_id",
    b"conversation",
    b"file_id",
    b"file_ids",
    b"vector_store_ids",
    b"cachedContent",
    b"cached_content",
];

impl MemberDisposition {
    /// The disposition of this outcome, or of the rejection that it is of.
    pub(super) fn of(outcome: &Outcome, rejection: Option<&Rejection>, request: &Request<Payload>) -> Self {
        match (rejection, outcome) {
            (Some(rejection), _) if POLICY.falls_back_from_rejection(rejection) => Self::GoOn,
            (None, outcome) if POLICY.falls_back(outcome) => Self::GoOn,
            (None, Outcome::Failure(failure)) if has_code(failure, &OF_ONE_ACCOUNT) => Self::GoOn,
            (None, Outcome::Failure(failure)) if is_refusal(outcome) && !may_name_stored(request) => {
                if has_code(failure, &WITHOUT_MODEL) && has_body(request) {
                    Self::GoOnAfterRefusal
                } else {
                    Self::GoOn
                }
            }
            _ => Self::Return,
        }
    }

    pub(super) fn goes_on(self) -> bool {
        self != Self::Return
    }
}

fn has_code(failure: &Failure, codes: &[&str]) -> bool {
    let code = failure.provider_code.as_deref();
    code.is_some_and(|code| codes.iter().any(|known| code.eq_ignore_ascii_case(known)))
}

/// Whether the request has a body. One without names what it means in its path, which is no model.
fn has_body(request: &Request<Payload>) -> bool {
    request.body().bytes().is_some_and(|body| !body.is_empty())
}

/// Whether what is missing or forbidden may be a resource of the caller: the request reads or deletes one, or
/// its body names one. Quotes within a text are escaped, so that a text is taken for a name only if that is
/// all of it.
fn may_name_stored(request: &Request<Payload>) -> bool {
    let names = |body: &[u8]| body.split(|byte| *byte == b'"').any(|part| STORED.contains(&part));
    request.method() != Method::POST || request.body().bytes().is_none_or(|body| names(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, FailureKind, Gate};

    fn of(failure: Failure, method: Method, body: &'static str) -> MemberDisposition {
        let request = Request::builder().method(method).body(Payload::from(body)).unwrap();
        MemberDisposition::of(&failure.into(), None, &request)
    }

    #[test]
    fn a_refusal_goes_on_unless_a_resource_of_the_caller_may_be_meant() {
        use MemberDisposition::{GoOn, GoOnAfterRefusal, Return};

        // Those of OpenAI, Azure, Anthropic, Google, Groq and Bedrock.
        for provider_code in [
            "model_not_found",
            "DeploymentNotFound",
            "not_found_error",
            "NOT_FOUND",
            "model_decommissioned",
            "ResourceNotFoundException",
        ] {
            let missing =
                Failure { provider_code: Some(provider_code.into()), ..Failure::new(ErrorCode::NotFound) };
            assert_eq!(of(missing.clone(), Method::POST, "{}"), GoOnAfterRefusal, "{provider_code}");
            assert_eq!(of(missing.clone(), Method::POST, ""), GoOn, "{provider_code}");
            assert_eq!(of(missing, Method::GET, "{}"), Return);
        }
        for code in ErrorCode::ALL {
            let is_refusal = matches!(code, ErrorCode::PermissionDenied | ErrorCode::NotFound);
            for (method, body, refused) in [
                (Method::POST, "{}", GoOn),
                (Method::POST, r#"{"input": "the \"previous_response_id\" of a body"}"#, GoOn),
                (Method::POST, r#"{"previous_response_id" : "resp_1"}"#, Return),
                (Method::POST, r#"{"input": [{"content": [{"file_id": "file_1"}]}]}"#, Return),
                (Method::GET, "{}", Return),
                (Method::DELETE, "{}", Return),
            ] {
                let other = if is_refusal { refused } else { Return };
                let expected = if code.is_fallbackable() { GoOn } else { other };
                assert_eq!(of(Failure::new(code), method, body), expected, "{code} {body}");
            }
        }
        let filtered =
            Failure { kind: FailureKind::ContentFilter, ..Failure::new(ErrorCode::PermissionDenied) };
        assert_eq!(of(filtered, Method::POST, "{}"), Return);
    }

    #[test]
    fn what_another_account_may_have_stored_goes_on() {
        for (provider_code, expected) in [
            ("previous_response_not_found", MemberDisposition::GoOn),
            ("invalid_encrypted_content", MemberDisposition::GoOn),
            ("item_not_found", MemberDisposition::GoOn),
            ("invalid_value", MemberDisposition::Return),
        ] {
            for code in [ErrorCode::InvalidRequest, ErrorCode::NotFound] {
                let failure = Failure { provider_code: Some(provider_code.into()), ..Failure::new(code) };
                let body = r#"{"previous_response_id": "resp_1"}"#;
                assert_eq!(of(failure, Method::POST, body), expected, "{code} {provider_code}");
            }
        }
    }

    #[test]
    fn a_rejection_for_a_mistake_of_the_caller_is_returned() {
        let request = Request::new(Payload::from("{}"));
        for (gate, code, expected) in [
            (Gate::RateLimit, ErrorCode::RateLimited, MemberDisposition::GoOn),
            (Gate::Translate, ErrorCode::InvalidRequest, MemberDisposition::GoOn),
            (Gate::RateLimit, ErrorCode::InvalidRequest, MemberDisposition::Return),
        ] {
            let rejection = Rejection::new(gate, code);
            assert_eq!(
                MemberDisposition::of(&Outcome::Neutral, Some(&rejection), &request),
                expected,
                "{gate:?}"
            );
        }
    }
}
