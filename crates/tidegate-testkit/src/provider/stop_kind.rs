/// The reason why a response ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum StopKind {
    /// The text is complete, or a tool is called.
    #[default]
    Natural,
    Length,
    Filter,
    /// A reason as the dialect spells it.
    Custom(String),
}
