/// The framing of the events of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// A JSON array that is sent element by element: Gemini's, without `alt=sse`.
    Array,
    /// Amazon's binary event stream.
    Amazon,
}
