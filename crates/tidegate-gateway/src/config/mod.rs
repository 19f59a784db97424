//! The configuration file: providers, policies, and the routes of requests.
//!
//! # Example
//! ```
//! use tidegate_gateway::Config;
//!
//! # fn main() -> Result<(), tidegate_gateway::GatewayConfigError> {
//! let config = Config::parse(
//!     r#"
//!     listen = "127.0.0.1:8787"
//!
//!     [providers.openai]
//!     base_url    = "https://api.openai.com/v1"
//!     dialect     = "openai"
//!     api_key_env = "OPENAI_API_KEY"
//!
//!     [policies.default]
//!     retry           = { max_retries = 3, initial_delay = "1s", max_delay = "30s" }
//!     circuit_breaker = { failure_threshold = 5, cooldown_seconds = 30 }
//!
//!     [[routes]]
//!     path  = "/v1/chat/completions"
//!     model = "gpt-4o"
//!     chain = ["openai/gpt-4o", "openai/gpt-4o-mini"]
//!     "#,
//!     |variable| (variable == "OPENAI_API_KEY").then(|| "the-key".into()),
//! )?;
//! assert_eq!(config.listen.port(), 8787);
//! # Ok(())
//! # }
//! ```
//!
//! `example.toml`, in the directory of the crate, contains every key of the gateway. A policy has the keys of
//! [`tidegate::config`], presets included.
//!
//! # Defaults
//! The gateway listens on `127.0.0.1:8787`. A route accepts any model and uses the policy `default`. A part
//! that is missing in a policy is off, except `timeout` and `fallback`, which then have their defaults: a
//! chain falls back unless `fallback = { enabled = false }`. The same holds for all parts if there is no
//! policy `default`. The `AI_LIB_*` variables of [`tidegate::config`] override every policy.
//!
//! # Bodies and connections of callers
//! | key | default | |
//! |---|---|---|
//! | `body_limit` | 32 MiB | the largest request body, packed and unpacked; a larger one is rejected with 413. A packed one of more than 1000 parts is rejected with 400, and one that takes longer than a second and a further one for each 16 MiB of the limit with 503; each of `[[callers]]` unpacks one at a time, and waits for it for up to 10 s |
//! | `translated_body_limit` | 8 MiB | the largest request body that is translated; a larger one skips targets of the other dialect, and is rejected with 413 if there is no other target. A translation takes up to 28 times the memory of the body |
//! | `body_budget` | 256 MiB, at least `body_limit` | the request bodies of all calls together, as received and unpacked, with what their heads exceed 4 KiB by; each of `[[callers]]` may take up half of it; what does not fit is rejected with 503 and `retry-after` |
//! | `body_min_rate` | 16 KiB/s | a caller that is more than 10 s behind this rate is rejected with 408 |
//! | `max_connections` | 4096 | a further connection closes the one that has been without a call for longest, whatever bytes it has sent. One that is still being sent a response is left open, for up to a minute. While all have calls, further ones wait. Over HTTP/2, if a call was ended because its response was left unread, the connection is closed after a minute without a call |
//! | `idle_timeout` | `"75s"` | an HTTP/1 connection on which no complete head of a request has arrived for this time is closed. An HTTP/2 connection that has been without a call for this time accepts no further one (GOAWAY), and is closed a minute later if the caller has not read the rest of its responses. It has to be longer than the time after which a load balancer in front closes its idle connections, 60 s for many and 600 s for some: else a request that meets the end of its connection is lost |
//! | `notice` | `"2s"` | after a stop signal `/readyz` is 503 for this time, and calls are still accepted |
//! | `drain` | `"10s"` | then the listener is closed, and calls in flight may continue for this time. What is left is cut: streams end in an error event, calls without a response head in a 503. Connections without a complete request are closed as soon as nothing arrives on them, and over HTTP/2 those with the rest of a response after 5 s in which nothing is read, or a minute after their last call |
//!
//! A budget counts a body once. A copy with the name of the target's model exists beside it while an attempt
//! is sent. File descriptors may allow fewer than `max_connections`: half of them are for connections to
//! providers. The program raises its soft limit to the hard one. A call that finds no descriptor for a
//! connection to a provider is a 503 with E3002, does not count against the provider, and falls back.
//!
//! A caller that does not read its response keeps its permit until `timeout.attempt` of the policy, and at
//! most for 60 s. One that sends more than 16 KiB behind an HTTP/1.1 request gets the response to that
//! request, and then its connection is closed.
//!
//! # Log
//! `log = "json"` makes each line of the log a JSON object; the default is `"text"`.
//!
//! # Recent calls
//! `/calls` shows the latest `calls_kept` calls (256), or fewer if they are large; 0 keeps none. A call is
//! kept with its route, target, caller, times and trail, without any part of its request or response (see
//! [the fields](crate#recent-calls)).
//!
//! # Retries of clients
//! The official clients repeat failed calls themselves, which would multiply the attempts of a chain. A call
//! that the gateway has given up therefore ends with `x-should-retry: false`, which they obey: a rejection by
//! a gate, and a failure of a chain that repeats attempts. With `stop_client_retries = false` the header is
//! that of the provider, or is missing.
//!
//! # Responses in the background
//! A call of `/v1/responses` with `background: true`, or of chat completions with xAI's `deferred: true`,
//! ends at once, and the provider goes on to answer: its tokens and its time would be in no limit of callers
//! and targets. Such a call is rejected with 400, unless `allow_background = true`.
//!
//! # Dialects
//! A chain under `/v1/chat/completions` or `/v1/messages` may mix providers with the dialects `openai` and
//! `anthropic`. If a provider has the other dialect, requests and responses are translated (see
//! [`tidegate::translate`]). Under `/v1/messages` the reasoning of a translated model is omitted if the chain
//! also contains a native Anthropic target: the caller would send the reasoning back, and Anthropic rejects
//! reasoning that it has not signed. The dialect `gemini` is not supported yet; use the OpenAI-compatible URL
//! of the provider.
//!
//! # Groups
//! A place of a chain may be a group: several targets of which any may take a call, such as deployments or
//! accounts of one model. It is a list of targets, or a table with `members` and, optionally, a `name` and an
//! `affinity`; a member is a target, or a table with its `target` and its `weight` (1). A provider with
//! several keys in `api_keys_env` is a group by itself: each key is a member `provider/model#1`, `#2` and so
//! on, in the order of the list, and has gates of its own. How a member is chosen, and what a failed one
//! costs, is in [`tidegate::group`]. `/signals` has the members as targets, each with its `groups`; by hand
//! they are changed as any target, with `%23` for `#` in the path. Weights are from 0.001 to 1000.
//!
//! # Models
//! A target after the first is skipped if its model is known to be too small for the request, or not to
//! support the tools, images or JSON schemas in it. The capabilities of well-known models are built in.
//! `[models.<beginning of a name>]` adds or corrects entries, with or without the provider as a prefix (see
//! [`ModelTable`]).
//!
//! # Connections
//! `[connections]` sets how connections to providers are kept. An idle connection is closed after
//! `idle_timeout` (`"4s"`): servers close idle connections too, common ones after 5 s or 60 s, and a request
//! should not meet that moment. If one does, or if an HTTP/2 connection refuses a request, the request is
//! sent once more over a fresh connection (see [`tidegate::reconnect`]). On an HTTP/2 connection on which
//! nothing has arrived for `ping_interval` (`"10s"`) a ping is sent, and without an answer within
//! `ping_timeout` (`"5s"`) the connection is closed. After an attempt has timed out, its connection takes no
//! further calls. An HTTP/2 connection has up to 100 calls, since providers allow no more streams on one;
//! further calls have a connection of their own. `connect_timeout` is `"10s"`, with the look-up of the name
//! and the handshake of TLS.
//!
//! Providers are trusted by the certificates of the system. For one with a certificate of your own, add its
//! issuer there; on Linux the variable `SSL_CERT_FILE` names another file of issuers. A gateway whose providers
//! are all `http://` starts on a system without such certificates. Variables such as
//! `HTTPS_PROXY` are not read: providers are connected to without a proxy.
//!
//! # Callers
//! A gateway on the loopback interface serves every program of this machine. At any other address it needs at
//! least one `[[callers]]`: a `name`, and a key in the variable `key_env` or alone in the file `key_file`.
//! Every request but those for `/health`, `/healthz` and `/readyz` then needs the key of a caller, as
//! `authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`; the pages of operators need [another
//! one](#the-admin-key). A caller's key is sent to no provider. With `open = true` the gateway starts without
//! callers anywhere, with a warning: everybody who reaches it can spend the keys of the providers.
//!
//! The caller is the tenant of its requests, in `key_by = "caller"` as well. Without `[[callers]]` the tenant
//! is a digest of the credentials that a request has, and a request without credentials has no tenant. In
//! `key_by = "model"` the model is that of the route: the route `"*"` has one limit for all models.
//!
//! | key | default | |
//! |---|---|---|
//! | `routes` | all | the routes that the caller may use, by their `model` (`"gpt-4o"`, `"*"`) or their `path`; any other request is rejected with 403, as is one that names further models (`models`, `fallbacks`, `route`, `lora_path`, the `model` of a tool and the like), and `/v1/models` lists no other model |
//! | `priority` | `"interactive"` | or `"batch"`: its calls are queued as such at every gate |
//! | `rate_limiter` | none | a limit for the calls of this caller over all routes, with the settings of that part of a policy |
//! | `backpressure` | none | the same for its calls in flight; an adaptive limit is fixed at `max_inflight` |
//!
//! These limits come before the gates of the targets. A call that does not fit is rejected with 429, E2001
//! and `retry-after`, or with 504 and E3003 if its deadline would pass while it waits; it is sent to no
//! target and counts against none. Responses of providers do not change them.
//!
//! Token counts have limits of the same size of their own, except for tokens. A count beyond them does not
//! wait: it is estimated. Calls that are refused as invalid, too large, for an unknown model or for a route
//! of others have the limit of requests of their own, too. A caller beyond it is rejected with 429 before its
//! body is read.
//!
//! All callers share the account of the provider, and with it what is kept there: a caller that has the id of
//! a response, conversation, file or vector store of another one can use it.
//!
//! An `idempotency-key` of a caller is replaced by a digest of it and the tenant, since all callers share the
//! account of the provider. It is the same for the same caller as long as the process runs. Without a tenant
//! it is the same for the attempts of one call.
//!
//! # The admin key
//! `[admin]` has the key for the pages of operators, in the variable `key_env` or alone in the file
//! `key_file`: `/`, `/signals` and the changes of targets below it, `/calls`, `/metrics`, and every other
//! path but those of callers (`/v1/..`, `/openai/..`). A request has it as `authorization: Bearer`, or as the
//! password of any user in `authorization: Basic`, for which a browser prompts. The key of a caller does not
//! open these pages, and the admin key is not that of a caller.
//!
//! Without `[admin]` the pages are open on the loopback interface, to callers with a key if there are
//! `[[callers]]`. At any other address they are refused with 403, with `open = true` as well. Where the pages
//! are not open, `/healthz` shows the status alone, unless the request has the admin key.
//!
//! # TLS
//! With `[tls]` the gateway accepts TLS 1.2 and 1.3 connections only, and HTTP/2 on those of callers that
//! offer it by ALPN. `cert` is a file with its certificate in PEM, followed by those of the issuers, and
//! `key` one with the private key. A handshake may take 10 s. Until the first request has arrived a
//! connection is idle, so that it is the first to be closed if there are too many.
//! [`RunningGateway::reload_certificate`](crate::RunningGateway::reload_certificate) reads the files again.
//!
//! # Web pages
//! No web page can use the gateway, wherever it listens: a request with an `origin`, or with a
//! `sec-fetch-site` of another site, is rejected with 403. `origins = ["https://app.example"]` names those
//! that may; they get CORS headers. They may use the pages for operators only if those have a key of their
//! own, in `[admin]`. On the loopback interface the `host` of a request has to be a name of that interface
//! or one of `hosts`, or, unless a browser sent it, a name without a dot, as that of a container.
//! Elsewhere hosts are checked if there are `hosts`. A body that is declared as something else than JSON,
//! or in another charset than UTF-8, is rejected with 415.
//!
//! # Forwarded headers
//! A provider gets the headers that official clients send and providers read (see
//! [`is_provider_header`](tidegate::chain::is_provider_header)), those that are a `key_by` of a policy, and
//! those in `forward_headers` of the provider.
//!
//! # Cached responses
//! Chains that end in `@cached` share one cache, bounded by `cache.max_bytes` (64 MiB) and `cache.max_age`
//! (`"1h"`). The cache also serves prompts that differ only in case, in the mark at the end and in courtesies
//! around them (`hello,`, `please`), if at least `cache.similarity` (0.8) of their words are common. At 1 all
//! words must be the same, and above 1 the prompt must be identical (see
//! [`AnswerCache`](tidegate::fallback::AnswerCache)). An answer is for its tenant alone, and none is stored
//! for a request without one. `cache.shared = true` lets all callers share the answers. With
//! `fallback.cache_by = "header:NAME"` in a policy an answer is for requests with the same header, too, and
//! with `"tenant"` for the tenant even in a shared cache.
//!
//! # Alerts
//! With a table `[alerts]` the gateway watches the targets, logs what degrades and what has recovered, and
//! posts both to the `webhook`, as JSON: the fields of an [`Alert`](tidegate::alerts::Alert), and its `text`.
//! The `thresholds` are those of [`tidegate::alerts`]; with several routes there is an alert for each of
//! which no target admits calls, too, with its path and model. A post without a connection or a response
//! within 5 s, or with 408, 429 or 5xx, is repeated after 1 s, 4 s and 15 s; `/healthz` has the number of
//! `lost_alerts`. When the gateway stops, what is not posted yet is for 5 s, unless a post before it has
//! failed and waits. No call waits for any.
//!
//! # Traces
//! With the feature `otlp`, a table `[otlp]` or the variable `OTEL_EXPORTER_OTLP_ENDPOINT` exports traces by
//! OTLP over HTTP (protobuf): a span for each call, and below it a span for each attempt, with the names of
//! OpenTelemetry's conventions for GenAI and HTTP. The trace of a `traceparent` header of the caller is
//! continued, and the provider gets the span of the attempt as `traceparent`. No span contains a part of a
//! prompt, an answer, a header or a key.
//!
//! | span | attributes |
//! |---|---|
//! | both | `http.request.method`, `http.response.status_code`, `error.type` (the standard code), `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `gen_ai.usage.cache_read.input_tokens`, `gen_ai.usage.cache_creation.input_tokens` |
//! | call | `http.route`, `tidegate.call` (the id at `/calls`), `tidegate.route`, `tidegate.caller`, `tidegate.target`, `tidegate.attempts`, `tidegate.end` |
//! | attempt | `gen_ai.provider.name` (that of the target), `server.address`, `server.port` |
//!
//! The variables of OpenTelemetry precede the file: `OTEL_EXPORTER_OTLP_ENDPOINT` and `.._TRACES_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_HEADERS` (for a token), `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_SDK_DISABLED`. No call waits for the collector: spans beyond
//! the queue of 2048 are lost. When the gateway stops, the last spans have 5 s.
//!
//! # Rejections
//! The configuration is rejected for an unknown key, an unknown name, a number out of range, or a provider
//! that does not support the endpoint of its route. All mistakes are reported at once: a line for each with
//! its place in the file, the key at fault, the expected value and, if there is a similar name, a suggestion.
//! API keys of providers are read from the environment or from files. No message contains a key, in whatever
//! place of the file it is: what was found is printed only if it is too short for one, or a misspelt name
//! (see [`tidegate::config`](tidegate::config#errors)).
//!
//! # Reload
//! The configuration and the files of keys and certificates are regular files of at most 4 MiB: a pipe could
//! not be read again. The program reads its file again when the content of the file, or of a file of a key or
//! certificate, has changed and then stays the same for a second, and at once on SIGHUP. The environment is
//! that of the start. Calls in flight end on the configuration with which they began, new calls use the new
//! one, and no call is rejected or delayed in between. A file with mistakes changes nothing: each mistake is
//! logged at the level ERROR, `/healthz` shows the time and the result as `last_reload`, and
//! `tidegate_gateway_config_reloads_total` counts `ok` and `error`. Another `store` in the mode `fail_closed`
//! that cannot be used is a mistake, too. A program with a [`Gateway`](crate::Gateway) of its own calls
//! [`reload`](crate::Gateway::reload), which does not check the store.
//!
//! | changed | effect |
//! |---|---|
//! | nothing that a target under a policy consists of | its stack is the same: circuit, quotas, permits, queue |
//! | one part of a policy | that gate starts anew; the others keep their state |
//! | a fixed `max_inflight` | applies at once, to the calls in flight as well: a lower limit admits no call until enough of them have ended. With another change of `backpressure`, or an adaptive limit, the new limit does not count the calls of the old one, which end beside it |
//! | `rate_limiter` | starts with full quotas |
//! | `hedge`, or the first target of a route | the hedges of the route have no budget and no samples |
//! | key, URL or another setting of a provider | its circuits start anew, since they are about another server or account, and what a 429 or a report has closed opens. Used quotas stay, unless the `kind` differs; with a `[store]` those of the new account count. Permits stay. A circuit that was forced by hand stays forced |
//! | number and order of the `api_keys` of a provider | a key keeps its used quota, the time for which it is closed, and the limits reported about it, whatever its number; with another number its circuit starts anew |
//! | `store` | quotas and circuits start anew, in the new store; permits stay |
//! | `connections`, `cache` | new connections; an empty cache |
//! | a removed route | its model is unknown to new calls |
//! | a caller | its limits start anew if one of its settings but the key has changed |
//! | `alerts` | the new thresholds apply to what is raised as well; a longer `circuit_open` applies to the next alert. Without the table, or with another `webhook`, what is raised is cleared where it was posted, with the `end` `unwatched`; about a target that is removed, with `removed` |
//! | a certificate | is that of new connections; open ones are not affected. Without `tls` in the file, and while the file has mistakes, the one in use is still renewed |
//! | `listen`, `max_connections`, `idle_timeout`, `notice`, `drain`, `log`, `otlp`, whether there is `tls` | nothing before a restart, with a warning |
//!
//! # Several gateways
//! With a table `[store]`, gateways with the same Redis server and the same `prefix` share the quotas of
//! their targets under a policy, the times for which providers closed them, the rate limits of `[[callers]]`,
//! and the states of the circuits, with [`shared_window`](tidegate::circuit_breaker#defaults) also their
//! rates; see [`tidegate::store`]. All that is shared of a target, and the cooldowns of keys, are those of one
//! server and account: those of a rotated key end with it, and the keys may have another order in each
//! gateway. Limits with a `key_by` are shared for each
//! key; the credentials of callers without an entry are hashed with the `prefix` and the password of the
//! server. A gateway starts without its server: in the mode `fail_open` with a warning, and decides by its
//! share of the quotas until the server is there. In the mode `fail_closed` it does not start.
//!
//! # Common mistakes
//! A base URL without its version: `https://api.openai.com` instead of `https://api.openai.com/v1`.

