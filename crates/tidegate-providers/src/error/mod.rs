//! Classification of error responses.

pub(crate) mod body;
mod challenge;
mod class;
pub(crate) mod codes;
pub(crate) mod in_band;
mod limit_kind;
pub(crate) mod phrases;
pub(crate) mod response;
pub(crate) mod retry_after;
