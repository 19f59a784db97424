//! A gateway for model providers that keeps the calls behind it alive.
//!
//! The gateway serves the HTTP APIs of OpenAI (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`) and
//! of Anthropic (`/v1/messages`). It selects a chain of targets by the requested model, and forwards
//! responses byte for byte and streams frame by frame. Requests for a target with the other dialect are
//! translated, and so are its responses. Each target is behind the layers of [`tidegate`], with one stack per
//! `provider/model` and policy.
//!
//! ```text
//! cargo run -p tidegate-gateway                          two scripted providers, and a curl line to try
//! cargo run -p tidegate-gateway -- --config file.toml    your own
//! ```
//!
//! # Response headers
//! | header | |
//! |---|---|
//! | `x-tidegate-target` | the `provider/model` of the response, or of the last attempt |
//! | `x-tidegate-attempts` | the number of requests that reached a provider |
//! | `x-tidegate-fallback` | the kind of fallback, if the response is not from the first target |
//! | `x-tidegate-code` | the standard code, if the call failed |
//!
//! An error response of a provider is forwarded unchanged. An error of the gateway itself is an
//! [`ErrorBody`](tidegate::provider::ErrorBody): 429, 503 or 504 for a rejection by a gate, 502 if no response was
//! received, 504 if none was received in time, 404 for a model without a route, 400 and 413 for a body that
//! cannot be forwarded.
//!
//! # What is forwarded
//! The method, the query, the credentials, the cookies and the forwarding headers of a caller are not
//! forwarded. Other headers are, and so is the body, in which the model is replaced by that of the target. If
//! a response breaks off, the connection to the caller is closed as well, so that an incomplete body is not
//! taken for a complete one.

mod client;
pub mod config;
mod demo;
mod endpoint;
mod gateway;
mod pages;
mod proxy;
mod server;
mod slow_reader;

pub use config::{Config, GatewayConfigError};
pub use demo::Demo;
pub use gateway::Gateway;
pub use server::RunningGateway;
