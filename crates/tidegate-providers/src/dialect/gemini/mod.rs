//! Google's `generateContent`, at Gemini and Vertex.

pub(crate) mod events;
pub(crate) mod framing;
