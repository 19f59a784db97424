//! A second breaker, as simple as can be, against the real one.
