use crate::ErrorCode;

/// A set of error codes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeSet(u16);

impl CodeSet {
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn has(self, code: ErrorCode) -> bool {
        self.0 & bit(code) != 0
    }
}

impl FromIterator<ErrorCode> for CodeSet {
    fn from_iter<I: IntoIterator<Item = ErrorCode>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | bit(code)))
    }
}

const fn bit(code: ErrorCode) -> u16 {
    1 << code as u16
}
