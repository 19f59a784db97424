//! Reading of JSON without building it.

pub(crate) mod fast_path;
pub(crate) mod members;
pub(crate) mod walk;
