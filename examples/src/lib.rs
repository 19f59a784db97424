//! The examples are the files beside the manifest. What is here keeps the program in the README honest.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
