//! The examples are the files beside the manifest.
//! This library compiles the programs in the pages of `docs/` as doctests, and runs them.

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/extensions.md")]
struct Extensions;
