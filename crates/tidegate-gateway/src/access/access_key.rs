use std::fmt;
use std::hash::{Hash, Hasher};

use subtle::ConstantTimeEq;

/// The key of a caller or of the operator. It is never printed.
#[derive(Clone)]
pub(crate) struct AccessKey(Box<[u8]>);

impl AccessKey {
    /// Compares in a time that depends on the lengths only.
    pub(super) fn is(&self, key: &[u8]) -> bool {
        self.0.ct_eq(key).into()
    }

    /// Whether one of `keys` is this one. The time does not depend on which.
    pub(super) fn is_among<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> bool {
        keys.into_iter().fold(false, |found, key| found | self.is(key))
    }
}

impl From<String> for AccessKey {
    fn from(key: String) -> Self {
        Self(key.into_bytes().into())
    }
}

/// For the check of a configuration, which has no clock that an attacker could read.
impl PartialEq for AccessKey {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for AccessKey {}

/// As [`PartialEq`].
impl Hash for AccessKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(..)")
    }
}
