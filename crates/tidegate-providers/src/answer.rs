//! One answer, judged: from what it says to what it means.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use tidegate_core::{Category, ErrorCode, Failure, LimitScope, RetryHint};

use crate::error_body::ErrorBody;
use crate::meaning::Meaning;
use crate::vocabulary::{Weight, look_up};
use crate::{Provider, limit, phrases, resets, told};

/// One answer, with all that was read of it.
pub(crate) struct Answer<'a> {
    provider: Provider,
    status: Option<StatusCode>,
    headers: &'a HeaderMap,
    body: ErrorBody<'a>,
    /// The wait it tells, before it is known whether the failure is one to wait for.
    told: Option<RetryHint>,
}

/// What decided, how firmly, and the provider's word if it was one.
struct Verdict<'a> {
    meaning: Meaning,
    weight: Weight,
    word: Option<&'a str>,
}

impl<'a> Answer<'a> {
    pub(crate) fn read(
        provider: Provider,
        status: Option<StatusCode>,
        headers: &'a HeaderMap,
        body: &'a [u8],
        now: SystemTime,
    ) -> Self {
        let body = ErrorBody::read(body);
        let told = told::hint(headers, &body, now);
        Self { provider, status, headers, body, told }
    }

    /// Whether the body has the shape of an error.
    pub(crate) fn is_error(&self) -> bool {
        self.body.is_error
    }

    pub(crate) fn failure(&self, now: SystemTime) -> Failure {
        let verdict = self.verdict();
        let meaning = self.narrowed(&verdict);
        Failure {
            code: meaning.code,
            cause: meaning.cause,
            hint: self.hint(meaning, now),
            provider_code: self.provider_code(verdict.word),
        }
    }

