//! Names of tools that the target accepts.

use std::collections::BTreeMap;
use std::fmt::Write;

use tidegate_core::Untranslatable;

/// Shortens the names of tools that the target would reject, and restores them in the response.
///
/// OpenAI's dialect allows 64 characters, Anthropic's 128: letters, digits, `_` and `-`. Any other name is
/// replaced by its beginning and a digest of the whole, so that it depends on the name alone: a tool has the
/// same name in all requests of a conversation.
pub(super) struct ToolNames {
    max_len: usize,
    /// The original names by replaced name.
    replaced: BTreeMap<String, String>,
}

/// An underscore and the digest in hexadecimal digits.
const DIGEST_LEN: usize = 17;

impl ToolNames {
    pub(super) fn for_chat() -> Self {
        Self { max_len: 64, replaced: BTreeMap::new() }
    }

    pub(super) fn for_messages() -> Self {
        Self { max_len: 128, replaced: BTreeMap::new() }
    }

    /// The name to send for `name`.
    pub(super) fn assign(&mut self, name: String) -> Result<String, Untranslatable> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() {
            return Err(Untranslatable::new("tools[].name", "is empty"));
        }
        let is_accepted = name.len() <= self.max_len && name.chars().all(is_valid);
        let assigned = if is_accepted {
            name.clone()
        } else {
            let clean = name.chars().map(|c| if is_valid(c) { c } else { '_' });
            let mut short: String = clean.take(self.max_len - DIGEST_LEN).collect();
            // Writing to memory does not fail.
            let _ = write!(short, "_{:016x}", digest(&name));
            short
        };
        match self.replaced.get(&assigned) {
            Some(other) if *other != name => {
                return Err(Untranslatable::new("tools[].name", "cannot be told from another name"));
            }
            Some(_) => {}
            None => _ = self.replaced.insert(assigned.clone(), name),
        }
        Ok(assigned)
    }

    /// The name for which `assigned` was sent. A name that was not sent is returned unchanged.
    pub(super) fn original<'a>(&'a self, assigned: &'a str) -> &'a str {
        self.replaced.get(assigned).map_or(assigned, |name| name)
    }
}

/// FNV-1a with 64 bits.
fn digest(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_target_rejects_are_replaced_and_restored() {
        let long = format!("mcp__{}", "x".repeat(100));
        for (mut names, max_len) in [(ToolNames::for_chat(), 64), (ToolNames::for_messages(), 128)] {
            let assigned = [&long, &format!("{long}y"), "a.b", "tide/at", "é"]
                .map(|name| (name.to_owned(), names.assign(name.to_owned()).unwrap()));
            for (name, assigned) in &assigned {
                assert!(assigned.len() <= max_len, "{assigned}");
                assert!(assigned.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
                assert_eq!(names.original(assigned), name);
                assert_eq!(names.assign(name.clone()).unwrap(), *assigned, "it depends on the name alone");
            }
            assert_eq!(names.assign("now".to_owned()).unwrap(), "now");
            assert_eq!(names.original("unheard_of"), "unheard_of");
        }
    }

    #[test]
    fn a_name_that_equals_a_replaced_one_is_rejected() {
        let mut names = ToolNames::for_chat();
        let assigned = names.assign("a.b".to_owned()).unwrap();
        assert!(names.assign(assigned).is_err());
        assert!(names.assign(String::new()).is_err());
    }
}