mod access_key;
mod admin;
mod alerts;
mod cache;
mod caller;
mod chain_entry;
mod chain_parts;
mod connections;
mod explain;
mod file;
mod header;
mod lists;
mod model;
mod otlp;
mod policy;
mod provider;
mod provider_keys;
mod restart_only;
mod route;
mod schema;
mod secrets;
mod shape;
mod source;
mod static_texts;
mod store;
mod text_file;
mod tls;
mod warnings;
mod web;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use http::uri::Scheme;
use tidegate::chain::ProviderSettings;
pub use tidegate::config::ConfigError as GatewayConfigError;
use tidegate::config::{Checks, Recovered, Removed, TomlText, found, recover, unread_variables};
use tidegate::providers::ModelTable;
use tidegate::{Payload, ResilienceConfig};
use tidegate_redis::RedisSettings;

pub(crate) use self::alerts::{AlertSettings, WebhookAddress};
pub(crate) use self::cache::CacheSettings;
pub(crate) use self::chain_parts::{RouteGroup, WeightedTarget};
pub(crate) use self::connections::ConnectionSettings;
use self::file::ConfigFile;
pub(crate) use self::otlp::OtlpSettings;
pub(crate) use self::provider_keys::ProviderKeys;
pub(crate) use self::route::{ANY, LastResortName, Route, TargetName};
use self::route::{KnownNames, check_distinct, check_group_names};
use self::secrets::{Secrets, missing_secrets};
pub use self::source::ConfigSource;
use self::source::FileStamps;
pub(crate) use self::static_texts::StaticTexts;
pub(crate) use self::tls::TlsCertificate;
use crate::access::{AccessKey, Caller, WebPages};
use crate::log_format::LogFormat;

