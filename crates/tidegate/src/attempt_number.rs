use http::Extensions;

/// The number of the attempt within its call, in the extensions of each attempt after the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptNumber {
    /// From 1, those that a gate rejected included.
    pub(crate) number: u32,
    /// From 1, without those before it that a gate rejected.
    pub(crate) sent: u32,
}

impl AttemptNumber {
    /// The number of the attempt with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::nth(1))
    }

    /// The number of an attempt before which none was rejected.
    pub(crate) const fn nth(number: u32) -> Self {
        Self { number, sent: number }
    }
}
