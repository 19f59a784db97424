//! Classification of model provider responses by status, headers, error body and stream.
//!
//! # When to use it
//!
//! A status alone is not enough. A 429 may be a rate limit (wait), an exhausted credit (do not retry) or a
//! model without capacity (use another target), and only the body distinguishes them. [`ProviderClassifier`]
//! reads the body and returns the [`Outcome`](tidegate_core::Outcome) on which the layers decide. No layer
//! names a vendor.
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
//! `ProviderClassifier::default()` is for [`Provider::Other`]. It recognises every body shape and every error
//! code, since the providers copied them from each other. Naming the provider resolves ambiguities, such as a
//! limit that one provider counts per day and another per minute.
//!
//! # Classification rules
//!
//! 1. An error code in the body. `error.code` takes precedence over a `reason` in the details, and that over
//!    `error.type`. A code that only means "bad request" never overrides a status that is more specific.
//! 2. The message, matched by whole words: "explanation" does not contain the word "plan", and links are
//!    skipped.
//! 3. The status, or the number that a body contains in its place.
//! 4. E3001 for what came with the status of a success: the provider accepted the request and did not answer
//!    it.
//!
//! The wait is taken from the usual headers, else from a field of the body, else from the message, else from
//! the reset header of the exhausted limit. No wait can exceed
//! [`RetryHint::MAX_WAIT`](tidegate_core::RetryHint::MAX_WAIT).
//!
//! # Streams
//!
//! The body is read for statuses from 400 up. A 2xx response is a success by its head. The outcome of its
//! body is determined by the scanner that [`scan`](tidegate_core::Classifier::scan) returns: see [`stream`].
//! An error in the body of a 200 outside of a stream is classified by [`ProviderClassifier::failure_in`].
//!
//! # Limits
//!
//! [`PromptEstimate`] estimates the tokens of a request. The usage of a response is read from its body as the
//! body passes ([`usage_scanner`](tidegate_core::Classifier::usage_scanner)). The status of the limits is
//! read from its headers, in the format of each provider
//! ([`reported_limits`](tidegate_core::Classifier::reported_limits)).
//!
//! # Models
//!
//! [`ModelTable`] holds the capabilities of well-known models, and reads the requirements of a request, so
//! that a fallback chain skips targets that would reject the request.
//!
//! # Common mistakes
//!
//! - Retrying every 429. An account without credit stays without credit.
//! - Searching the message for `quota`. Google uses the word for limits per minute, and other providers in a
//!   link.
//! - Logging the message. It may quote the prompt or a key; only the provider's error code leaves this crate.
//!
//! Everything is a function of bytes, headers and a `now`: no clock, no I/O. Any bytes can be classified. If
//! the body cannot be read, the status decides.

mod body;
mod capabilities;
mod classifier;
mod conversation;
mod convert;
mod dialect;
mod endpoint;
mod error;
mod event;
mod json;
mod limits;
mod model_field;
mod prompt;
mod provider;
mod request_fields;
mod side_effects;
pub mod stream;
mod text;
#[cfg(feature = "tiktoken")]
mod tiktoken;

pub use body::format::BodyFormat;
pub use capabilities::ModelTable;
pub use classifier::ProviderClassifier;
pub use conversation::first_messages_digest;
pub use error::phrases::prompt_too_long;
pub use json::has_too_many_nodes;
pub use model_field::{ModelField, ModelFieldError, ModelSpan};
pub use prompt::PromptEstimate;
pub use provider::Provider;
pub use side_effects::has_side_effects;
#[cfg(feature = "tiktoken")]
pub use tiktoken::Tiktoken;
