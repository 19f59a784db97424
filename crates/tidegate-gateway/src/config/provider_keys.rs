use std::fmt;

/// The keys of all providers, which may appear in no response. They are never printed.
#[derive(Clone, Default)]
pub(crate) struct ProviderKeys(Vec<String>);

impl ProviderKeys {
    pub(crate) fn add(&mut self, secret: &str) {
        if !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
        }
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
