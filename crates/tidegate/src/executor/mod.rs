//! Retries, gates and timeouts around any async function.
//!
//! # When to use it
//! For calls that are not HTTP requests of this program: a client library that sends its own requests, a
//! local model, a database. The configuration, the signals and the events are those of a
//! [stack](crate::stack).
//!
//! # Example
//! ```
//! use tidegate::ResilienceConfig;
//! use tidegate::executor::Executor;
//!
//! # async fn example() -> Result<(), tidegate::BoxError> {
//! let config: ResilienceConfig = toml::from_str("retry = { max_retries = 2 }\ncircuit_breaker = {}")?;
//! let executor = Executor::named("local/llama", &config)?;
//!
//! let path = "prompts.txt".to_owned();
//! let prompts = executor.run(async || tokio::fs::read_to_string(&path).await).await?;
//! # let _ = prompts;
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! A part that the configuration does not set is off, except the [timeout](crate::timeout#defaults) of a run,
//! 600 s. Settings of streams, fallbacks and hedges have no effect, and neither have quotas of tokens, such as
//! `tokens_per_minute`: a function has no prompt that is counted, and reports no usage.
//!
//! # Results
//! An error is classified like that of a client: by the types in its chain. A
//! [`Failure`](crate::provider::Failure) has its own code, a timeout of this crate, of tokio or of the
//! standard library is E3003, and any other error E3001, which is retried and counts against the circuit. The
//! marks [`RetryableError`](crate::retry::RetryableError) and
//! [`NonRetryableError`](crate::retry::NonRetryableError) apply. [`run_classified`](Executor::run_classified)
//! takes a classification for one kind of result instead.
//!
//! # Rejections
//! Those of the gates, and of the deadline. They are found with [`Rejection::find`](crate::Rejection::find).
//!
//! # Streams
//! There are none: a call ends with its future. A future that is cut off by a timeout is dropped.
//!
//! # Common mistakes
//! An executor per call: its circuit and its limits would be new each time. Clone one executor.

mod operation;
mod run;

pub use run::{Executor, FallbackFailed};

#[cfg(test)]
mod tests;