/// The configuration of a gateway; see the [module page](self).
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Whether everybody who reaches the gateway may use it, at any address and without `[[callers]]`.
    pub open: bool,
    /// The largest request body that is accepted, in bytes.
    pub body_limit: usize,
    /// The largest request body that is translated for a target with another dialect, in bytes.
    pub translated_body_limit: usize,
    /// The bytes that the request bodies of all calls may take up together.
    pub body_budget: usize,
    /// The least bytes per second at which a caller has to send its request body.
    pub body_min_rate: usize,
    /// The largest number of open connections of callers. The limit of file descriptors may allow fewer.
    pub max_connections: usize,
    /// How long a connection over HTTP/1 may be idle, and the head of a request may take.
    pub idle_timeout: Duration,
    /// How long calls are still accepted after a stop signal, while `/readyz` is 503.
    pub notice: Duration,
    /// How long calls may continue after the notice time.
    pub drain: Duration,
    /// The format of the program's log.
    pub log: LogFormat,
    /// The number of recent calls that `/calls` shows; none if it is zero.
    pub calls_kept: usize,
    /// Whether a header keeps clients from repeating a call that the gateway has given up.
    pub stop_client_retries: bool,
    /// Whether a call of `/v1/responses` may have `background: true`, and one of chat completions
    /// `deferred: true`.
    pub allow_background: bool,
    /// The answer of `@emergency`.
    pub(crate) emergency_text: String,
    /// The answers of `@static`.
    pub(crate) static_texts: StaticTexts,
    /// Who may use the gateway; everybody if there are none.
    pub(crate) callers: Vec<Caller>,
    /// The key for the pages of operators.
    pub(crate) admin_key: Option<AccessKey>,
    /// The certificate of the gateway; without one there is no TLS.
    pub(crate) tls: Option<TlsCertificate>,
    pub(crate) pages: WebPages,
    pub(crate) providers: BTreeMap<String, ProviderSettings>,
    /// The keys of the providers.
    pub(crate) provider_keys: ProviderKeys,
    pub(crate) policies: BTreeMap<String, ResilienceConfig>,
    /// The key of a setting with an address by https, if there is one.
    pub(crate) https: Option<String>,
    /// The settings of the connections to providers.
    pub(crate) connections: ConnectionSettings,
    /// The settings of the cache for `@cached`.
    pub(crate) cache: CacheSettings,
    /// The alerts, if there are any.
    pub(crate) alerts: Option<AlertSettings>,
    /// The export of traces, if there is one.
    pub(crate) otlp: Option<OtlpSettings>,
    /// The store through which gateways share their limits, if there is one.
    pub(crate) store: Option<RedisSettings>,
    pub(crate) models: ModelTable,
    pub(crate) routes: Vec<Route>,
    /// The settings of each policy with their origins.
    explanations: BTreeMap<String, String>,
    warnings: Vec<String>,
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const DEFAULT_TRANSLATED_BODY_LIMIT: usize = 8 * 1024 * 1024;
const DEFAULT_BODY_BUDGET: usize = 256 * 1024 * 1024;
const DEFAULT_BODY_MIN_RATE: usize = 16 * 1024;
const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// Load balancers commonly close their idle connections after 60 s.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const DEFAULT_NOTICE: Duration = Duration::from_secs(2);
const DEFAULT_DRAIN: Duration = Duration::from_secs(10);
const DEFAULT_CALLS_KEPT: usize = 256;

