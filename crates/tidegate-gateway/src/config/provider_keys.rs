use std::fmt;

/// The most keys of earlier configurations that are still removed from responses.
const MAX_RETIRED: usize = 64;

/// The keys of all providers, which may appear in no response. They are never printed.
#[derive(Clone, Default)]
pub(crate) struct ProviderKeys(Vec<String>);

impl ProviderKeys {
    pub(crate) fn add(&mut self, secret: &str) {
        if !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
        }
    }

    /// The keys of `before` and `retired` that are not among these, the latest first and at most
    /// [`MAX_RETIRED`]. A provider may still return them.
    pub(crate) fn retire(&self, before: &Self, retired: &Self) -> Self {
        let mut keys = Self::default();
        let unused = before.iter().chain(retired.iter()).filter(|key| !self.0.iter().any(|it| it == key));
        unused.for_each(|key| keys.add(key));
        keys.0.truncate(MAX_RETIRED);
        keys
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> ProviderKeys {
        ProviderKeys(keys.iter().map(|&key| key.to_owned()).collect())
    }

    #[test]
    fn the_latest_keys_that_are_no_longer_used_are_retired() {
        let retired = keys(&["new", "kept"]).retire(&keys(&["old", "kept"]), &keys(&["older", "new", "old"]));
        assert_eq!(retired.0, ["old", "older"]);
        let many: Vec<String> = (0..2 * MAX_RETIRED).map(|number| number.to_string()).collect();
        let retired = keys(&["new"]).retire(&keys(&["old"]), &ProviderKeys(many));
        assert_eq!((retired.0.len(), &*retired.0[0]), (MAX_RETIRED, "old"));
    }
}
