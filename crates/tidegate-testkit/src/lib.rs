//! Test doubles for tidegate: a strict inner service, a contract suite and scripted model providers.
//!
//! - [`strict`]: an inner service that panics when a layer breaks Tower's contract.
//! - [`calls`]: calls to a service under test, and what they end in.
//! - [`contract`]: a suite that checks the contract that every layer keeps, as one call.
//! - [`provider`]: a model provider that follows a script, over TCP or in memory.
//! - [`ConnectionServer`]: a server whose connections fail between requests.
//! - [`RedisServer`]: a Redis server that can be paused, killed and restarted.
//!
//! ```
//! use tidegate_testkit::{Provider, Reply};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = Provider::openai().then(Reply::error(429, "insufficient_quota")).start().await?;
//!
//! let mut socket = tokio::net::TcpStream::connect(server.addr()).await?;
//! let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: provider\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
//! socket.write_all(format!("{head}{{}}").as_bytes()).await?;
//! let mut response = String::new();
//! socket.read_to_string(&mut response).await?;
//!
//! assert!(response.starts_with("HTTP/1.1 429 Too Many Requests"));
//! assert!(response.contains(r#""type":"insufficient_quota""#));
//! assert_eq!(server.log().calls(), 1);
//! # Ok(())
//! # }
//! ```

pub mod calls;
mod connection_server;
pub mod contract;
mod fault;
pub mod provider;
mod redis_server;
pub mod strict;

pub use connection_server::{ConnectionServer, Reaction};
pub use fault::Fault;
pub use provider::{Provider, Reply, Server, closed_port};
pub use redis_server::RedisServer;