const DEFAULT_EMERGENCY_TEXT: &str = "The service is not available at the moment. Please try again later.";

impl Config {
    /// A commented file with every key and its default.
    pub const EXAMPLE: &str = include_str!("../../example.toml");

    /// Reads the file at `path`, and the environment of the process.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, GatewayConfigError> {
        Self::read_stamped(path, &mut FileStamps::default())
    }

    /// The same, with the files that are read in `stamps`, also if there is an error.
    fn read_stamped(path: &Path, stamps: &mut FileStamps) -> Result<Self, GatewayConfigError> {
        stamps.add(path);
        let text = text_file::read_text(path).map_err(|problem| GatewayConfigError::new("", problem))?;
        Self::from_text_stamped(&text, stamps, Secrets::Needed)
    }

    /// As [`read`](Self::read), to check a file where the variables with its secrets are not set: each that
    /// is missing is a warning. A gateway of this configuration has stand-ins in their place.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_without_secrets(path: &Path) -> Result<Self, GatewayConfigError> {
        let text = text_file::read_text(path).map_err(|problem| GatewayConfigError::new("", problem))?;
        Self::from_text_stamped(&text, &mut FileStamps::default(), Secrets::Optional)
    }

    /// Parses `text`, and reads the environment of the process. A variable `AI_LIB_*` that nothing reads is a
    /// warning.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_text(text: &str) -> Result<Self, GatewayConfigError> {
        Self::from_text_stamped(text, &mut FileStamps::default(), Secrets::Needed)
    }

    fn from_text_stamped(
        text: &str,
        stamps: &mut FileStamps,
        secrets: Secrets,
    ) -> Result<Self, GatewayConfigError> {
        let mut config = Self::parse_stamped(text, |variable| std::env::var_os(variable), stamps, secrets)?;
        config.warnings.extend(unread_variables(std::env::vars_os().map(|(name, _)| name)));
        config.warnings.extend(connections::unread_proxies(std::env::vars_os()));
        config.warnings.extend(otlp::unread_variable(|variable| std::env::var_os(variable)));
        Ok(config)
    }

    /// Parses `text`. `env` returns the value of an environment variable.
    ///
    /// # Errors
    ///
    /// The values that are invalid, each with its line, its key and the expected value.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, GatewayConfigError> {
        Self::parse_stamped(text, env, &mut FileStamps::default(), Secrets::Needed)
    }

    fn parse_stamped(
        text: &str,
        env: impl Fn(&str) -> Option<OsString>,
        stamps: &mut FileStamps,
        secrets: Secrets,
    ) -> Result<Self, GatewayConfigError> {
        let text = TomlText::parse(text)?;
        let mut table = text.table().clone();
        let misshapen = shape::mend(&mut table);
        let Recovered { value, mut checks, removed, .. } = recover(table, GatewayConfigError::from_serde);
        misshapen.into_iter().for_each(|mistake| checks.fail(mistake));
        value.iter().flat_map(ConfigFile::key_files).for_each(|path| stamps.add(path));
        let config = value.map(|file| -> Result<Self, GatewayConfigError> {
            let missing = missing_secrets(&file, secrets, &env);
            let env = |name: &str| env(name).or_else(|| missing.stand_in(name));
            let (mut config, warnings) = Self::check(file, &removed, env)?;
            let warnings = warnings.into_iter().chain(missing.warnings()).reduce(GatewayConfigError::and);
            let warnings = warnings.map(|warnings| text.locate(warnings).to_string());
            config.warnings =
                warnings.iter().flat_map(|warnings| warnings.lines()).map(str::to_owned).collect();
            Ok(config)
        });
        if let Some(Err(error)) = &config {
            checks.keep(removed.mistakes_of_file(error.clone()));
        }
        checks.finish(()).map_err(|error| text.locate(error))?;
        config.unwrap_or_else(|| Err(GatewayConfigError::new("", "cannot be read")))
    }

    /// Checks what could be read of a file, and `removed` could not, and returns the warnings beside it.
    fn check(
        file: ConfigFile,
        removed: &Removed,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Vec<GatewayConfigError>), GatewayConfigError> {
        let mut checks = Checks::default();
        let listen = file.listen.as_deref().map_or(Ok(DEFAULT_LISTEN), listen_address);
        let listen = listen.map_err(|problem| GatewayConfigError::new("listen", problem));
        let listen = checks.keep(listen).unwrap_or(DEFAULT_LISTEN);
        let body_limit = file.body_limit.unwrap_or(Payload::DEFAULT_CAP);
        if body_limit == 0 {
            checks.fail(GatewayConfigError::new("body_limit", "expected at least 1, found 0"));
        }
        let body_budget = file.body_budget.unwrap_or(DEFAULT_BODY_BUDGET.max(body_limit));
        if body_budget < body_limit && !removed.has("body_limit") {
            let default = file.body_limit.map_or(format!(", which is {body_limit}"), |_| String::new());
            let problem = format!("expected at least body_limit{default}{}", found(body_budget));
            checks.fail(GatewayConfigError::new("body_budget", problem));
        }
        let emergency_text = file.emergency_text.unwrap_or_else(|| DEFAULT_EMERGENCY_TEXT.to_owned());
        if emergency_text.trim().is_empty() {
            checks.fail(GatewayConfigError::new("emergency_text", "expected a text that is not empty"));
        }
        file.static_texts.mistakes().for_each(|mistake| checks.fail(mistake));
        let idle_timeout = file.idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT);
        checks.keep(connections::check_time("idle_timeout", idle_timeout));
        let translated_body_limit =
            file.translated_body_limit.map_or(DEFAULT_TRANSLATED_BODY_LIMIT, NonZeroUsize::get);
        let body_min_rate = file.body_min_rate.map_or(DEFAULT_BODY_MIN_RATE, NonZeroUsize::get);
        let written: Vec<String> = file.policies.keys().cloned().collect();
        let (mut policies, explanations) = policy::check(file.policies, &env, &mut checks);
        let key_headers = policy::key_headers(&mut policies);
        let (mut providers, mut provider_keys) = (BTreeMap::new(), ProviderKeys::default());
        let https = file.providers.iter().find(|(_, entry)| entry.is_https());
        let https = https.map(|(name, _)| format!("providers.{name}.base_url"));
        for (name, entry) in file.providers {
            let provider = checks.keep(entry.settings(&name, &key_headers, &mut provider_keys, &env));
            providers.insert(name, provider);
        }
        let (callers, short_keys) = caller::check(file.callers, &env, &mut checks);
        let admin = file.admin.and_then(|entry| checks.keep(entry.check(&callers, &env)));
        let (admin_key, short_admin_key) = admin.unzip();
        let tls = file.tls.and_then(|files| checks.keep(TlsCertificate::read(files)));
        let pages = checks.keep(web::check(file.hosts, file.origins)).unwrap_or_default();
        let known = KnownNames { providers: &providers, policies: &policies, removed };
        checks.keep(file.connections.check());
        checks.keep(file.cache.check());
        checks.keep(policy::check_cache(&policies, file.cache.shared || removed.has("cache")));
        let alerts = file.alerts.and_then(|alerts| checks.keep(alerts.check(&env)));
        let webhook = alerts.as_ref().and_then(|alerts| alerts.webhook.as_ref());
        let is_https = |webhook: &&WebhookAddress| webhook.uri.scheme() == Some(&Scheme::HTTPS);
        let https = https.or_else(|| webhook.filter(is_https).map(|_| "alerts.webhook".to_owned()));
        let otlp = checks.keep(otlp::check(file.otlp.as_ref(), &env)).flatten();
        checks.keep(policy::check_store(&policies, file.store.is_some() || removed.has("store")));
        let store = file.store.and_then(|store| checks.keep(store.check(&env)));
        if file.routes.is_empty() {
            checks.fail(GatewayConfigError::new("routes", "expected at least one"));
        }
        let route_count = file.routes.len();
        let routes = file.routes.into_iter().enumerate();
        let routes = routes
            .filter_map(|(index, entry)| Some((index, checks.keep(Route::check(index, entry, &known))?)));
        let routes: Vec<_> = routes.collect();
        checks.keep(check_distinct(&routes));
        checks.keep(check_group_names(&routes));
        let routes: Vec<_> = routes.into_iter().map(|(_, route)| route).collect();
        if routes.len() == route_count && !removed.has("routes") {
            caller::check_routes(&callers, &routes, &mut checks);
        }
        let warnings = warnings::of_providers(&providers, &routes)
            .chain(warnings::of_policies(&written, &routes))
            .chain(warnings::of_times(&policies, &routes))
            .chain(warnings::of_attempts(&policies, &routes))
            .chain(warnings::of_chains(&policies, &routes))
            .chain(warnings::of_patterns(&routes, file.models.keys()));
        let warnings = warnings.chain(short_keys).chain(short_admin_key.flatten()).collect();
        let max_connections = file.max_connections.map_or(DEFAULT_MAX_CONNECTIONS, NonZeroUsize::get);
        let models = file
            .models
            .into_iter()
            .fold(ModelTable::new(), |models, (prefix, entry)| models.with(&prefix, entry.into()));
        let config = Self {
            listen,
            open: file.open,
            body_limit,
            translated_body_limit,
            body_budget,
            body_min_rate,
            max_connections,
            idle_timeout,
            notice: file.notice.unwrap_or(DEFAULT_NOTICE),
            drain: file.drain.unwrap_or(DEFAULT_DRAIN),
            log: file.log,
            calls_kept: file.calls_kept.unwrap_or(DEFAULT_CALLS_KEPT),
            stop_client_retries: file.stop_client_retries.unwrap_or(true),
            allow_background: file.allow_background,
            emergency_text,
            static_texts: file.static_texts,
            callers,
            admin_key,
            tls,
            pages,
            providers: providers.into_iter().filter_map(|(name, settings)| Some((name, settings?))).collect(),
            provider_keys,
            policies,
            https,
            connections: file.connections,
            cache: file.cache,
            alerts,
            otlp,
            store,
            models,
            routes,
            explanations,
            warnings: Vec::new(),
        };
        checks.finish((config, warnings))
    }

    /// What is probably a mistake, and not invalid: a line for each, with its place in the file.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The address in a text such as `127.0.0.1:8787` or `localhost:8787`.
///
/// # Errors
///
/// The text is another. No name but `localhost` is resolved.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let of_localhost = || {
        let (_, port) = text.split_once(':').filter(|(host, _)| host.eq_ignore_ascii_case("localhost"))?;
        Some(SocketAddr::new(DEFAULT_LISTEN.ip(), port.parse().ok()?))
    };
    text.parse().ok().or_else(of_localhost).ok_or_else(|| {
        format!("expected an address such as {DEFAULT_LISTEN}{}", found(format_args!("{text:?}")))
    })
}

#[cfg(test)]
mod tests;
