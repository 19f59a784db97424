//! Reading of messages and durations that were written for people.

pub(crate) mod go_duration;
pub(crate) mod message_wait;
pub(crate) mod word_match;
