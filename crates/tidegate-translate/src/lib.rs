//! Requests and responses in the dialects of model providers: translated, continued, composed.
//!
//! # When to use it
//!
//! A fallback chain sends the request of one caller to several targets. The dialects of OpenAI's chat
//! completions and Anthropic's messages differ, a stream may break after a part of it was delivered, and all
//! targets may be unavailable. This crate implements the traits of `tidegate_core` with which the layers
//! handle these cases without dialect code of their own.
//!
//! | type | trait | purpose |
//! |--|--|--|
//! | [`ChatToMessages`], [`MessagesToChat`] | [`Translator`](tidegate_core::Translator) | call a target at its native API: [`translation`] |
//! | [`StreamContinuation`] | [`StreamContinuator`](tidegate_core::StreamContinuator) | continue a broken stream with another target: [`continuation`] |
//! | [`Composer`] | [`AnswerSynthesizer`](tidegate_core::AnswerSynthesizer) | respond from a cache or with a fixed text: [`compose`] |
//!
//! The pages of the modules have an example each.
//!
//! # Common mistakes
//!
//! - Translating for a provider that offers the caller's dialect at another URL.
//!
//! Everything is a function of bytes, headers and a `now`: no clock, no I/O. Any bytes can be passed in; a
//! request that cannot be translated is an error that names the field.

pub mod compose;
mod content_text;
pub mod continuation;
mod models;
mod request_fields;
mod sse;
pub mod translation;
mod untranslatable;

pub use compose::Composer;
pub use continuation::StreamContinuation;
pub use models::max_output_tokens;
pub use translation::{ChatToMessages, MessagesToChat};
