//! Cohere's Chat API, version 2.

pub(crate) mod events;
