//! Sends a request again, once and over a fresh connection, if the provider did not process it.
//!
//! # When to use it
//! Directly around a client that keeps connections. [`ReqwestService`](crate::ReqwestService) contains it;
//! hyper-util's client is wrapped in [`Reconnect`]. A server closes idle connections at a time of its own,
//! and a client that sends a request at that moment gets an error although the provider is well. With it such
//! errors do not reach a retry, a circuit or a caller.
//!
//! # Example
//! ```
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use tidegate::reconnect::Reconnect;
//! use tidegate::{Payload, ResilienceBuilder};
//!
//! let pooled: Client<_, Payload> = Client::builder(TokioExecutor::new()).build_http();
//! let unpooled = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
//! let openai = ResilienceBuilder::new("openai/gpt-4o").service(Reconnect::new(pooled, unpooled));
//! ```
//!
//! # What counts as not processed
//! | signal | condition |
//! |---|---|
//! | the connection closes or is reset before the response | HTTP/1, and the connection has served a response before |
//! | `RST_STREAM` with `REFUSED_STREAM` | HTTP/2 |
//! | `GOAWAY` with a last stream below that of the request | HTTP/2 |
//! | a response with status 421 | any; the connection leaves the pool (RFC 9110, section 15.5.20) |
//!
//! The two signals of HTTP/2 are promises of the protocol (RFC 9113, section 8.7). The first row is an
//! inference, as in every HTTP client: a server that failed while it worked on the request looks the same,
//! and so does one that sent a part of the response head. A connection is recognised by its two addresses. It
//! is fresh, and its failure an ordinary transport failure, if it has served no response through this
//! service, or if the connector does not report addresses (`HttpInfo`; Unix sockets have none). An HTTP/2
//! connection that breaks without a `GOAWAY` is an ordinary failure as well, since its requests may have been
//! in progress.
//!
//! # What follows
//! The request is sent again at once, within the same attempt: it keeps the permit, the reservation and the
//! admission of the circuit, so that no gate, retry budget or limit of attempts counts it, and the timer of
//! the attempt bounds both. This is why it is here and not in `RetryLayer`, which repeats attempts, and why
//! it works without one. It is recorded in the [`Trail`](crate::Trail) as
//! [`Verdict::SentAgain`](crate::provider::Verdict::SentAgain).
//!
//! If the second request is not processed either, or if the request body cannot be replayed, the result is the
//! response with status 421, or the error is
//! [`NotProcessed`](crate::provider::NotProcessed): E3001 of the kind
//! [`FailureKind::NotProcessed`](crate::provider::FailureKind::NotProcessed), which no circuit counts. It may
//! be retried and fall back like a transport failure.
//!
//! # Cancelled calls
//! A call that is dropped before its response head, as by a timeout, takes its connection out of the pool,
//! also an HTTP/2 connection, which may have died silently; unless the connection has served another response
//! meanwhile, or has been silent for less than 100 ms, over one call or several. Other requests on it
//! continue. This needs a client that reports its connections (hyper-util's does, reqwest does not).
//!
//! # Cost
//! A copy of the request head per call, and a short lock per response.
//!
//! # Common mistakes
//! - Keeping idle connections for longer than the server does: set the client's idle timeout below the
//!   server's.
//! - HTTP/2 without keep-alive pings: a connection that a NAT has forgotten stays in use until it times out.
//! - HTTP/2 with a connection window that a few responses fill, as an adaptive one is: those that are not read
//!   stop all others on the connection. Make it larger than the window of a stream times their number.

mod connections;
mod detect;
mod future;
mod service;

pub use future::ResponseFuture;
pub use service::Reconnect;
