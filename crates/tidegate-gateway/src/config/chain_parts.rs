//! The targets and last resorts of a chain, checked.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidegate::config::{Checks, found, redacted};
use tidegate::group::Affinity;

use super::GatewayConfigError;
use super::chain_entry::{ChainEntry, GroupEntry, MemberEntry};
use super::header::check_seen;
use super::provider::is_visible;
use super::route::{KnownNames, LastResortName, TargetName};
use crate::endpoint::Endpoint;

/// A place of a chain: a target, or several of which any may take a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteGroup {
    pub(crate) name: Arc<str>,
    pub(crate) members: Vec<WeightedTarget>,
    pub(crate) affinity: Option<Affinity>,
}

impl RouteGroup {
    /// Whether it is one target under its own name.
    pub(super) fn is_plain_target(&self) -> bool {
        matches!(&self.members[..], [member] if member.target.name == self.name)
    }

    /// Whether the targets are those of `other`, in any order.
    pub(super) fn has_members_of(&self, other: &Self) -> bool {
        let names = |group: &Self| -> BTreeSet<_> {
            group.members.iter().map(|member| Arc::clone(&member.target.name)).collect()
        };
        names(self) == names(other)
    }
}

/// A target with its share of the calls beside the others of its group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WeightedTarget {
    pub(crate) target: TargetName,
    pub(crate) weight: f32,
}

/// The targets and last resorts of a chain.
#[derive(Default)]
pub(super) struct ChainParts {
    pub(super) groups: Vec<RouteGroup>,
    pub(super) resorts: Vec<LastResortName>,
    /// The names of the groups, and those of their targets.
    names: HashSet<Arc<str>>,
    targets: HashSet<Arc<str>>,
}

const WEIGHTS: RangeInclusive<f32> = 0.001..=1_000.0;

/// The most members of a group.
const MAX_MEMBERS: usize = 64;

impl ChainParts {
    /// Adds the next place of the chain, whose key in the file is `key`. The endpoint is `None` if it is
    /// unknown.
    pub(super) fn add(
        &mut self,
        key: &str,
        entry: &ChainEntry,
        endpoint: Option<Endpoint>,
        known: &KnownNames<'_>,
    ) -> Result<(), GatewayConfigError> {
        let invalid = |problem| GatewayConfigError::new(key, problem);
        match entry {
            ChainEntry::Name(name) if name.starts_with('@') => {
                self.add_resort(name, endpoint).map_err(invalid)
            }
            ChainEntry::Name(name) => {
                let target = self.target(name, endpoint, known).map_err(invalid)?;
                check_size(1, known.members_of(&target)).map_err(invalid)?;
                let (name, members) =
                    (Arc::clone(&target.name), vec![WeightedTarget { target, weight: 1.0 }]);
                self.push(RouteGroup { name, members, affinity: None });
                Ok(())
            }
            ChainEntry::Members(members) => self.add_group(key, key, members, None, None, endpoint, known),
            ChainEntry::Group(GroupEntry { members, name, affinity }) => {
                let of_members = format!("{key}.members");
                self.add_group(key, &of_members, members, name.as_deref(), affinity.as_ref(), endpoint, known)
            }
        }
    }

    fn add_resort(&mut self, name: &str, endpoint: Option<Endpoint>) -> Result<(), String> {
        let resort = LastResortName::check(name, endpoint, &self.resorts)?;
        self.resorts.push(resort);
        if self.groups.is_empty() {
            Err(format!("expected a \"provider/model\" before `{name}`"))
        } else {
            Ok(())
        }
    }

    /// Checks a target that comes next.
    fn target(
        &self,
        name: &str,
        endpoint: Option<Endpoint>,
        known: &KnownNames<'_>,
    ) -> Result<TargetName, String> {
        if let Some(resort) = self.resorts.last() {
            return Err(format!("`{}` comes after the last resort `{}`", redacted(name), resort.name()));
        }
        let target = TargetName::check(name, endpoint, known)?;
        if self.targets.contains(&target.name) {
            Err(format!("`{}` is in the chain already", redacted(&target.name)))
        } else {
            Ok(target)
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the keys of a group, and what they are checked against")]
    fn add_group(
        &mut self,
        key: &str,
        key_of_members: &str,
        entries: &[MemberEntry],
        name: Option<&str>,
        affinity: Option<&Affinity>,
        endpoint: Option<Endpoint>,
        known: &KnownNames<'_>,
    ) -> Result<(), GatewayConfigError> {
        let mut checks = Checks::default();
        let mut members: Vec<WeightedTarget> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let (target, weight) = entry.parts();
            let at = match entry {
                MemberEntry::Name(_) => format!("{key_of_members}[{index}]"),
                MemberEntry::Weighted(_) => format!("{key_of_members}[{index}].target"),
            };
            let checked = self.target(target, endpoint, known).and_then(|target| {
                if members.iter().any(|before| before.target == target) {
                    Err(format!("`{}` is in the group already", redacted(&target.name)))
                } else {
                    Ok(target)
                }
            });
            let target = checks.keep(checked.map_err(|problem| GatewayConfigError::new(at, problem)));
            if !WEIGHTS.contains(&weight) {
                let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
                let problem = format!("expected a number from {least} to {most}{}", found(weight));
                let at = format!("{key_of_members}[{index}].weight");
                checks.fail(GatewayConfigError::new(at, problem));
            }
            members.extend(target.map(|target| WeightedTarget { target, weight }));
        }
        let by_key = members.iter().map(|member| known.members_of(&member.target)).sum();
        let size = check_size(entries.len(), by_key);
        checks.keep(size.map_err(|problem| GatewayConfigError::new(key_of_members, problem)));
        if let Some(name) = name.filter(|name| !is_visible(name) || name.starts_with('@')) {
            let problem = format!(
                "expected a name of visible ASCII that does not begin with `@`{}",
                found(format_args!("{name:?}"))
            );
            checks.fail(GatewayConfigError::new(format!("{key}.name"), problem));
        }
        let affinity_header = affinity.and_then(Affinity::header_name);
        if let Some(Err(problem)) = affinity_header.map(check_seen) {
            checks.fail(GatewayConfigError::new(format!("{key}.affinity"), problem));
        }
        checks.finish(())?;
        let default = || members.iter().map(|member| &*member.target.name).collect::<Vec<_>>().join("|");
        let name = name.map_or_else(default, str::to_owned);
        if self.names.contains(&*name) {
            let problem = format!("`{}` is in the chain already", redacted(&name));
            return Err(GatewayConfigError::new(format!("{key}.name"), problem));
        }
        self.push(RouteGroup { name: name.into(), members, affinity: affinity.cloned() });
        Ok(())
    }

    fn push(&mut self, group: RouteGroup) {
        self.names.insert(Arc::clone(&group.name));
        self.targets.extend(group.members.iter().map(|member| Arc::clone(&member.target.name)));
        self.groups.push(group);
    }
}

/// Checks the number of members of a group with so many `targets`, which has a member for each key of one.
fn check_size(targets: usize, members: usize) -> Result<(), String> {
    let found = targets.max(members);
    let of_keys = if members > targets { ", one for each key of a target" } else { "" };
    if (1..=MAX_MEMBERS).contains(&found) {
        Ok(())
    } else {
        Err(format!("expected from 1 to {MAX_MEMBERS} members, found {found}{of_keys}"))
    }
}
