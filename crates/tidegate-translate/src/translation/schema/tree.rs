use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::MAX_DEPTH;
use crate::request_fields::RawJson;

/// A schema that is an object, with its fields in their order.
#[derive(Clone, Default)]
pub(in super::super) struct SchemaObject(Vec<(String, Keyword)>);

/// A schema.
#[derive(Clone)]
pub(super) enum Schema {
    Object(SchemaObject),
    /// `true` or `false`.
    Other(RawJson),
}

/// The value of a keyword.
#[derive(Clone)]
pub(super) enum Keyword {
    One(Schema),
    Several(Vec<Schema>),
    Named(Vec<(String, Schema)>),
    /// Anything that contains no schema: it passes unchanged.
    Data(RawJson),
}

/// Keywords with one schema. `items` may also have several.
const ONE: [&str; 11] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
];

/// Keywords with a list of schemas.
const SEVERAL: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];

/// Keywords with schemas by name.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

impl SchemaObject {
    /// `None` if `raw` is not an object, or is nested too deeply.
    pub(in super::super) fn read(raw: &RawValue) -> Option<Self> {
        match Schema::read(raw, MAX_DEPTH)? {
            Schema::Object(object) => Some(object),
            Schema::Other(_) => None,
        }
    }

    pub(in super::super) fn write(&self) -> Option<RawJson> {
        serde_json::value::to_raw_value(self).ok()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Keyword> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, keyword)| keyword)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn data(&self, name: &str) -> Option<Value> {
        match self.get(name)? {
            Keyword::Data(raw) => serde_json::from_str(raw.get()).ok(),
            _ => None,
        }
    }

    /// Replaces the value of a keyword, or adds the keyword at the end.
    pub(super) fn set(&mut self, name: &str, keyword: Keyword) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = keyword,
            None => self.0.push((name.to_owned(), keyword)),
        }
    }

    /// Adds the keywords of another schema that this one does not have.
    pub(super) fn add_missing(&mut self, other: Self) {
        let own: HashSet<String> = self.names().map(str::to_owned).collect();
        self.0.extend(other.0.into_iter().filter(|(name, _)| !own.contains(name)));
    }

    /// Adds a description, unless the schema has one.
    pub(in super::super) fn describe_as(&mut self, description: &str) {
        if !self.has("description") {
            self.set("description", Keyword::data(&description));
        }
    }

    /// Adds `"type": "object"` in front.
    pub(super) fn set_object_type(&mut self) {
        self.0.insert(0, ("type".to_owned(), Keyword::data(&"object")));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    pub(super) fn rename(&mut self, name: &str, new: &str) {
        if !self.has(new) {
            self.0.iter_mut().filter(|(known, _)| known == name).for_each(|(known, _)| new.clone_into(known));
        }
    }

    /// Removes and returns the keywords that are not `kept`.
    pub(super) fn split_off(&mut self, kept: impl Fn(&str, &Keyword) -> bool) -> Vec<(String, Keyword)> {
        let all = std::mem::take(&mut self.0);
        let (kept, removed) = all.into_iter().partition(|(name, keyword)| kept(name, keyword));
        self.0 = kept;
        removed
    }

    /// Whether `type` is `kind` or contains it.
    pub(super) fn is_type(&self, kind: &str) -> bool {
        match self.data("type") {
            Some(Value::String(only)) => only == kind,
            Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
            _ => false,
        }
    }

    /// Calls `change` for each schema within this one, and then for this one.
    pub(super) fn for_each(&mut self, change: &mut impl FnMut(&mut SchemaObject)) {
        for (_, keyword) in &mut self.0 {
            keyword.schemas_mut(|object| object.for_each(change));
        }
        change(self);
    }

    /// Whether `is_valid` is true for this schema and for each within it.
    pub(super) fn all(&self, is_valid: &mut impl FnMut(&SchemaObject) -> bool) -> bool {
        is_valid(self)
            && self.0.iter().all(|(_, keyword)| {
                keyword.schemas().all(|schema| match schema {
                    Schema::Object(object) => object.all(is_valid),
                    Schema::Other(_) => true,
                })
            })
    }
}

