//! The status of limits in the headers of a response.

pub(crate) mod reported;
pub(crate) mod reset_headers;
