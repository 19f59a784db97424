//! Streams as providers send them, and what each one comes to.
//!
//! A stream is a file in `fixtures/streams`, named after its provider.

mod amazon;
mod chunking;
mod fixture;
mod hostile;
mod table;
mod pitfalls;
