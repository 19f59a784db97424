//! Recorded streams of providers and their outcomes.
//!
//! A stream is a file in `fixtures/streams`, named after its provider.

mod amazon;
mod chunking;
mod fixture;
mod hostile;
mod pitfalls;
mod table;
