//! What has gone wrong before. Each test opens with what happened.

#![cfg(feature = "stack")]

mod answers;
mod chain;
mod circuit;
mod deadline;
mod errors;
mod quota;
mod retries;
mod signals;
mod support;
