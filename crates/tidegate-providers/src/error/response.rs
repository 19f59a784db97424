//! Classification of an error response: from its parsed fields to a failure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use tidegate_core::{Category, ErrorCode, Failure, HintSource, LimitScope, RetryHint};

use crate::dialect::all_rules;
use crate::error::body::ParsedErrorBody;
use crate::error::class::FailureClass;
use crate::error::codes::{Specificity, look_up};
use crate::error::{challenge, limit_kind, phrases, retry_after};
use crate::limits::reset_headers;
use crate::provider::Provider;

/// The code for OpenAI's error about an item that is not stored. It has none of its own.
const ITEM_NOT_FOUND: &str = "item_not_found";

/// An error response and everything that was read from it.
pub(crate) struct ErrorResponse<'a> {
    provider: Provider,
    status: Option<StatusCode>,
    headers: &'a HeaderMap,
    body: ParsedErrorBody<'a>,
    /// The error code beside the body: in the headers, or in the frame of an event.
    outer_code: Option<&'a str>,
    /// The response is a web page of a network in front of the provider.
    is_challenge: bool,
    /// The wait in its headers, body or message, read before it is known whether the failure is worth a wait.
    reported_hint: Option<RetryHint>,
}

/// The class that was found, how specific its source is, and the provider's code if that was the source.
struct Classification<'a> {
    class: FailureClass,
    specificity: Specificity,
    code: Option<&'a str>,
}

impl<'a> ErrorResponse<'a> {
    pub(crate) fn read(
        provider: Provider,
        status: Option<StatusCode>,
        headers: &'a HeaderMap,
        body: &'a [u8],
        now: SystemTime,
    ) -> Self {
        let is_challenge = challenge::is_challenge(status, headers, body);
        let body = ParsedErrorBody::read(body);
        let reported_hint = retry_after::hint(headers, &body, now);
        let outer_code = all_rules().find_map(|rules| (rules.error_code)(headers));
        Self { provider, status, headers, body, outer_code, is_challenge, reported_hint }
    }

    /// With an error code from the frame of an event.
    pub(crate) fn with_code(self, code: Option<&'a str>) -> Self {
        Self { outer_code: code.or(self.outer_code), ..self }
    }

    /// Whether the body has the shape of an error.
    pub(crate) fn is_error(&self) -> bool {
        self.body.is_error
    }

    /// Whether its message alone shows that it is a rate limit.
    pub(crate) fn is_rate_limit(&self) -> bool {
        phrases::is_rate_limit(self.body.whole_message())
    }

    /// Whether its code is known and specific, or its number is one of a status. Where the body has not the
    /// shape of an error, a code that is an ordinary word does not count.
    pub(crate) fn has_known_code(&self) -> bool {
        let is_certain = |it: Classification<'_>| self.is_error() || it.specificity == Specificity::Exact;
        self.by_code().is_some_and(is_certain) || self.by_status().is_some()
    }

    /// Whether its code is known and one of MiniMax's, which are in a field of its answers.
    pub(crate) fn has_code_of_answer(&self) -> bool {
        let code = self.body.code.as_deref();
        code.is_some_and(|code| code.starts_with("base_resp.") && look_up(code).is_some())
    }

    pub(crate) fn failure(&self, now: SystemTime) -> Failure {
        let classification = self.classification();
        let class = self.refined(&classification);
        Failure {
            code: class.code,
            kind: class.kind,
            retry_hint: self.hint(class, classification.specificity != Specificity::Vague, now),
            provider_code: self.provider_code(classification.code),
        }
    }

    /// Whether nothing in the response is known, so that its class is only a default.
    pub(crate) fn is_unknown(&self) -> bool {
        self.known_classification().is_none()
    }

