//! The series of one metric, which are registered when they are first used.

use std::sync::{OnceLock, RwLock};

use metrics::{Counter, counter};

use super::names;
use crate::ErrorCode;
use crate::group::ChoiceReason;
use crate::sync::unpoisoned;

/// The value of the label `code` of a success.
pub(super) const OK: &str = "ok";

/// One series per standard code, and one for success.
#[derive(Debug)]
pub(super) struct ByCode<H>([OnceLock<H>; ErrorCode::ALL.len() + 1]);

impl<H> Default for ByCode<H> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; ErrorCode::ALL.len() + 1])
    }
}

impl<H> ByCode<H> {
    /// The series of this code; `None` is success.
    pub(super) fn get(&self, code: Option<ErrorCode>, register: impl FnOnce() -> H) -> &H {
        let index = code.map_or(0, |code| 1 + position(code));
        self.0[index].get_or_init(register)
    }
}

fn position(code: ErrorCode) -> usize {
    let last = ErrorCode::ALL.len() - 1;
    ErrorCode::ALL.into_iter().position(|it| it == code).unwrap_or(last)
}

/// One counter per key. `K` is an enum or a pair of enums, which bounds their number.
#[derive(Debug)]
pub(super) struct ByKey<K>(RwLock<Vec<(K, Counter)>>);

impl<K> Default for ByKey<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + Eq> ByKey<K> {
    pub(super) fn increment(&self, key: K, register: impl FnOnce() -> Counter) {
        let find = |series: &[(K, Counter)]| {
            series.iter().find(|(known, _)| *known == key).map(|(_, counter)| counter.increment(1))
        };
        if find(&unpoisoned(self.0.read())).is_some() {
            return;
        }
        let mut series = unpoisoned(self.0.write());
        if find(&series).is_none() {
            let counter = register();
            counter.increment(1);
            series.push((key, counter));
        }
    }
}

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
