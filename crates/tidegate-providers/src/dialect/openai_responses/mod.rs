//! OpenAI's Responses API.

pub(crate) mod events;
