//! JSON schemas, adapted at every depth to what the target accepts.
//!
//! | target | a schema | becomes | source |
//! |--|--|--|--|
//! | OpenAI's dialect | an object without `properties` | `properties: {}` | OpenAI: "object schema missing properties" |
//! | | an array without `items` | `items: {}` | OpenAI: "array schema missing items" |
//! | | parameters without a `type` | an object | OpenAI: "schema must be a JSON Schema of 'type: \"object\"'" |
//! | | that cannot be strict: open, with an optional property, or with other keywords | not `strict` | OpenAI, "Structured outputs": supported schemas |
//! | Anthropic | an input schema without a `type` | an object | Anthropic: "input_schema.type: Field required" |
//! | | `anyOf`, `oneOf`, `allOf` at its top | a part of the description, and not `strict` | Anthropic: "input_schema does not support oneOf, allOf, or anyOf at the top level" |
//! | | a parameter with another name than 1 to 64 letters, digits, `_`, `.` and `-` | rejected | Anthropic: "Property keys should match pattern" |
//! | Anthropic, strict tools and response formats | an open object | closed: `additionalProperties: false` | Anthropic, "Structured outputs": JSON Schema limitations |
//! | | limits and other keywords | a part of the description | the same |
//! | | `oneOf` | `anyOf` | the same |
//! | | more than 24 optional properties or 16 schemas of several types, in all of them | tools that are not strict; a response format alone is rejected | the same, "Schema complexity limits" |
//! | | `allOf` of one element | the element | the same |
//! | | an `enum` of objects or lists | a part of the description | the same |
//! | | an object with arbitrary keys, or that contains itself; `$ref` in `allOf`, or to elsewhere | a tool that is not strict; a response format is rejected | the same |
//!
//! Names, values and the order of the fields are kept.

mod anthropic;
mod openai;
mod tree;

pub(super) use self::anthropic::{
    accepts_names, are_within_limits, describe_combinations, enforced, input_schema,
};
pub(super) use self::openai::{accepts_strict, complete, parameters};
pub(super) use self::tree::SchemaObject;

/// The most levels of a schema. Deeper ones are rejected.
const MAX_DEPTH: usize = 64;
