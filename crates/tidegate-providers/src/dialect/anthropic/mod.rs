//! Anthropic's Messages API.

pub(crate) mod events;
