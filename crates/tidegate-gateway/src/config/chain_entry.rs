//! The places of a chain in the configuration file.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use tidegate::group::Affinity;

/// A place of a chain: a target or a last resort by its name, or a group of targets.
#[derive(JsonSchema)]
#[schemars(rename = "ChainPlace", untagged)]
pub(super) enum ChainEntry {
    Name(String),
    Members(#[schemars(length(min = 1))] Vec<MemberEntry>),
    Group(GroupEntry),
}

/// Several targets of which any may take a call.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Group")]
#[serde(deny_unknown_fields, expecting = "a table with members")]
pub(super) struct GroupEntry {
    /// The targets.
    #[schemars(length(min = 1))]
    pub(super) members: Vec<MemberEntry>,
    /// The name in trails, signals and metrics. By default the names of the members with `|` between.
    pub(super) name: Option<String>,
    /// Which calls stay with a member as long as it is healthy: `"header:<name>"`, `"tenant"` or
    /// `"messages"`. By default none do.
    pub(super) affinity: Option<Affinity>,
}

/// A member of a group: its name, or a table with its weight.
#[derive(JsonSchema)]
#[schemars(rename = "Member", untagged)]
pub(super) enum MemberEntry {
    Name(String),
    Weighted(WeightedEntry),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields, expecting = "a table with target and weight")]
pub(super) struct WeightedEntry {
    /// The `"provider/model"`.
    pub(super) target: String,
    /// Its share of the calls beside the other members; 1 by default.
    #[serde(default = "one")]
    #[schemars(range(min = 0.001, max = 1000))]
    pub(super) weight: f32,
}

const fn one() -> f32 {
    1.0
}

impl<'de> Deserialize<'de> for ChainEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;

        impl<'de> Visitor<'de> for Place {
            type Value = ChainEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a \"provider/model\", a list of them, or a table with members")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ChainEntry, E> {
                Ok(ChainEntry::Name(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, members: A) -> Result<ChainEntry, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(members)).map(ChainEntry::Members)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ChainEntry, A::Error> {
                GroupEntry::deserialize(MapAccessDeserializer::new(table)).map(ChainEntry::Group)
            }
        }

        deserializer.deserialize_any(Place)
    }
}

impl<'de> Deserialize<'de> for MemberEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Member;

        impl<'de> Visitor<'de> for Member {
            type Value = MemberEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a \"provider/model\", or a table with target and weight")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<MemberEntry, E> {
                Ok(MemberEntry::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<MemberEntry, A::Error> {
                WeightedEntry::deserialize(MapAccessDeserializer::new(table)).map(MemberEntry::Weighted)
            }
        }

        deserializer.deserialize_any(Member)
    }
}

impl MemberEntry {
    /// The name and the weight.
    pub(super) fn parts(&self) -> (&str, f32) {
        match self {
            Self::Name(name) => (name, one()),
            Self::Weighted(WeightedEntry { target, weight }) => (target, *weight),
        }
    }
}
