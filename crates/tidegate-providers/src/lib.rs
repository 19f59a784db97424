//! What each model provider means by its status, headers, error body and stream.
//!
//! # When
//!
//! A status is half of the story. A 429 may be a rate limit (wait), an empty purse (do not ask again) or a
//! model without room (ask elsewhere), and only the body tells which. [`ProviderClassifier`] reads it and
//! answers with the [`Outcome`](tidegate_core::Outcome) the layers decide on; no layer names a vendor.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//!
//! use tidegate_core::{Classifier, ErrorCode};
//! use tidegate_providers::{Provider, ProviderClassifier};
//!
//! let openai = ProviderClassifier::new(Provider::named("openai/gpt-4o"));
//! let (head, ()) = http::Response::builder().status(429).body(()).unwrap().into_parts();
//! let body = br#"{"error": {"message": "no credit left", "code": "insufficient_quota"}}"#;
//!
//! let outcome = openai.classify(&head, body, SystemTime::now());
//! assert_eq!(outcome.failure().unwrap().code, ErrorCode::QuotaExhausted);
//! ```
//!
//! # Defaults
//!
//! `ProviderClassifier::default()` is for [`Provider::Other`]: it knows every body shape and every word, since
//! the providers copied them from each other. Naming the provider settles what is ambiguous, such as a limit
//! that one provider counts by the day and another by the minute.
//!
//! # How it judges
//!
//! 1. A code word in the body. `error.code` goes before a `reason` in the details, and that before
//!    `error.type`. A word that only says "bad request" never overrules a status that says more.
//! 2. The message, matched as words: "explanation" does not hold the word "plan", and a link holds no words.
//! 3. The status, or the number a body repeats in its place.
//! 4. E9999.
//!
//! The wait comes from the usual headers, else from a field of the body, else from the message, else from the
//! reset header of the limit that is used up. None of them can exceed
//! [`RetryHint::MAX_WAIT`](tidegate_core::RetryHint::MAX_WAIT).
//!
//! # Streams
//!
//! A body is read for statuses from 400 up, and an answer with 2xx is a success by its head. What its body comes
//! to is told by the one that [`scan`](tidegate_core::Classifier::scan) hands out: see [`stream`]. An error
//! that arrives under a 200 alone, outside a stream, is for the one who reads that body:
//! [`ProviderClassifier::failure_in`] judges it.
//!
//! # Limits
//!
//! What a request will take is estimated by [`PromptEstimate`]; what an answer took is read from its body as that passes
//! ([`meter`](tidegate_core::Classifier::meter)), and how the limits stand from its headers, in the words of each
//! provider ([`announced`](tidegate_core::Classifier::announced)).
//!
//! # Models
//!
//! [`ModelTable`] knows what well-known models can take, and what a request asks of its model, so that a chain passes
//! over targets that could only refuse.
//!
//! # Mistakes people make
//!
//! - Retrying every 429. An account out of credit stays out of credit.
//! - Looking for `quota` inside the message. Google says it of limits per minute, and others in a link.
//! - Logging the message. It may quote the prompt or a key; only the provider's code word leaves this crate.
//!
//! Everything is a function of bytes, headers and a `now`: no clock, no I/O. Any bytes can be judged; what
//! cannot be read leaves the verdict to the status.

mod reported_limits;
mod error_response;
mod capabilities;
mod classifier;
pub mod compose;
pub mod continuation;
mod error_body;
mod stream_flag;
mod json_fields;
mod go_duration;
mod limit_kind;
mod failure_class;
mod models;
mod body_probe;
mod phrases;
mod prompt;
mod provider;
mod reset_headers;
mod message_wait;
pub mod stream;
#[cfg(feature = "tiktoken")]
mod tiktoken;
mod retry_after;
pub mod translate;
mod usage;
mod error_codes;
mod word_match;

pub use capabilities::ModelTable;
pub use classifier::ProviderClassifier;
pub use prompt::PromptEstimate;
pub use provider::Provider;
#[cfg(feature = "tiktoken")]
pub use tiktoken::Tiktoken;
