use http::Extensions;

/// The number of the attempt within its call, from 1, in the extensions of each attempt after the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptNumber(pub(crate) u32);

impl AttemptNumber {
    /// The number of the attempt with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> u32 {
        extensions.get().map_or(1, |&Self(number)| number)
    }
}
