//! A gateway for model providers that keeps the calls behind it alive.
//!
//! It speaks OpenAI's HTTP (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`) and Anthropic's (`/v1/messages`), picks a chain
//! of targets by the model asked for, and passes answers through byte for byte, streams frame by frame. A target that
//! speaks the other of the two dialects is asked in its own, and its answers are translated. Each target stands behind
//! the layers of [`tidegate`], one stack for each `provider/model` and policy.
//!
//! ```text
//! cargo run -p tidegate-gateway                          two scripted providers, and a curl line to try
//! cargo run -p tidegate-gateway -- --config file.toml    your own
//! ```
//!
//! # What an answer tells
//! | header | |
//! |---|---|
//! | `x-tidegate-target` | the `provider/model` that answered, or was asked last |
//! | `x-tidegate-attempts` | how many requests reached a provider |
//! | `x-tidegate-fallback` | how the answer was come by, if not from the first target |
//! | `x-tidegate-code` | the standard code, if it failed |
//!
//! A provider's own error passes through as it came. What the gateway says itself is an
//! [`ErrorBody`](tidegate::ErrorBody): 429, 503 or 504 when a gate refused, 502 when no answer came, 504 when none came in
//! time, 404 for a model without a route, 400 and 413 for a body that cannot be asked of anybody.
//!
//! # What passes and what stays
//! The method, the query and the credentials of a caller stay here, with its cookies and all that says how it came;
//! other headers and the body pass, but for the model, which is the target's. An answer that breaks in the middle
//! breaks the connection to the caller as well, so that nobody takes a part for the whole.

pub mod config;
mod demo;
mod endpoint;
mod gateway;
mod pages;
mod patient;
mod proxy;
mod server;

pub use config::{Config, ConfigError};
pub use demo::Demo;
pub use gateway::Gateway;
pub use server::Running;
