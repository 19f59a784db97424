use std::sync::OnceLock;

use metrics::{Counter, counter};

use super::names;
use crate::group::ChoiceReason;

/// Counts how often a member of a group was chosen, by the reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChoiceCounters([OnceLock<Counter>; ChoiceReason::ALL.len()]);

impl ChoiceCounters {
    pub(crate) fn increment(&self, group: &str, target: &str, reason: ChoiceReason) {
        let register = || {
            counter!(
                names::GROUP_CHOICES.name,
                "group" => group.to_owned(),
                "target" => target.to_owned(),
                "kind" => reason.name()
            )
        };
        self.0[reason as usize].get_or_init(register).increment(1);
    }
}