    /// The precedence: code word, message, status, the vague word that is all there is, nothing.
    fn verdict(&self) -> Verdict<'_> {
        self.by_word().unwrap_or_else(|| Verdict {
            meaning: self
                .by_message()
                .or_else(|| self.by_status())
                .or_else(|| self.words().find_map(|word| Some(look_up(word)?.meaning)))
                .unwrap_or(Meaning::of(ErrorCode::Unknown)),
            weight: Weight::Vague,
            word: None,
        })
    }

    fn by_word(&self) -> Option<Verdict<'_>> {
        let known = self.words().find_map(|word| {
            let known = look_up(word)?;
            let is_believed =
                known.weight != Weight::Vague || self.is_believed_of_a_server(word, known.meaning);
            is_believed.then_some(Verdict { meaning: known.meaning, weight: known.weight, word: Some(word) })
        });
        let exactly = |meaning| Verdict { meaning, weight: Weight::Exact, word: None };
        known
            .or_else(|| phrases::is_reserved(self.body.whole_message()).then(|| exactly(Meaning::RATE)))
            // Azure's code for a rate limit is the status in quotes.
            .or_else(|| {
                let is_429 = self.provider == Provider::Azure && self.body.number == Some(429);
                is_429.then(|| exactly(Meaning::RATE))
            })
    }

    /// `server_error` as the code next to a 5xx is the provider's word; as the type it is said of any 5xx.
    fn is_believed_of_a_server(&self, word: &str, meaning: Meaning) -> bool {
        self.body.code.as_deref() == Some(word)
            && meaning.code == ErrorCode::ServerError
            && self.status.is_some_and(|status| status.is_server_error())
    }

    fn by_message(&self) -> Option<Meaning> {
        let (message, status) =
            (self.body.whole_message(), self.standing_status().map(|status| status.as_u16()));
        let is_too_long = || {
            phrases::is_too_long(message) || self.body.upstream.as_deref().is_some_and(phrases::is_too_long)
        };
        let is_refused = || phrases::is_refused(message) || self.body.is_flagged;
        Some(match status {
            None | Some(400 | 413 | 422) if is_too_long() => Meaning::CONTEXT,
            None | Some(400 | 403 | 422) if is_refused() => Meaning::FILTER,
            None | Some(400..500) if phrases::is_unpaid(message) => Meaning::SPEND,
            Some(403) if phrases::names_a_purse(message) => Meaning::SPEND,
            None | Some(500..) if phrases::is_full(message) => Meaning::OVERLOAD,
            _ => return None,
        })
    }

    fn by_status(&self) -> Option<Meaning> {
        Meaning::of_status(self.standing_status()?)
    }

    /// The status, or the number that the body repeats in its place where that says more.
    fn standing_status(&self) -> Option<StatusCode> {
        let number = self.body.number.filter(|number| (400..600).contains(number));
        let number = number.and_then(|number| StatusCode::from_u16(number).ok());
        let says_more = |&status: &StatusCode| Meaning::of_status(status).is_some_and(|it| !it.is_vague());
        number.filter(says_more).or(self.status).or(number)
    }

    /// What the verdict comes to, once a limit is told from its look-alikes.
    fn narrowed(&self, verdict: &Verdict<'_>) -> Meaning {
        let kind = match verdict.meaning.code {
            ErrorCode::RateLimited | ErrorCode::QuotaExhausted => {
                limit::kind(verdict.meaning, verdict.weight, &self.body, self.told_wait())
            }
            _ => verdict.meaning,
        };
        // Groq's 413: one request above the limit of a minute, under the code of a rate limit.
        let is_too_large = self.status == Some(StatusCode::PAYLOAD_TOO_LARGE);
        if is_too_large && kind.code == ErrorCode::RateLimited { Meaning::CONTEXT } else { kind }
    }

    /// The wait that was told. A zero tells nothing that a limit could be known by.
    fn told_wait(&self) -> Option<Duration> {
        self.told.and_then(|hint| hint.wait).filter(|wait| !wait.is_zero())
    }

    /// A wait of the body is for limits and server trouble; next to a bad request it would be a quote.
    fn hint(&self, meaning: Meaning, now: SystemTime) -> Option<RetryHint> {
        let is_worth_a_wait = matches!(meaning.code.category(), Category::Rate | Category::Server);
        let mut hint = if is_worth_a_wait { self.told } else { RetryHint::from_headers(self.headers, now) };
        if meaning.code == ErrorCode::RateLimited
            && self.told_wait().is_none()
            && let Some(reset) = resets::hint(self.provider, self.headers, now)
        {
            hint = Some(RetryHint { should_retry: hint.and_then(|hint| hint.should_retry), ..reset });
        }
        match meaning.scope {
            LimitScope::Momentary => hint,
            scope => Some(hint.unwrap_or_default().with_scope(scope)),
        }
    }

    /// The code words, most telling first.
    fn words(&self) -> impl Iterator<Item = &str> {
        let body = &self.body;
        let code = body.code.as_deref().into_iter();
        code.chain(body.reasons.iter().map(|reason| &**reason))
            .chain(self.exception())
            .chain(body.kind.as_deref())
            .chain(body.status.as_deref())
    }

    /// The exception that Bedrock names in a header: `ThrottlingException:http://...`.
    fn exception(&self) -> Option<&str> {
        let value = self.headers.get("x-amzn-errortype")?.to_str().ok()?;
        value.split(':').next()?.rsplit('#').next()
    }

    /// The word that decided, else the first there is, else the number. Only what looks like a word is handed
    /// on: the field of a stranger may hold anything, a prompt or a key included.
    fn provider_code(&self, decided: Option<&str>) -> Option<Box<str>> {
        let is_word = |word: &&str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            (1..=64).contains(&word.len()) && word.bytes().all(is_plain)
        };
        let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
        let first = self.words().filter(is_word).find(|word| !is_number(word));
        let word = decided.filter(is_word).or(first);
        word.map(Box::from).or_else(|| Some(self.body.number?.to_string().into()))
    }
}
