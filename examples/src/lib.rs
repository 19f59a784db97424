//! The examples are the files beside the manifest.
//! This library compiles the program in the README as a doctest.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
