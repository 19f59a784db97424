//! The JSON Schema of the file.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Config;
use super::file::ConfigFile;
use super::provider::KINDS;
use crate::endpoint::Endpoint;

impl Config {
    /// The JSON Schema of a configuration file, for editors.
    #[must_use]
    pub fn schema() -> String {
        let mut settings = SchemaSettings::draft2020_12();
        settings.transforms.push(Box::new(PlainDescriptions));
        let schema = settings.into_generator().into_root_schema_for::<ConfigFile>();
        format!("{:#}\n", schema.to_value())
    }
}

/// The name of a provider's rules.
pub(super) struct ProviderKind;

impl JsonSchema for ProviderKind {
    fn schema_name() -> Cow<'static, str> {
        "ProviderKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": KINDS.map(|kind| kind.name()) })
    }
}

/// The path of an endpoint.
pub(super) struct RoutePath;

impl JsonSchema for RoutePath {
    fn schema_name() -> Cow<'static, str> {
        "RoutePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Endpoint::ALL.map(Endpoint::path) })
    }
}

/// Takes the links of rustdoc out of the descriptions: ``[`RetryLayer`](crate::RetryLayer)``.
#[derive(Clone)]
struct PlainDescriptions;

impl Transform for PlainDescriptions {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(description) = schema.get("description").and_then(|text| text.as_str()) {
            let plain = without_links(description);
            schema.insert("description".to_owned(), plain.into());
        }
        transform_subschemas(self, schema);
    }
}

fn without_links(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once("[`") {
        plain += before;
        let Some((name, after)) = link.split_once("`]") else {
            plain += "[`";
            rest = link;
            continue;
        };
        plain += &format!("`{name}`");
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}
