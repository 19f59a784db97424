//! A gateway for model providers that keeps the calls behind it alive.
//!
//! The gateway serves the HTTP APIs of OpenAI (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`) and
//! of Anthropic (`/v1/messages`), the former at the paths of Azure's clients as well (`/openai/..`);
//! `/v1/models` lists the models of the routes, and `/v1/models/{id}` shows one. It selects a chain of targets
//! by the requested model, and forwards responses byte for byte and streams frame by frame. Requests for a
//! target with the other dialect are translated, and so are its responses. Each target is behind the layers of
//! [`tidegate`], with one stack per `provider/model` and policy.
//!
//! ```text
//! cargo run -p tidegate-gateway                          two scripted providers, and a curl line to try
//! cargo run -p tidegate-gateway -- --config file.toml    your own
//! ```
//!
//! # Response headers
//! | header | |
//! |---|---|
//! | `x-tidegate-target` | the `provider/model` of the response, also if it is a failure that was kept for the caller |
//! | `x-tidegate-attempts` | the number of requests that reached a provider before the head; `/calls` has those of targets that continue a stream as well |
//! | `x-tidegate-fallback` | the kind of fallback, if the response is not from the first target |
//! | `x-tidegate-hedge` | `won` or `lost`, if the request was sent once more because its first token was late |
//! | `x-tidegate-stale` | `true` for a cached answer; its age in seconds is in `age` |
//! | `x-tidegate-code` | the standard code, if the call failed |
//! | `x-tidegate-call` | the id of the call, for `/calls` and the log |
//! | `x-tidegate-estimated` | `true`, if the gateway has estimated a token count |
//! | `x-should-retry` | `false`, if the gateway has given up (see [retries of clients](config#retries-of-clients)) |
//!
//! An event stream has `x-accel-buffering: no` as well, and `cache-control: no-cache` unless the provider sent
//! its own, so that no proxy in front of the gateway holds it back.
//!
//! # Errors
//! An error response of a provider is forwarded unchanged. An error of the gateway itself has the fields of
//! an [`ErrorBody`](tidegate::provider::ErrorBody) and those of the caller's API: `error.type` in both APIs,
//! `error.code` as OpenAI has it, and the standard code in `error.standard_code`. It also replaces an error
//! that came with the status of a success, and has the provider's message then; a page of the network in
//! front of a provider that came with 403 or 405; and, with the provider's status, an error whose body was cut
//! short or is compressed although that was not requested. What is no HTTP, and over HTTP/1 a head that is too
//! large, is answered with 400 or 431 without a body.
//!
//! | status | |
//! |---|---|
//! | 400, 413 | a body that cannot be forwarded; a prompt that a provider rejected with a status of success |
//! | 401 | the key of the caller or of the operator is missing or wrong |
//! | 403 | the host, the origin, the page, or what the caller requests is not allowed |
//! | 404, 405 | a model without a route, or an unknown path; the wrong method |
//! | 408 | a body that arrives too slowly |
//! | 409 | a circuit is to be forced, and the policy has none that rejects calls |
//! | 414 | path and query of more than 8 KiB |
//! | 415 | a body that is declared as something else than JSON in UTF-8, or has an unknown coding |
//! | 426 | a WebSocket |
//! | 429, 503, 504 | a rejection by a gate, or by a limit of the gateway |
//! | 431 | more than 100 headers, or over HTTP/1 a head of more than 64 KiB |
//! | 502, 504 | no response was received at all, or in time; 502 also if the provider redirects |
//!
//! A request with `x-tidegate-details: trail` gets an object `resilience` in the body of any error that is
//! JSON: the time, whether a circuit rejected, and whether a failed attempt was retried and whether
//! there were fallbacks, and the [`Trail`](tidegate::Trail) with a time for each step.
//!
//! A stream that breaks off ends in an error event of the caller's API with the number of tokens before it.
//! Any other response that breaks off closes the connection to the caller as well, so that an incomplete body
//! is not taken for a complete one.
//!
//! # Paths
//! A path may lack its version (`/chat/completions`) or have it twice (`/v1/v1/messages`), since clients
//! differ in whether they expect it in the base URL.
//!
//! # What is forwarded
//! The body is forwarded as `application/json`, with the model replaced by that of the target, and so are the
//! [headers that providers read](config#forwarded-headers). Other headers are not, the credentials of a
//! caller least of all. Of the query `api-version` and `beta` are forwarded, to targets of the caller's
//! dialect, unless `query` of the provider, which every request has, sets them.
//!
//! Cookies, CORS headers, headers that describe the account of a provider, and commands to a proxy such as
//! `x-accel-redirect` are not returned to callers. The API key of a provider is removed from its errors
//! and headers, if the provider repeats it. In other answers, which are forwarded byte for byte otherwise,
//! each character of a key of at least sixteen is replaced by `*`. In errors with status 401 and 403 every
//! word that looks like a masked key or a part of one becomes `[redacted]`, whosever it is: what is
//! removed otherwise would show a caller which of its guesses is the beginning of a key. The errors of the
//! gateway repeat the words of a caller unchanged.
//!
//! # Who may use it
//! Programs on this machine, and elsewhere the [callers](config#callers) of the configuration. The pages of
//! operators need the [admin key](config#the-admin-key) there. [Web pages](config#web-pages) only if the
//! configuration names their origin.
//!
//! # Token counts
//! `/v1/messages/count_tokens` is forwarded to the first target of the chain with Anthropic's API, outside of
//! its gates. Without such a target, or if it neither counts nor rejects the request in the form of its API,
//! the tokens are estimated.
//!
//! # Recent calls
//! `/calls` shows the latest calls, newest first: at most 50, or `?limit=`, and with `?code=E2001` or
//! `?target=openai/gpt-4o` only those that ended so. `/calls/{id}` shows one. A call is shown from its
//! beginning; requests that are rejected before, because of their key or origin, are none. How many are kept:
//! `calls_kept`, and at most 16 MiB.
//!
//! | field | |
//! |---|---|
//! | `id`, `started` | as in `x-tidegate-call`; the time in RFC 3339 |
//! | `path`, `route` | the path of the gateway, and the `model` of the route |
//! | `caller` | the name of the caller, if there are `[[callers]]` |
//! | `target`, `status`, `code`, `head_ms` | as in the head of the response; `null` before it |
//! | `end` | how the response ended: `finished`; `failed`, if the provider reported a failure in the stream; `cut`, if its response broke off; `stalled`, if a timer expired; `stopped`, if the gateway stopped; `unread` or `dropped`, if the caller did not read it or left; `null` before that |
//! | `total_ms`, `bytes` | the time until the end, and the length of the response so far |
//! | `tokens` | of all attempts, if any was sent: as reported by the provider, or else counted; `input` is `null` if none has reported it, `cache_read` and `cache_written` are those of the prompts in the caches of the providers, and `unknown_attempts` is the number of attempts whose output is unknown and not in `output` |
//! | `trail` | every attempt, rejection, wait and fallback, with its time (see [`Trail`](tidegate::Trail)) |
//!
//! # Live page
//! A browser at `/` gets a page with the targets, their circuits and quotas, the changes of state, and the
//! recent calls with their trails; other clients get the list of paths. The page is a part of the program,
//! loads nothing from another host, and has buttons for the changes below. It follows `/live`, a stream of
//! server-sent events: first a `snapshot`, then an `update` with what has changed within half a second, and a
//! comment after five seconds without one. At most 16 subscribers are accepted at a time; one that leaves 16
//! events unread is dropped, and the page connects again. The events end when the gateway stops.
//!
//! | field | |
//! |---|---|
//! | `at`, `keeps_calls` | in a snapshot only: the time of the gateway, and whether it keeps calls |
//! | `targets` | as in `/signals`, without `busiest_keys`; `first_token_ms` has the times since the update before |
//! | `totals` | the calls since the start: `begun`, `succeeded`, `failed`, and `left` by their caller before the end |
//! | `transitions` | as in `/transitions`, oldest first; in an update the new ones |
//! | `calls` | as in `/calls`, oldest first and without the trail, with `number`, `attempts` and `is_fallback`; in an update those that have changed, and at most 100 |
//!
//! `/transitions` has the latest 256 changes of the circuits, newest first: `number`, `at`, `target`,
//! `policy`, `key` (a hash of the key of the circuit, or `null` without keys), `from`, `to`, `reason`,
//! `cooldown_ms` (`null` unless it opened), and `recovery_ms` (`null` unless it closed). Of one target at most
//! 64 are kept between two reads.
//!
//! # Targets
//! `/signals` shows the state of each target under each policy: its gates, whether it has a circuit that
//! rejects calls, the totals of its circuit, the twenty keys with the most calls, a `health_score` from 0 to
//! 1, and a `status`. It is `unhealthy` if the circuit is open for every key; `degraded` if it is half-open
//! or open for some key, if the provider has closed the rate limit, or if the score is below 0.5; otherwise
//! `healthy`. `/healthz`, or `/health`, is 200 as long as the gateway runs, with `"status": "degraded"` and
//! the names of the `targets` that are not healthy, or were not up to a second ago. After a
//! [reload](config#reload) it has its time and result as `last_reload`.
//!
//! ```text
//! curl -X POST localhost:8787/signals/openai/gpt-4o/reset          closes the circuit and refills the quotas
//! curl -X POST localhost:8787/signals/openai/gpt-4o/force-open     rejects every call until a reset
//! curl -X POST localhost:8787/signals/openai/gpt-4o/force-closed   admits every call until a reset
//! ```
//!
//! A reset brings a member of a group back that is left out after a failure. It keeps the quotas that
//! [several gateways](config#several-gateways) share.
//! A circuit that its policy does not have, or has in shadow mode, cannot be forced: 409.
//! With `?policy=` only the target under that policy is changed. The response contains the changed targets as
//! `/signals` does. Unless the gateway is on the loopback interface and the configuration has no `[admin]`,
//! these pages need the [admin key](config#the-admin-key), and `/healthz` names the targets only with it.
//!
//! # The program
//! SIGTERM, SIGINT and SIGQUIT stop it, and a second one ends the calls in flight (see
//! [`RunningGateway::stop`]). SIGHUP [reloads](config#reload) the file. Other signals that end a process by
//! default, such as SIGUSR1 and SIGXCPU, are logged and ignored, and so is SIGHUP without a file. The log on
//! the standard error output neither fails nor delays a call: lines that cannot be written are lost, counted,
//! and reported by `/healthz` as `lost_log_lines` and in the log itself. `log = "json"` in the file, or
//! `--log json`, makes each line a JSON object with `timestamp`, `level`, `message` and the fields of the
//! event; without it lines are text. The variable `RUST_LOG` selects events.
//!
//! | exit code | |
//! |---|---|
//! | 0 | stopped, and every call was completed |
//! | 1 | cannot listen, cannot reach a store in the mode `fail_closed`, cannot start the log or the runtime, or cannot write what is printed; or a panic has ended the listener |
//! | 2 | the configuration or an argument is invalid |
//! | 3 | stopped, and calls were cut; the log has their number |
//!
//! # Metrics
//! `/metrics` has the metrics of `docs/metrics.md` in the text format of Prometheus. In a program of your
//! own, [`PrometheusMetrics::install`] comes first, and [`Gateway::metrics`] serves them.
//!
//! # Callers that leave
//! A call is cancelled when its caller closes the connection, also behind bytes of a next request. A caller
//! that has announced its last request (`connection: close`, or HTTP/1.0 without `keep-alive`) may close its
//! sending side and still receives the response; if it leaves, that is noticed at the next write. With TLS
//! both hold for the end of the TCP connection, with or without the closing alert of TLS; an alert alone,
//! behind bytes of a next request, is noticed once the response has ended.

mod access;
mod alerts;
mod call_trace;
mod calls;
mod client;
mod client_pools;
pub mod config;
mod connections;
mod connector;
mod demo;
mod endpoint;
mod error_format;
mod gateway;
mod half_close;
mod http_version;
mod live;
mod log_format;
mod log_limit;
mod log_writer;
mod open_calls;
#[cfg(feature = "otlp")]
mod otlp;
mod pages;
mod paths;
mod prometheus;
mod proxy;
mod reload;
mod running_config;
mod server;
mod service;
mod shared_stream;
mod slow_reader;
mod sync;
mod target_health;
mod targets;
mod times;
mod transitions;
mod woken_body;

pub use config::{Config, ConfigSource, GatewayConfigError};
pub use demo::Demo;
pub use gateway::Gateway;
pub use log_format::LogFormat;
pub use log_writer::LogWriter;
pub use prometheus::{PrometheusMetrics, RecorderInstalled};
pub use server::{RunningGateway, raise_descriptor_limit};
