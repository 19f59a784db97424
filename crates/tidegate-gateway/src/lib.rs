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
//! | `x-tidegate-estimated` | `true`, if the gateway has estimated a token count |
//! | `x-should-retry` | `false`, if the gateway has given up (see [retries of clients](config#retries-of-clients)) |
//!
//! An event stream has `x-accel-buffering: no` and `cache-control: no-cache` as well, unless the provider
//! sent its own, so that no proxy in front of the gateway holds it back.
//!
//! # Errors
//! An error response of a provider is forwarded unchanged. An error of the gateway itself has the fields of an
//! [`ErrorBody`](tidegate::provider::ErrorBody) and those of the caller's API: `error.type` in both APIs,
//! `error.code` as OpenAI has it, and the standard code in `error.standard_code`. Its status is 429, 503 or
//! 504 for a rejection by a gate, 502 if no response was received, 504 if none was received in time, 404 for a
//! model without a route, 400 and 413 for a body that cannot be forwarded.
//!
//! A stream that breaks off ends in an error event of the caller's API with the number of tokens before it. Any other response that breaks off closes the
//! connection to the caller as well, so that an incomplete body is not taken for a complete one.
//!
//! # What is forwarded
//! The body is forwarded, with the model replaced by that of the target, and so are the
//! [headers that providers read](config#forwarded-headers). Other headers are not, the credentials of a caller least of
//! all. The query is forwarded without credentials to targets of the caller's dialect.
//!
//! Cookies, CORS headers and headers that describe the account of a provider are not returned to callers. The API key of
//! a provider is removed from its errors and headers, if the provider repeats the key, a beginning of at least eight
//! characters, another part of at least sixteen, or a masked form.
//!
//! # Who may use it
//! Programs on this machine, and elsewhere the [callers](config#callers) of the configuration. [Web pages](config#web-pages)
//! only if the configuration names their origin.
//!
//! # Token counts
//! `/v1/messages/count_tokens` is forwarded to the first target of the chain with Anthropic's API, outside of
//! its gates. Without such a target, or if it does not count, the tokens are estimated.
//!
//! # The program
//! SIGTERM, SIGINT and SIGQUIT stop it, and a second one ends the calls in flight (see [`RunningGateway::stop`]). SIGHUP,
//! SIGUSR1, SIGUSR2, SIGALRM and SIGIO are logged and ignored. The log on the standard error output neither fails nor
//! delays a call: lines that cannot be written are lost, counted, and reported by `/healthz` as `lost_log_lines` and in the
//! log itself.
//!
//! | exit code | |
//! |---|---|
//! | 0 | stopped, and every call was completed |
//! | 1 | cannot listen |
//! | 2 | the configuration or an argument is invalid |
//! | 3 | stopped, and calls were cut; the log has their number |
//!
//! # Metrics
//! `/metrics` has the metrics of `docs/metrics.md` in the text format of Prometheus. In a program of your own,
//! [`PrometheusMetrics::install`] comes first, and [`Gateway::metrics`] serves them.
//!
//! # Callers that leave
//! A call is cancelled when its caller closes the connection, also behind bytes of a next request. A caller that has announced its last request
//! (`connection: close`, or HTTP/1.0) may close its sending side and still receives the response; if it leaves,
//! that is noticed at the next write.

mod access;
mod client;
pub mod config;
mod connections;
mod demo;
mod endpoint;
mod error_format;
mod gateway;
mod half_close;
mod http_version;
mod log_writer;
mod open_calls;
mod pages;
mod paths;
mod prometheus;
mod proxy;
mod server;
mod shared_stream;
mod slow_reader;

pub use config::{Config, GatewayConfigError};
pub use demo::Demo;
pub use gateway::Gateway;
pub use log_writer::LogWriter;
pub use prometheus::{PrometheusMetrics, RecorderInstalled};
pub use server::{RunningGateway, raise_descriptor_limit};