    /// The classification. An error that came with the status of a success, and of which nothing is known, is
    /// one of the server: it accepted the request and did not answer it, so another provider may.
    fn classification(&self) -> Classification<'_> {
        self.known_classification().unwrap_or(Classification {
            class: FailureClass::of(ErrorCode::ServerError),
            specificity: Specificity::Vague,
            code: None,
        })
    }

    /// The precedence: error code, message, status, a vague code.
    fn known_classification(&self) -> Option<Classification<'_>> {
        if self.is_challenge {
            let class = FailureClass::REFUSED_BY_NETWORK;
            return Some(Classification { class, specificity: Specificity::Exact, code: None });
        }
        self.by_code().or_else(|| {
            let class = self
                .by_message()
                .or_else(|| self.by_status())
                .or_else(|| self.codes().find_map(|code| Some(look_up(code)?.class)))?;
            Some(Classification { class, specificity: Specificity::Vague, code: None })
        })
    }

    fn by_code(&self) -> Option<Classification<'_>> {
        let known = self.codes().find_map(|code| {
            let known = look_up(code)?;
            let is_decisive =
                known.specificity != Specificity::Vague || self.is_specific_server_code(code, known.class);
            is_decisive.then_some(Classification {
                class: known.class,
                specificity: known.specificity,
                code: Some(code),
            })
        });
        let exactly = |class| Classification { class, specificity: Specificity::Exact, code: None };
        known
            .or_else(|| {
                let is_temporary = self.standing_status() == Some(StatusCode::PAYMENT_REQUIRED)
                    && phrases::is_credit_reserved(self.body.whole_message());
                is_temporary.then(|| exactly(FailureClass::RATE))
            })
            // Azure's code for a rate limit is the status as a string.
            .or_else(|| {
                let is_429 = self.provider == Provider::Azure && self.body.number == Some(429);
                is_429.then(|| exactly(FailureClass::RATE))
            })
    }

    /// Whether `server_error` is in the `code` field of a 5xx response, where it is specific. In the `type`
    /// field it is used for any 5xx.
    fn is_specific_server_code(&self, code: &str, class: FailureClass) -> bool {
        self.body.code.as_deref() == Some(code)
            && class.code == ErrorCode::ServerError
            && self.status.is_some_and(|status| status.is_server_error())
    }

    fn by_message(&self) -> Option<FailureClass> {
        let (message, status) =
            (self.body.whole_message(), self.standing_status().map(|status| status.as_u16()));
        let is_too_long = || {
            phrases::is_too_long(message) || self.body.upstream.as_deref().is_some_and(phrases::is_too_long)
        };
        let is_content_refused = || phrases::is_content_refused(message) || self.body.is_flagged;
        Some(match status {
            None if self.is_rate_limit() => FailureClass::RATE,
            None | Some(500) if phrases::is_unparsable(message) => FailureClass::OUTPUT,
            // Together sends 403, and llama.cpp 500.
            None | Some(400 | 403 | 413 | 422 | 500) if is_too_long() => FailureClass::CONTEXT,
            None | Some(400 | 403 | 422) if is_content_refused() => FailureClass::FILTER,
            None | Some(400 | 500) if phrases::is_sensitive(message) => FailureClass::FILTER,
            None | Some(400..500) if self.is_out_of_credit(message) => FailureClass::SPEND,
            Some(500..) if phrases::is_known_credit_error(message) => FailureClass::SPEND,
            None | Some(400) if phrases::is_account_disabled(message) || phrases::is_key_refused(message) => {
                FailureClass::of(ErrorCode::Authentication)
            }
            None | Some(500..) if phrases::is_at_capacity(message) => FailureClass::OVERLOAD,
            _ => return None,
        })
    }

    /// Whether a payment is required. Where the message may quote the request, it has to be a known sentence:
    /// a role or a tool that is called "insufficient balance" would close the provider to all callers.
    fn is_out_of_credit(&self, message: &str) -> bool {
        if self.may_quote_request() {
            return phrases::is_known_credit_error(message);
        }
        let is_forbidden = self.standing_status() == Some(StatusCode::FORBIDDEN);
        phrases::is_out_of_credit(message) || (is_forbidden && phrases::mentions_billing(message))
    }

    /// Whether the message may contain text of the caller: the request was rejected for what is in it, or it
    /// is not known why. A 403 quotes only what the key may not use.
    fn may_quote_request(&self) -> bool {
        let Some(status) = self.standing_status() else { return true };
        match status {
            StatusCode::FORBIDDEN => phrases::names_a_resource(self.body.whole_message()),
            // Of an account that is suspended.
            StatusCode::PRECONDITION_FAILED => false,
            status => matches!(
                ErrorCode::from_status(status),
                Some(ErrorCode::InvalidRequest | ErrorCode::NotFound | ErrorCode::RequestTooLarge)
            ),
        }
    }

    fn by_status(&self) -> Option<FailureClass> {
        FailureClass::of_status(self.standing_status()?)
    }

    /// The status, or the number in the body if its class is more specific.
    fn standing_status(&self) -> Option<StatusCode> {
        let number = self.body.number.filter(|number| (400..600).contains(number));
        let number = number.and_then(|number| StatusCode::from_u16(number).ok());
        let is_more_specific =
            |&status: &StatusCode| FailureClass::of_status(status).is_some_and(|it| !it.is_vague());
        number.filter(is_more_specific).or(self.status).or(number)
    }

    /// The class after limits are distinguished from errors that look alike.
    fn refined(&self, classification: &Classification<'_>) -> FailureClass {
        let kind = match classification.class.code {
            ErrorCode::RateLimited | ErrorCode::QuotaExhausted => limit_kind::refine(
                classification.class,
                classification.specificity,
                &self.body,
                self.reported_wait(),
            ),
            _ => classification.class,
        };
        // Groq's 413: a single request exceeds the limit per minute, with the code of a rate limit.
        let is_too_large = self.status == Some(StatusCode::PAYLOAD_TOO_LARGE);
        if is_too_large && kind.code == ErrorCode::RateLimited { FailureClass::CONTEXT } else { kind }
    }

    /// The wait that was reported. A zero gives no information about the limit.
    fn reported_wait(&self) -> Option<Duration> {
        self.reported_hint.and_then(|hint| hint.wait).filter(|wait| !wait.is_zero())
    }

    /// A wait in the body applies to limits and server errors only. Next to a bad request it would be a
    /// quotation, as may be one in a message without an error code or a status, unless the sentence is known.
    fn hint(&self, class: FailureClass, is_by_code: bool, now: SystemTime) -> Option<RetryHint> {
        let may_be_quoted = !is_by_code
            && self.may_quote_request()
            && !phrases::is_known_credit_error(self.body.whole_message())
            && !self.is_rate_limit();
        let is_quoted = |hint: &RetryHint| hint.source == HintSource::Message && may_be_quoted;
        let is_worth_a_wait = matches!(class.code.category(), Category::Rate | Category::Server);
        let mut hint = self
            .reported_hint
            .filter(|hint| is_worth_a_wait && !is_quoted(hint))
            .or_else(|| RetryHint::from_headers(self.headers, now));
        if class.code == ErrorCode::RateLimited
            && self.reported_wait().is_none()
            && let Some(reset) = reset_headers::hint(self.provider, self.headers, now).or_else(|| {
                self.is_of_tokens().then(|| reset_headers::hint_of_tokens(self.headers, now)).flatten()
            })
        {
            hint = Some(RetryHint { should_retry: hint.and_then(|hint| hint.should_retry), ..reset });
        }
        match class.scope {
            // The same client would be refused again.
            LimitScope::Momentary if self.is_challenge => {
                Some(RetryHint { should_retry: Some(false), ..hint.unwrap_or_default() })
            }
            LimitScope::Momentary => hint,
            scope => Some(hint.unwrap_or_default().with_scope(scope)),
        }
    }

    /// Whether the limit is one of tokens.
    fn is_of_tokens(&self) -> bool {
        self.codes().any(|code| matches!(code, "tokens" | "token_quota_exceeded"))
            || phrases::is_of_tokens(self.body.whole_message())
    }

    /// The error codes, most specific first.
    fn codes(&self) -> impl Iterator<Item = &str> {
        let body = &self.body;
        let code = body.code.as_deref().into_iter();
        code.chain(body.reasons.iter().map(|reason| &**reason))
            .chain(self.outer_code)
            .chain(body.kind.as_deref())
            .chain(body.status.as_deref())
    }

    /// The code that decided, else the first code, else the number. Only values that look like a code are
    /// passed on: the field of an unknown provider may contain anything, including a prompt or a key.
    fn provider_code(&self, decided: Option<&str>) -> Option<Box<str>> {
        let is_code_like = |code: &&str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            (1..=64).contains(&code.len()) && code.bytes().all(is_plain)
        };
        let is_number = |code: &&str| code.bytes().all(|b| b.is_ascii_digit());
        let first = self.codes().filter(is_code_like).find(|code| !is_number(code));
        let missing = phrases::is_item_missing(self.body.whole_message()).then_some(ITEM_NOT_FOUND);
        let code = decided.filter(is_code_like).or(missing).or(first);
        code.map(Box::from).or_else(|| Some(self.body.number?.to_string().into()))
    }
}
