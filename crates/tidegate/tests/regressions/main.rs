//! Regression tests. The comment of each test describes the defect.

mod answers;
mod chain;
mod circuit;
mod deadline;
mod errors;
mod quota;
mod retries;
mod signals;
mod support;
