use tidegate::config::{Checks, ConfigError};

use super::check::{name, unexpected};
use super::{ProviderSpec, Scenario};

/// That of `tidegate::group::Group`.
const MAX_MEMBERS: usize = 64;

impl Scenario {
    /// The providers by their places in the chain: the members of a group share one.
    pub fn places(&self) -> impl Iterator<Item = &[ProviderSpec]> {
        self.providers.chunk_by(|one, next| one.group.is_some() && one.group == next.group)
    }

    /// Checks that the provider with this index can be a member of its group.
    pub(super) fn check_group(&self, index: usize, checks: &mut Checks) {
        let provider = &self.providers[index];
        let Some(group) = &provider.group else { return };
        if checks.keep(name("group", group)).is_none() {
            return;
        }
        if self.providers.iter().any(|other| other.name == *group) {
            checks.fail(ConfigError::new(
                "group",
                format!("`{group}` is the name of a provider, expected another"),
            ));
        }
        let is_member = |other: &&ProviderSpec| other.group == provider.group;
        let before = &self.providers[..index];
        let Some(first) = before.iter().find(is_member) else {
            if !self.providers[index + 1..].iter().any(|other| is_member(&other)) {
                let problem = format!("`{group}` has no other member, expected at least 2");
                checks.fail(ConfigError::new("group", problem));
            }
            return;
        };
        if !before.last().is_some_and(|last| is_member(&last)) {
            let problem = format!("expected the members of `{group}` one after the other");
            checks.fail(ConfigError::new("group", problem));
        }
        if before.iter().filter(is_member).count() == MAX_MEMBERS {
            let problem = format!("expected at most {MAX_MEMBERS} members of `{group}`, found more");
            checks.fail(ConfigError::new("group", problem));
        }
        // A stack sends a prompt that is too long to the next place, not to another member.
        if provider.context_tokens != first.context_tokens {
            let text = |tokens: Option<u32>| tokens.map_or("none".to_owned(), |tokens| tokens.to_string());
            let expected = format!("that of the other members of `{group}`, {}", text(first.context_tokens));
            checks.fail(unexpected("context_tokens", &expected, text(provider.context_tokens)));
        }
    }
}