impl Schema {
    fn read(raw: &RawValue, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        if !raw.get().starts_with('{') {
            return Some(Self::Other(raw.to_owned()));
        }
        let Fields(fields) = serde_json::from_str(raw.get()).ok()?;
        let keywords = fields.into_iter().map(|(name, raw)| {
            let keyword = Keyword::read(&name, raw, depth)?;
            Some((name, keyword))
        });
        keywords.collect::<Option<_>>().map(|keywords| Self::Object(SchemaObject(keywords)))
    }

    pub(super) fn is(&self, value: bool) -> bool {
        match self {
            Self::Other(raw) => raw.get() == if value { "true" } else { "false" },
            // An empty schema accepts everything.
            Self::Object(object) => value && object.0.is_empty(),
        }
    }
}

impl Keyword {
    /// `None` if the value is nested too deeply. A value that is not of the keyword's form passes unchanged.
    fn read(name: &str, raw: &RawValue, depth: usize) -> Option<Self> {
        let first = raw.get().as_bytes().first();
        Some(match first {
            Some(b'[') if SEVERAL.contains(&name) => {
                let schemas: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
                Self::Several(schemas.into_iter().map(|raw| Schema::read(raw, depth)).collect::<Option<_>>()?)
            }
            Some(b'{') if NAMED.contains(&name) => {
                let Fields(schemas) = serde_json::from_str(raw.get()).ok()?;
                let named = |(name, raw): (String, &RawValue)| Some((name, Schema::read(raw, depth)?));
                Self::Named(schemas.into_iter().map(named).collect::<Option<_>>()?)
            }
            Some(b'{' | b't' | b'f') if ONE.contains(&name) => Self::One(Schema::read(raw, depth)?),
            _ => Self::Data(raw.to_owned()),
        })
    }

    /// A value without schemas.
    pub(super) fn data(value: &impl Serialize) -> Self {
        // A string or a boolean is always JSON, so that the default is never written.
        Self::Data(serde_json::value::to_raw_value(value).unwrap_or_default())
    }

    pub(super) fn schemas(&self) -> impl Iterator<Item = &Schema> {
        let (one, several, named) = match self {
            Self::One(schema) => (Some(schema), &[][..], &[][..]),
            Self::Several(schemas) => (None, &schemas[..], &[][..]),
            Self::Named(schemas) => (None, &[][..], &schemas[..]),
            Self::Data(_) => (None, &[][..], &[][..]),
        };
        one.into_iter().chain(several).chain(named.iter().map(|(_, schema)| schema))
    }

    pub(super) fn schemas_mut(&mut self, mut change: impl FnMut(&mut SchemaObject)) {
        let mut change = |schema: &mut Schema| {
            if let Schema::Object(object) = schema {
                change(object);
            }
        };
        match self {
            Self::One(schema) => change(schema),
            Self::Several(schemas) => schemas.iter_mut().for_each(change),
            Self::Named(schemas) => schemas.iter_mut().for_each(|(_, schema)| change(schema)),
            Self::Data(_) => {}
        }
    }
}

impl Serialize for SchemaObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, keyword)| (name, keyword)))
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(object) => object.serialize(serializer),
            Self::Other(raw) => raw.serialize(serializer),
        }
    }
}

impl Serialize for Keyword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(schema) => schema.serialize(serializer),
            Self::Several(schemas) => schemas.serialize(serializer),
            Self::Named(schemas) => {
                let mut map = serializer.serialize_map(Some(schemas.len()))?;
                schemas.iter().try_for_each(|(name, schema)| map.serialize_entry(name, schema))?;
                map.end()
            }
            Self::Data(raw) => raw.serialize(serializer),
        }
    }
}

/// The fields of an object in their order. The values are borrowed: each level of a schema contains the text
/// of all below it.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
